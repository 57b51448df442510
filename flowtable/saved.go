package flowtable

import (
	"errors"
	"fmt"

	"github.com/xdpct/xdpct/packet"
)

// SavedFlow is all that makes a flow go on in another table, after a restart. What
// follows from the rest is not in it: keys, next hops, what NAT holds.
type SavedFlow struct {
	// Name is what the flow was called in the table that it was saved from: what
	// Ext.Master of others and Expectation.Master refer to. Valid iff HasExt.
	Name FlowID
	// Orig and Reply are its tuples.
	Orig, Reply Tuple
	// Status holds the status bits, State the state of its protocol.
	Status Status
	State  uint8
	// Timeout is how long it lives without a packet, 1 to MaxTimeout.
	Timeout Tick
	// Idle and Age are how long ago the last packet came, and the first one.
	Idle, Age Tick
	// ID is what conntrack -o id prints.
	ID uint32
	// HasExt: Ext is valid.
	HasExt bool
	Ext    Ext
	// Counted: Packets and Bytes are valid; they are indexed by Dir.
	Counted        bool
	Packets, Bytes [2]uint64
	// Start is when it began, in Unix nanoseconds; 0 = not kept.
	Start int64

	// Of TCP and SCTP.
	tcp    uint32
	window window
}

// windowed reports whether flows of a protocol have a window.
func windowed(proto uint8) bool { return proto == packet.ProtoTCP || proto == packet.ProtoSCTP }

// Save copies a flow to s; worker is the number of this table's owner. It reports
// false if there is no flow, or if its time is over. Owner: worker, or anybody
// after it has stopped.
func (t *Table) Save(idx uint32, worker uint8, now Tick, s *SavedFlow) bool {
	f := &t.flows[idx]
	if f.gen&1 != 0 || f.Timeout() == 0 || f.Expired(now) || f.Status()&StatusDying != 0 {
		return false
	}
	*s = SavedFlow{
		Name: t.ID(idx, worker), Status: f.Status() & savedStatus, State: f.State(), Timeout: f.Timeout(),
		Idle: now - f.LastSeen, Age: now - f.Created, ID: t.flowID(idx, f.gen),
	}
	t.Tuple(idx, DirOriginal, &s.Orig)
	t.Tuple(idx, DirReply, &s.Reply)
	if x := t.Ext(idx); x != nil {
		s.HasExt, s.Ext = true, *x
		s.Ext.next = 0
	}
	if t.Accounts() {
		s.Counted = true
		for d, a := range t.accounts[idx] {
			s.Packets[d], s.Bytes[d] = a.packets, a.bytes
		}
	}
	if t.Timestamps() {
		s.Start = int64(t.starts[idx])
	}
	if windowed(f.Proto()) {
		s.tcp, s.window = f.tcp, t.windows[idx]
	}
	return true
}

// Restore adds a flow that was saved; now is the time of this table, when the flow
// is as s says. What the table does not keep is forgotten. Without room for its
// extension the flow is not added, InsertFull. Owner: worker, before it starts.
func (t *Table) Restore(s *SavedFlow, now Tick) (uint32, InsertResult) {
	idx, result := t.Add(&NewFlow{
		Orig: &s.Orig, Reply: &s.Reply, Keys: Keys{t.Hash(&s.Orig), t.Hash(&s.Reply)},
		Timeout: s.Timeout, Status: s.Status &^ StatusIPv6, State: s.State, Start: s.Start,
	}, now)
	if result != InsertOK {
		return idx, result
	}
	f := &t.flows[idx]
	publishTick(&f.LastSeen, now-s.Idle)
	publishTick(&f.Created, now-s.Age)
	t.lower(idx, f.Deadline())
	if s.HasExt {
		e := t.takeExt()
		if e == 0 {
			t.Remove(idx)
			return 0, InsertFull
		}
		t.exts[e] = s.Ext
		publish32(&f.Ext, e)
	}
	if t.Accounts() {
		for d := range t.accounts[idx] {
			t.accounts[idx][d] = passed{s.Packets[d], s.Bytes[d]}
		}
	}
	if windowed(f.Proto()) {
		f.tcp, t.windows[idx] = s.tcp, s.window
		publish32(&t.highTCP, max(t.highTCP, idx))
	}
	t.keepID(idx, s.ID)
	return idx, InsertOK
}

// keptID is the id of a flow that was restored. It is the flow's for as long as
// the generation of the record is the same.
type keptID struct{ gen, id uint32 }

// keptIDSize is the size of a keptID in bytes.
const keptIDSize = 8

// KeepIDs makes room for the ids of flows that will be restored, for 8 bytes each.
// Without it they get new ones. It comes before anybody else reads the table.
func (t *Table) KeepIDs() error {
	if t.keptIDs != nil {
		return nil
	}
	var err error
	if t.keptIDs, err = array[keptID](t.memory, t.records(), false, false); err != nil {
		return fmt.Errorf("flow table: ids: %w", err)
	}
	return nil
}

// keepID makes a flow go on under an id.
func (t *Table) keepID(idx, id uint32) {
	if len(t.keptIDs) != 0 {
		t.keptIDs[idx] = keptID{t.flows[idx].gen, id}
		t.keptTo = max(t.keptTo, idx)
	}
}

// Limits of what can be restored.
var (
	errSavedTimeout = errors.New("a time-out is out of range")
	errSavedState   = errors.New("a state does not exist")
	errSavedStatus  = errors.New("status bits contradict each other")
	errSavedAdjust  = errors.New("a sequence adjustment is out of range")
)

// savedStatus are the bits that a saved flow may have. Which sides its sources are on the
// routes of then say.
const savedStatus = (StatusSimultaneousOpen<<1 - 1) &^ StatusDying

// check tells whether a flow that was read may be restored: nothing of it leads
// out of an array later.
func (s *SavedFlow) check() error {
	states := uint8(1)
	switch s.Orig.Proto {
	case packet.ProtoTCP:
		states = uint8(tcpStates)
	case packet.ProtoSCTP:
		states = uint8(sctpStates)
	}
	switch {
	case s.Timeout == 0 || s.Timeout > MaxTimeout:
		return errSavedTimeout
	case s.State >= states:
		return errSavedState
	case s.Status&^savedStatus != 0, s.Status&(StatusHelper|StatusSeqAdjust) != 0 && !s.HasExt:
		return errSavedStatus
	}
	if !s.Ext.SeqAdj[DirOriginal].sound() || !s.Ext.SeqAdj[DirReply].sound() {
		return errSavedAdjust
	}
	return nil
}

// sound tells whether the changes follow each other, in place and in what they
// shift.
func (s *SeqAdj) sound() bool {
	if s.N > SeqChanges {
		return false
	}
	shift := s.Base
	for i := range s.N {
		c := &s.Changes[i]
		shift += int32(c.New) - int32(c.Old)
		if c.Offset != shift || i > 0 && int32(c.Start-s.Changes[i-1].Start) < int32(s.Changes[i-1].Old) {
			return false
		}
	}
	return true
}

// Restore makes an expectation pending again, under the ID that it had. It reports
// false if another one is in its way, or if there is no room.
func (x *Expectations) Restore(e *Expectation) bool {
	id := e.ID
	x.mu.Lock()
	x.nextID = id - 1
	x.mu.Unlock()
	if x.Add(e) != AddOK {
		return false
	}
	if e.ID != id {
		x.Remove(e.ID)
		return false
	}
	return true
}

// LastID returns the ID that was given last.
func (x *Expectations) LastID() uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.nextID
}

// ContinueIDs makes the next expectation get the ID after this one.
func (x *Expectations) ContinueIDs(last uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nextID = last
}

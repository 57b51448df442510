package flowtable

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/xdpct/xdpct/packet"
)

// Expectation announces a flow (kernel: struct nf_conntrack_expect). No
// pointers.
type Expectation struct {
	// Tuple is the original tuple of the flow to come; SrcPort 0 = any, Src zero =
	// any host.
	Tuple Tuple
	// MasterOrig is the original tuple of the flow that announced it.
	MasterOrig Tuple
	// SavedAddr and SavedPort are where the flow must be led: the host and
	// port that the announcement named before NAT changed it.
	SavedAddr packet.Addr
	SavedPort uint16
	// Helper is the number of the helper that announced it.
	Helper uint8
	// Class is which of its helper's kinds of expectation it is.
	Class uint8
	// Next is the number of the helper that the flow to come gets; 0 = none
	// because of this (kernel: the expectation's own helper).
	Next uint8
	// Group tells apart what one master has announced for several purposes (SIP: its
	// calls), so that its helper can end them apart.
	Group uint32
	// Follows: the flow to come belongs to the worker that has the master, so that
	// packets of both stay in order.
	Follows bool
	// Flags are as conntrack prints them.
	Flags ExpectFlags
	// Dir is the direction of the master that the announcement came in.
	Dir Dir
	// Master is the flow that announced it.
	Master FlowID
	// Deadline is when it expires.
	Deadline Tick
	// ID names it while it is pending; set by Add, never 0.
	ID uint32
}

// ExpectFlags are flags of an expectation (kernel: NF_CT_EXPECT_*).
type ExpectFlags uint8

// Flags.
const (
	// ExpectPermanent: not consumed by the flow it announced.
	ExpectPermanent ExpectFlags = 1 << 0
	// ExpectInactive: not to be matched.
	ExpectInactive ExpectFlags = 1 << 1
	// ExpectUserspace: made by a command.
	ExpectUserspace ExpectFlags = 1 << 2
)

// AddResult tells what Add did.
type AddResult uint8

// Results of Add.
const (
	// AddFull: the table is full.
	AddFull AddResult = iota
	// AddOK: the expectation is pending.
	AddOK
	// AddReplaced: it took the place of an equal one of the same master.
	AddReplaced
	// AddClash: one of another master, or a wider one, announces the tuple.
	AddClash
	// AddHostFull: the flows of one host have announced MaxPerHost.
	AddHostFull
)

// MaxPerHost is how many expectations may be pending for the flows that one host
// has opened, so that no host takes the whole table.
const MaxPerHost = 1024

// Expectations are the pending expectations of all workers. Reads take no
// lock: each shard is a list that is replaced, never changed. Writes are rare
// and take one lock. All methods may be called by any thread.
type Expectations struct {
	count  atomic.Int32
	max    int
	seed   hashSeed
	shards []atomic.Pointer[[]*expectEntry]

	mu       sync.Mutex
	nextID   uint32
	byID     map[uint32]*expectEntry
	byMaster map[FlowID][]*expectEntry // oldest first
	byHost   map[host]int              // pending, by who opened the master
}

// host is an end of a flow without its port.
type host struct {
	addr   packet.Addr
	family packet.Family
}

// host returns who opened the flow that announced e.
func (e *Expectation) host() host { return host{e.MasterOrig.Src, e.MasterOrig.Family} }

// expectEntry is a pending expectation; exp is immutable.
type expectEntry struct {
	exp   Expectation
	shard uint32
	// taken is set by whoever consumes or removes the entry, exactly once.
	taken atomic.Bool
}

// NewExpectations makes a table for at most max expectations.
func NewExpectations(max int) *Expectations {
	shards := 16
	for shards < max/4 && shards < 4096 {
		shards *= 2
	}
	return &Expectations{
		max:      max,
		seed:     newHashSeed(rand.Uint64()),
		shards:   make([]atomic.Pointer[[]*expectEntry], shards),
		byID:     make(map[uint32]*expectEntry),
		byMaster: make(map[FlowID][]*expectEntry),
		byHost:   make(map[host]int),
	}
}

// Any reports whether there are any: one atomic load, for each new flow.
func (x *Expectations) Any() bool { return x.count.Load() != 0 }

// Len returns the number of pending expectations.
func (x *Expectations) Len() int { return int(x.count.Load()) }

// shardOf hashes what is always known of an announced flow: its destination.
func (x *Expectations) shardOf(tu *Tuple) uint32 {
	key := Tuple{Dst: tu.Dst, DstPort: tu.DstPort, Proto: tu.Proto}
	return uint32(x.seed.hash(&key) % uint64(len(x.shards)))
}

// announces reports whether e announces the flow tu.
func (e *Expectation) announces(tu *Tuple) bool {
	w := &e.Tuple
	return w.Dst == tu.Dst && w.DstPort == tu.DstPort && w.Proto == tu.Proto && w.Family == tu.Family &&
		(w.Src.IsZero() || w.Src == tu.Src) && (w.SrcPort == 0 || w.SrcPort == tu.SrcPort)
}

// overlaps reports whether a flow could be announced by both.
func (e *Expectation) overlaps(o *Expectation) bool {
	tu := o.Tuple
	if tu.SrcPort == 0 {
		tu.SrcPort = e.Tuple.SrcPort
	}
	if tu.Src.IsZero() {
		tu.Src = e.Tuple.Src
	}
	return e.announces(&tu)
}

// Add makes an expectation pending and sets its ID. An equal one of the same
// master is replaced.
func (x *Expectations) Add(e *Expectation) AddResult {
	_, result := x.AddWithin(e, math.MaxInt)
	return result
}

// AddWithin is Add for a master that may have as many as limit of the class, at
// least one: more put an end to its oldest. That, or the one that was replaced, is
// returned; ID 0 = none.
func (x *Expectations) AddWithin(e *Expectation, limit int) (ended Expectation, result AddResult) {
	x.mu.Lock()
	defer x.mu.Unlock()
	shard := x.shardOf(&e.Tuple)
	var old *expectEntry
	for _, o := range x.list(shard) {
		switch {
		case o.taken.Load() || !o.exp.overlaps(e):
		case o.exp.Master == e.Master && o.exp.Tuple == e.Tuple:
			old = o
		default:
			return ended, AddClash
		}
	}
	result = AddReplaced
	if old == nil {
		old, result = x.oldest(e, limit), AddOK
	}
	switch {
	case old != nil && x.drop(old):
		ended = old.exp
	case len(x.byID) >= x.max:
		return ended, AddFull
	case x.byHost[e.host()] >= MaxPerHost:
		return ended, AddHostFull
	}
	x.insert(e, shard)
	return ended, result
}

// oldest returns the oldest expectation of e's master and class if there are limit
// of them, else nil.
func (x *Expectations) oldest(e *Expectation, limit int) (oldest *expectEntry) {
	n := 0
	for _, o := range x.byMaster[e.Master] {
		if o.exp.Class != e.Class {
			continue
		}
		if n++; oldest == nil {
			oldest = o
		}
	}
	if n < limit {
		return nil
	}
	return oldest
}

// insert makes e pending. The lock is held.
func (x *Expectations) insert(e *Expectation, shard uint32) {
	for x.nextID++; x.nextID == 0 || x.byID[x.nextID] != nil; x.nextID++ {
	}
	e.ID = x.nextID
	n := &expectEntry{exp: *e, shard: shard}
	list := append(append([]*expectEntry(nil), x.list(shard)...), n)
	x.shards[shard].Store(&list)
	x.byID[e.ID] = n
	x.byMaster[e.Master] = append(x.byMaster[e.Master], n)
	x.byHost[e.host()]++
	x.count.Add(1)
}

// list returns the entries of a shard; nobody changes them.
func (x *Expectations) list(shard uint32) []*expectEntry {
	if p := x.shards[shard].Load(); p != nil {
		return *p
	}
	return nil
}

// Find returns the expectation that announces tu and leaves it pending.
func (x *Expectations) Find(tu *Tuple, now Tick) (Expectation, bool) {
	if e := x.find(tu, now); e != nil {
		return e.exp, true
	}
	return Expectation{}, false
}

// find searches without a lock.
func (x *Expectations) find(tu *Tuple, now Tick) *expectEntry {
	if !x.Any() {
		return nil
	}
	for _, e := range x.list(x.shardOf(tu)) {
		if !e.taken.Load() && e.exp.Flags&ExpectInactive == 0 && now.Before(e.exp.Deadline) && e.exp.announces(tu) {
			return e
		}
	}
	return nil
}

// Take finds the expectation that announces tu and consumes it (a permanent one
// stays). Of several callers exactly one gets it.
func (x *Expectations) Take(tu *Tuple, now Tick) (Expectation, bool) {
	for e := x.find(tu, now); e != nil; e = x.find(tu, now) {
		if e.exp.Flags&ExpectPermanent != 0 {
			return e.exp, true
		}
		x.mu.Lock()
		mine := x.drop(e)
		x.mu.Unlock()
		if mine {
			return e.exp, true
		}
	}
	return Expectation{}, false
}

// drop takes an entry out; it reports false if another caller did. The lock is
// held.
func (x *Expectations) drop(e *expectEntry) bool {
	if e.taken.Swap(true) {
		return false
	}
	list := without(x.list(e.shard), e)
	x.shards[e.shard].Store(&list)
	delete(x.byID, e.exp.ID)
	if rest := without(x.byMaster[e.exp.Master], e); len(rest) > 0 {
		x.byMaster[e.exp.Master] = rest
	} else {
		delete(x.byMaster, e.exp.Master)
	}
	if h := e.exp.host(); x.byHost[h] > 1 {
		x.byHost[h]--
	} else {
		delete(x.byHost, h)
	}
	x.count.Add(-1)
	return true
}

// without returns a copy of list that lacks e.
func without(list []*expectEntry, e *expectEntry) []*expectEntry {
	rest := make([]*expectEntry, 0, len(list))
	for _, o := range list {
		if o != e {
			rest = append(rest, o)
		}
	}
	return rest
}

// Remove removes a pending expectation by its ID and returns it.
func (x *Expectations) Remove(id uint32) (Expectation, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.byID[id]
	if e == nil || !x.drop(e) {
		return Expectation{}, false
	}
	return e.exp, true
}

// Expire removes all expectations whose time is over, and calls f, if it is not
// nil, for each, after the removal. It looks at all of them: call it about once
// a second, not per burst.
func (x *Expectations) Expire(now Tick, f func(*Expectation)) {
	if !x.Any() {
		return
	}
	var gone []*expectEntry
	x.mu.Lock()
	for _, e := range x.byID {
		if !now.Before(e.exp.Deadline) {
			gone = append(gone, e)
		}
	}
	for _, e := range gone {
		x.drop(e)
	}
	x.mu.Unlock()
	report(gone, f)
}

// report calls f with a copy of each entry, without the lock.
func report(gone []*expectEntry, f func(*Expectation)) {
	if f == nil {
		return
	}
	for _, e := range gone {
		exp := e.exp
		f(&exp)
	}
}

// Each calls f with a copy of each pending expectation, in no order, until it
// returns false. It takes no lock.
func (x *Expectations) Each(f func(*Expectation) bool) {
	for i := range x.shards {
		for _, e := range x.list(uint32(i)) {
			if e.taken.Load() {
				continue
			}
			exp := e.exp
			if !f(&exp) {
				return
			}
		}
	}
}

package flowtable

import (
	"sync/atomic"

	"github.com/xdpct/xdpct/packet"
)

// Snapshot is a copy of a flow for those who print it: no pointers.
type Snapshot struct {
	// Orig and Reply are the tuples of both directions, as on the wire.
	Orig, Reply Tuple
	// Master is the flow that announced this one; valid iff StatusExpected
	// is set and Master.Index is not 0.
	Master FlowID
	// Timeout is the time left in whole seconds, rounded down: what
	// conntrack -L prints, 431999 right after a refresh to 432000.
	Timeout uint32
	// FullTimeout is the time-out that the last refresh set, in ticks: events
	// print its seconds.
	FullTimeout Tick
	// Created and LastSeen are points of the table's clock.
	Created, LastSeen Tick
	// ID is stable for the life of the flow; what conntrack -o id prints. A hash: two
	// flows may share one, as in the kernel.
	ID uint32
	// Index and Gen name the record in its table.
	Index, Gen uint32
	// Status holds the status bits.
	Status Status
	// Proto is the L4 protocol number, State the TCPState of a TCP flow.
	Proto, State uint8
	// Helper is the number of the flow's helper; 0 = none.
	Helper uint8
	// Counted: Packets and Bytes are valid.
	Counted bool
	// Packets and Bytes passed in each direction, by Dir; bytes from the IP
	// header on.
	Packets, Bytes [2]uint64
	// Start is when the flow was made, Stop when it ended, in Unix nanoseconds;
	// 0 = not kept, not yet.
	Start, Stop int64
	// SameState tells that an event is about something else than the state, which
	// conntrack then does not print.
	SameState bool
}

// readRetries bounds Read: a record that changes hands that often during one
// read is skipped, as one that was inserted after it would be.
const readRetries = 8

// Read copies a flow. It reports false if the record is free, or if the flow's
// time is over. To list a table, read 1..HighWater. Any thread, no lock; the
// worker never waits for a reader.
func (t *Table) Read(idx uint32, now Tick, s *Snapshot) bool {
	if idx == 0 || idx > t.HighWater() {
		return false
	}
	f := &t.flows[idx]
	for range readRetries {
		gen := atomic.LoadUint32(&f.gen)
		if gen&1 != 0 {
			return false
		}
		t.copyFlow(idx, f, s)
		if atomic.LoadUint32(&f.gen) == gen {
			s.Index, s.Gen = idx, gen
			s.ID = t.flowID(idx, gen)
			return s.setLeft(now)
		}
	}
	return false
}

// copyFlow copies the fields of a record that may be changing.
func (t *Table) copyFlow(idx uint32, f *Flow, s *Snapshot) {
	meta := atomic.LoadUint64(&f.meta)
	ports := atomic.LoadUint64(&f.ports)
	var addr [4]packet.Addr
	s.Status = Status(meta >> metaStatusShift)
	family := packet.IPv4
	if s.Status&StatusIPv6 != 0 {
		family = packet.IPv6
		a := &t.addrs6[idx]
		for i := range addr {
			addr[i].Hi, addr[i].Lo = atomic.LoadUint64(&a[i].Hi), atomic.LoadUint64(&a[i].Lo)
		}
	} else {
		o, r := atomic.LoadUint64(&f.addr[0]), atomic.LoadUint64(&f.addr[1])
		addr[0].Lo, addr[1].Lo = o>>32, o&0xffffffff
		addr[2].Lo, addr[3].Lo = r>>32, r&0xffffffff
	}
	s.Proto, s.State = uint8(meta>>metaProtoShift), uint8(meta>>metaStateShift)
	s.Orig = Tuple{Src: addr[0], Dst: addr[1], SrcPort: uint16(ports), DstPort: uint16(ports >> 16),
		Proto: s.Proto, Family: family}
	s.Reply = Tuple{Src: addr[2], Dst: addr[3], SrcPort: uint16(ports >> 32), DstPort: uint16(ports >> 48),
		Proto: s.Proto, Family: family}
	s.FullTimeout = Tick(meta) & MaxTimeout
	s.LastSeen = Tick(load32((*uint32)(&f.LastSeen)))
	s.Created = Tick(load32((*uint32)(&f.Created)))
	s.Helper, s.Master, s.SameState = 0, FlowID{}, false
	if e := load32(&f.Ext); e != 0 && int(e) < len(t.exts) {
		s.Helper, s.Master = t.exts[e].Helper, t.exts[e].Master
	}
	t.copyAccount(idx, s)
}

// setLeft computes Timeout; it reports false if the time is over.
func (s *Snapshot) setLeft(now Tick) bool {
	left := int32(s.LastSeen + s.FullTimeout - now)
	s.Timeout = uint32(max(left, 0)) / TicksPerSecond
	return left > 0 || s.FullTimeout == 0
}

// flowID derives the printed id of a flow, unless it was restored with one.
func (t *Table) flowID(idx, gen uint32) uint32 {
	if len(t.keptIDs) != 0 && t.keptIDs[idx].gen == gen {
		return t.keptIDs[idx].id
	}
	return uint32(mix64(t.idSeed ^ uint64(gen)<<32 ^ uint64(idx)))
}

// MasterID returns the printed id that a flow of the table has or had.
func (t *Table) MasterID(id FlowID) uint32 { return t.flowID(id.Index, id.Gen) }

// Snapshot copies a flow whatever its age. Owner: worker; the index must hold
// a flow.
func (t *Table) Snapshot(idx uint32, now Tick, s *Snapshot) {
	f := &t.flows[idx]
	t.copyFlow(idx, f, s)
	s.Index, s.Gen = idx, f.gen
	s.ID = t.flowID(idx, f.gen)
	s.setLeft(now)
}

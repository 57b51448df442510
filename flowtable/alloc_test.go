package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// allocFlows is how many flows or packets each measured function handles at
// least: AllocsPerRun rounds its average down.
const allocFlows = 1000

// allocRun holds what the measured functions work on.
type allocRun struct {
	t     *testing.T
	tb    *Table
	tr    *Tracker
	x     *Expectations
	idx   [allocFlows]uint32
	now   Tick
	frame []byte
	h     packet.Headers
	event Event
	gone  Expired

	tuples [Burst]Tuple
	bulk   Bulk
}

func TestNoAllocations(t *testing.T) {
	r := &allocRun{t: t, tb: newTable(t, allocFlows), tr: NewTracker(), x: NewExpectations(10),
		frame: frame4(packet.ProtoTCP, l4(0x30, 0x39, 0, 80))}
	if packet.Parse(r.frame, &r.h) != packet.ParseOK {
		t.Fatal("parse")
	}
	r.x.Add(announced(1, 1))
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"insert and remove", func() { r.insert(); r.remove() }},
		{"clash, full, evict", r.refused},
		{"lookups, hit and miss", r.lookups},
		{"advance: new state, refresh, invalid, RST", r.advance},
		{"expiry", r.expiry},
		{"extensions and snapshots", r.snapshots},
		{"tuples", r.parse},
		{"no expectation for a new flow", r.unexpected},
	} {
		if n := testing.AllocsPerRun(3, c.f); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// insert fills the table with IPv4 and IPv6, TCP and UDP flows.
func (r *allocRun) insert() {
	for i := range r.idx {
		orig := tuple4(i)
		if i%2 == 0 {
			orig = tuple6(i)
		}
		if i%3 == 0 {
			orig.Proto = packet.ProtoTCP
		}
		reply := orig.Invert()
		n, res := r.tb.Insert(&orig, &reply, r.now)
		if res != InsertOK {
			r.t.Fatal(res)
		}
		r.tb.Refresh(n, 100, r.now)
		r.idx[i] = n
	}
}

func (r *allocRun) remove() {
	for _, i := range r.idx {
		r.tb.Remove(i)
	}
}

func (r *allocRun) refused() {
	r.insert()
	for i := range allocFlows + 100 {
		orig := tuple4(i)
		reply := orig.Invert()
		r.tb.Insert(&orig, &reply, r.now)
		r.tb.EvictCandidate(r.now, r.tb.Hash(&orig), true)
	}
	r.remove()
}

func (r *allocRun) lookups() {
	r.insert()
	for base := 0; base < 2*allocFlows; base += Burst {
		for i := range r.tuples {
			r.tuples[i] = tuple4(base + i)
			r.bulk.Hashes[i] = r.tb.Hash(&r.tuples[i])
		}
		r.tb.LookupBurst(&r.tuples, &r.bulk, Burst, r.now)
	}
	r.remove()
}

func (r *allocRun) advance() {
	r.insert()
	for d := range Dir(2) {
		for _, flags := range []uint8{packet.ACK, packet.SYN, packet.SYN | packet.FIN, packet.RST} {
			r.h.TCPFlags = flags
			for _, i := range r.idx {
				r.tr.Advance(r.tb, i, d, r.frame, &r.h, r.now)
			}
		}
	}
	r.remove()
}

func (r *allocRun) expiry() {
	r.insert()
	for _, i := range r.idx {
		r.tb.Refresh(i, 5000, r.now)
	}
	for n := 0; n < allocFlows; r.now++ {
		budget := 64
		for r.tb.Expired(r.now, &budget, &r.gone) > 0 {
			for i, idx := range r.gone.Flows[:r.gone.N] {
				r.tb.EndEvent(&r.event, EndExpired, idx, r.now, 0)
				r.tb.RemoveKeys(idx, &r.gone.Keys[i])
				n++
			}
		}
	}
}

func (r *allocRun) snapshots() {
	r.insert()
	var s Snapshot
	for _, i := range r.idx {
		r.tb.AddExt(i)
		r.tb.Read(i, r.now, &s)
		r.tb.FlowEvent(&r.event, EventUpdate, ChangeReply, i, r.now, 0)
	}
	r.remove()
}

func (r *allocRun) parse() {
	for range allocFlows {
		TupleOf(r.frame, &r.h, &r.tuples[0])
		r.tuples[1] = r.tuples[0].Invert()
		r.tr.Start(r.frame, &r.h)
	}
}

func (r *allocRun) unexpected() {
	for i := range allocFlows {
		tu := tuple4(i)
		if r.x.Any() {
			r.x.Take(&tu, r.now)
		}
	}
}

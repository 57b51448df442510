package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// Each function below handles at least 1000 packets or flows: AllocsPerRun
// rounds its average down.
func TestNoAllocations(t *testing.T) {
	const flows = 1000
	tb := newTable(t, flows)
	tr := NewTracker()
	var idx [flows]uint32
	now := Tick(0)
	insert := func() {
		for i := range idx {
			orig := tuple4(i)
			if i%2 == 0 {
				orig = tuple6(i)
			}
			if i%3 == 0 {
				orig.Proto = packet.ProtoTCP
			}
			reply := orig.Invert()
			n, res := tb.Insert(&orig, &reply, now)
			if res != InsertOK {
				t.Fatal(res)
			}
			tb.Refresh(n, 100, now)
			idx[i] = n
		}
	}
	remove := func() {
		for _, i := range idx {
			tb.Remove(i)
		}
	}
	frame := frame4(packet.ProtoTCP, l4(0x30, 0x39, 0, 80))
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		t.Fatal("parse")
	}
	steps := func(flags uint8, d Dir) {
		h.TCPFlags = flags
		for _, i := range idx {
			tr.Advance(tb, i, d, frame, &h, now)
		}
	}
	var tuples [Burst]Tuple
	var hashes [Burst]uint64
	var refs [Burst]Ref
	x := NewExpectations(10)
	x.Add(announced(1, 1))
	var e Event
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"insert and remove", func() { insert(); remove() }},
		{"insert, clash, full, evict", func() {
			insert()
			for i := range flows + 100 {
				orig := tuple4(i)
				reply := orig.Invert()
				tb.Insert(&orig, &reply, now)
				tb.EvictCandidate(now, tb.Hash(&orig), true)
			}
			remove()
		}},
		{"lookups, hit and miss", func() {
			insert()
			for base := 0; base < 2*flows; base += Burst {
				for i := range tuples {
					tuples[i] = tuple4(base + i)
					hashes[i] = tb.Hash(&tuples[i])
				}
				tb.LookupBurst(&tuples, &hashes, &refs, Burst, now)
			}
			remove()
		}},
		{"advance: new state, refresh, invalid, RST", func() {
			insert()
			for d := range Dir(2) {
				steps(packet.ACK, d)
				steps(packet.SYN, d)
				steps(packet.SYN|packet.FIN, d)
				steps(packet.RST, d)
			}
			remove()
		}},
		{"expiry and early firing", func() {
			insert()
			for _, i := range idx {
				tb.Refresh(i, 5000, now)
			}
			for n := 0; n < flows; now++ {
				budget := 64
				for i := tb.NextExpired(now, &budget); i != 0; i = tb.NextExpired(now, &budget) {
					tb.EndEvent(&e, EndExpired, i, now, 0)
					tb.Remove(i)
					n++
				}
			}
		}},
		{"extensions and snapshots", func() {
			insert()
			var s Snapshot
			for _, i := range idx {
				tb.AddExt(i)
				tb.Read(i, now, &s)
				tb.FlowEvent(&e, EventUpdate, i, now, 0)
			}
			remove()
		}},
		{"tuples", func() {
			for range 1000 {
				TupleOf(frame, &h, &tuples[0])
				tuples[1] = tuples[0].Invert()
				tr.Start(frame, &h)
			}
		}},
		{"no expectation for a new flow", func() {
			for i := range 1000 {
				tu := tuple4(i)
				if x.Any() {
					x.Take(&tu, now)
				}
			}
		}},
	} {
		if n := testing.AllocsPerRun(3, c.f); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

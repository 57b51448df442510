package flowtable

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

func TestSnapshotShowsWhatConntrackShows(t *testing.T) {
	tb := newTable(t, 10)
	orig := tuple6(3)
	reply := orig.Invert()
	reply.DstPort = 999
	idx, res := tb.Insert(&orig, &reply, 1000)
	if res != InsertOK {
		t.Fatal(res)
	}
	f := tb.Flow(idx)
	f.AddStatus(StatusConfirmed | StatusSNAT)
	f.SetState(3)
	tb.Refresh(idx, 432000*TicksPerSecond, 1005)
	e := tb.AddExt(idx)
	e.Helper, e.Master = 1, FlowID{Index: 7, Gen: 8, Worker: 2}
	var s Snapshot
	if !tb.Read(idx, 1006, &s) {
		t.Fatal("not read")
	}
	want := Snapshot{Orig: orig, Reply: reply, Master: e.Master, Timeout: 431999, FullTimeout: 432000 * TicksPerSecond,
		Created: 1000, LastSeen: 1005, ID: s.ID, Index: idx, Gen: tb.Gen(idx),
		Status: StatusConfirmed | StatusSNAT | StatusIPv6, Proto: packet.ProtoUDP, State: 3, Helper: 1}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	id := s.ID
	tb.Read(idx, 5000, &s)
	if s.ID != id || id == 0 {
		t.Errorf("the id changed from %d to %d", id, s.ID)
	}
	for _, i := range []uint32{0, idx + 1, 10, 11, 1 << 31} {
		if tb.Read(i, 1006, &s) {
			t.Errorf("Read(%d) of a free record", i)
		}
	}
	tb.Remove(idx)
	if tb.Read(idx, 1006, &s) {
		t.Error("read after Remove")
	}
	idx = mustInsert(t, tb, orig, 100, 1006)
	if !tb.Read(idx, 1006, &s) || s.ID == id {
		t.Error("a reused record kept its id")
	}
}

func TestEvents(t *testing.T) {
	tb := newTable(t, 10)
	tu := tuple4(1)
	idx := mustInsert(t, tb, tu, 120*TicksPerSecond, 0)
	for _, c := range []struct {
		name string
		fill func(*Event)
		want Event
	}{
		{"new prints the full time-out", func(e *Event) { tb.FlowEvent(e, EventNew, ChangeState, idx, 0, 5) }, Event{Kind: EventNew, Left: 120, Time: 5}},
		{"renewed prints the full time-out", func(e *Event) { tb.FlowEvent(e, EventUpdate, ChangeState, idx, 0, 6) }, Event{Kind: EventUpdate, Left: 120, Time: 6}},
		{"ignored prints the rest", func(e *Event) { tb.FlowEvent(e, EventUpdate, ChangeReply, idx, 17, 6) }, Event{Kind: EventUpdate, Left: 118, Time: 6, Flow: Snapshot{SameState: true}}},
		{"expired prints none", func(e *Event) { tb.EndEvent(e, EndExpired, idx, 2000, 7) }, Event{Kind: EventDestroy, Time: 7}},
		{"deleted prints the rest", func(e *Event) { tb.EndEvent(e, EndDeleted, idx, 17, 8) }, Event{Kind: EventDestroy, Left: 118, Deleted: true, Time: 8}},
		{"killed by a packet", func(e *Event) { tb.EndEvent(e, EndImmediate, idx, 17, 9) }, Event{Kind: EventDestroy, Left: 118, Immediate: true, Time: 9}},
	} {
		got := Event{Deleted: true, Immediate: true, Left: 99, Expect: true} // a reused slot
		c.fill(&got)
		if got.Flow.Orig != tu || got.Flow.Index != idx {
			t.Errorf("%s: flow %+v", c.name, got.Flow)
		}
		got.Flow = Snapshot{SameState: got.Flow.SameState}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	for kind, want := range map[EventKind]string{EventNew: "NEW", EventUpdate: "UPDATE", EventDestroy: "DESTROY"} {
		if kind.String() != want {
			t.Errorf("%v, want %s", kind, want)
		}
	}
}

// TestReadersSeeWholeFlows inserts, changes and removes flows while others
// read: a snapshot must never mix two flows. All parts of a flow are derived
// from one number here.
func TestReadersSeeWholeFlows(t *testing.T) {
	const flows = 8
	tb := newTable(t, flows)
	at := func(i uint32) (Tuple, Tuple) {
		a, b := uint64(i), uint64(^i)
		o := Tuple{Src: packet.Addr{Hi: a, Lo: b}, Dst: packet.Addr{Hi: b, Lo: a}, SrcPort: uint16(i), DstPort: ^uint16(i),
			Proto: packet.ProtoTCP, Family: packet.IPv6}
		if i%2 == 0 {
			o.Family, o.Src.Hi, o.Dst.Hi = packet.IPv4, 0, 0
			o.Src.Lo &= 0xffffffff
		}
		r := o
		r.Src, r.Dst, r.SrcPort = o.Dst, o.Src, uint16(i)+1
		return o, r
	}
	var stop atomic.Bool
	var seen, retried atomic.Uint64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var s Snapshot
			for !stop.Load() {
				for idx := uint32(1); idx <= tb.HighWater(); idx++ {
					if !tb.Read(idx, 50, &s) {
						retried.Add(1)
						continue
					}
					o, r := at(uint32(s.Created))
					if s.Orig != o || s.Reply != r {
						t.Errorf("mixed snapshot %+v of flow %d", s, s.Created)
						stop.Store(true)
						return
					}
					seen.Add(1)
				}
				runtime.Gosched()
			}
		})
	}
	var live [flows]uint32
	for i := uint32(1); i < 200_000 && !stop.Load(); i++ {
		slot := &live[i%flows]
		tb.Remove(*slot)
		o, r := at(i)
		idx, res := tb.Insert(&o, &r, Tick(i))
		if res != InsertOK {
			t.Fatal(res)
		}
		tb.Refresh(idx, MaxTimeout, Tick(i))
		tb.Flow(idx).AddStatus(StatusAssured)
		*slot = idx
	}
	stop.Store(true)
	wg.Wait()
	if seen.Load() == 0 {
		t.Error("the readers saw nothing")
	}
	t.Logf("%d snapshots, %d free or changing", seen.Load(), retried.Load())
}

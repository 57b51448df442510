package flowtable

import "testing"

// TestChanged: both keys of a flow that came or went since Settle are told, and
// few others.
func TestChanged(t *testing.T) {
	tb := newTable(t, 1000)
	old := tuple4(1)
	idx := mustInsert(t, tb, old, 100, 0)
	tb.Settle()
	reply := old.Invert()
	if tb.Changed(tb.Hash(&old)) || tb.Changed(tb.Hash(&reply)) {
		t.Error("a flow from before Settle counts as changed")
	}
	for i := range 64 {
		tu := tuple4(100 + i)
		mustInsert(t, tb, tu, 100, 0)
		reply := tu.Invert()
		if !tb.Changed(tb.Hash(&tu)) || !tb.Changed(tb.Hash(&reply)) {
			t.Fatalf("flow %d came unnoticed", i)
		}
	}
	wrong := 0
	for i := range 10_000 {
		tu := tuple6(i)
		if tb.Changed(tb.Hash(&tu)) {
			wrong++
		}
	}
	if wrong > 10_000/20 {
		t.Errorf("%d of 10000 other keys count as changed", wrong)
	}
	tb.Settle()
	tb.Remove(idx)
	if !tb.Changed(tb.Hash(&old)) || !tb.Changed(tb.Hash(&reply)) {
		t.Error("a flow went unnoticed")
	}
}

// TestAddSetsEverything: what a flow begins with is there at once, its timer
// included, and its holds outlast every change of the same word.
func TestAddSetsEverything(t *testing.T) {
	tb := newTable(t, 10)
	orig := tuple4(1)
	reply := orig.Invert()
	n := NewFlow{Orig: &orig, Reply: &reply, Keys: Keys{tb.Hash(&orig), tb.Hash(&reply)}, Timeout: 160,
		Status: StatusSNAT | StatusConfirmed, State: uint8(TCPSynSent), NextHop: [2]uint16{7, 8}, NextHopGen: 9}
	idx, res := tb.Add(&n, 50)
	f := tb.Flow(idx)
	if res != InsertOK || f.Status() != n.Status || f.State() != n.State || f.Deadline() != 210 ||
		f.NextHop != n.NextHop || f.NextHopGen != 9 || f.Holds() != 0 {
		t.Fatalf("%v, flow %+v", res, f)
	}
	f.SetHolds(0xb)
	f.SetState(uint8(TCPSynRecv))
	f.AddStatus(StatusSeenReply)
	f.setTCP(uint8(TCPEstablished), StatusAssured)
	tb.Refresh(idx, MaxTimeout+5, 60)
	if f.Holds() != 0xb || f.Timeout() != MaxTimeout || f.State() != uint8(TCPEstablished) || f.Status() != StatusAssured {
		t.Errorf("holds %x, time-out %d, state %d, status %x", f.Holds(), f.Timeout(), f.State(), f.Status())
	}
	tb.Refresh(idx, 160, 60)
	f.SetHolds(0)
	if expireAll(tb, 219) != 0 || f.Timeout() != 160 || expireAll(tb, 223) != 1 {
		t.Errorf("time-out %d: not expired at its time", f.Timeout())
	}
	n.Timeout = ^Tick(0)
	idx, _ = tb.Add(&n, 300)
	if f := tb.Flow(idx); f.Timeout() != MaxTimeout || f.Holds() != 0 {
		t.Errorf("time-out %d, holds %x, want the longest and none", f.Timeout(), f.Holds())
	}
}

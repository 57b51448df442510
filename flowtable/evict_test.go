package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

func TestEvictCandidate(t *testing.T) {
	tb := newTable(t, 4)
	var idx [4]uint32
	for i := range idx {
		tu := tuple4(i)
		tu.Proto = packet.ProtoTCP
		idx[i] = mustInsert(t, tb, tu, 1000, 0)
		tb.Flow(idx[i]).AddStatus(StatusAssured)
		tb.Flow(idx[i]).SetState(uint8(TCPEstablished))
	}
	if got := tb.EvictCandidate(0, 1<<63, true); got != 0 {
		t.Errorf("a live assured flow was offered: %d", got)
	}
	tb.Flow(idx[1]).SetState(uint8(TCPTimeWait))
	if got := tb.EvictCandidate(0, 1<<63, false); got != 0 {
		t.Errorf("closing flow offered without closing: %d", got)
	}
	if got := tb.EvictCandidate(0, 1<<63, true); got != idx[1] {
		t.Errorf("closing flow: got %d, want %d", got, idx[1])
	}
	tb.Flow(idx[2]).ClearStatus(StatusAssured)
	if got := tb.EvictCandidate(0, 1<<63, true); got != idx[2] {
		t.Errorf("not assured: got %d, want %d", got, idx[2])
	}
	tb.Flow(idx[2]).AddStatus(StatusDying)
	if got := tb.EvictCandidate(0, 1<<63, false); got != 0 {
		t.Errorf("dying flow offered: %d", got)
	}
	tb.Refresh(idx[3], 10, 0)
	if got := tb.EvictCandidate(10, 1<<63, true); got != idx[3] {
		t.Errorf("expired flow: got %d, want %d", got, idx[3])
	}
}

func TestEvictMakesRoomWhereverTheNewFlowHashes(t *testing.T) {
	const flows = 2000
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), 1000, 0)
	}
	for i := flows; i < 3*flows; i++ {
		tu := tuple4(i)
		idx := tb.EvictCandidate(1, tb.Hash(&tu), false)
		if idx == 0 {
			t.Fatalf("flow %d: no candidate among unassured flows", i)
		}
		tb.Remove(idx)
		mustInsert(t, tb, tu, 1000, 1)
	}
	checkTable(t, tb)
}

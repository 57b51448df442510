package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// A TCP flow over IPv4 takes no more than 128 bytes, all in, in a full table.
func TestMemoryOfATCPFlow(t *testing.T) {
	const flows = 200_000
	tb, err := New(Options{MaxFlows: flows})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tb.Close(); err != nil {
			t.Error(err)
		}
	}()
	tr := NewTracker()
	var frame [40]byte // a SYN; only its TCP header is read
	frame[32], frame[33] = 5<<4, packet.SYN
	h := packet.Headers{L3: 0, L4: 20, Payload: 40, End: 40, Family: packet.IPv4, Proto: packet.ProtoTCP, TCPFlags: packet.SYN}
	for i := range flows {
		orig := Tuple{Src: packet.Addr{Lo: uint64(i)}, Dst: packet.Addr{Lo: 1}, SrcPort: 4000, DstPort: 80,
			Proto: packet.ProtoTCP, Family: packet.IPv4}
		reply := orig.Invert()
		idx, r := tb.Insert(&orig, &reply, 1)
		if r != InsertOK {
			t.Fatalf("flow %d: %v", i, r)
		}
		tr.Begin(tb, idx, frame[:], &h)
	}
	perFlow := float64(tb.MemoryBytes()) / flows
	t.Logf("%.1f bytes a flow", perFlow)
	if perFlow < 120 || perFlow > 128 {
		t.Errorf("%.1f bytes a flow, want 120 to 128", perFlow)
	}
}

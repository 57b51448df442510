package dataplane

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// manyFlowsState returns the state file of n established TCP flows of IPv4 behind
// poolAddr, from n/60000 hosts.
func manyFlowsState(b *testing.B, n int) []byte {
	b.Helper()
	var out bytes.Buffer
	w := flowtable.NewStateWriter(&out, time.Now())
	for i := range n {
		s := flowtable.SavedFlow{
			Orig: flowtable.Tuple{Src: packet.Addr{Lo: 0x0a010203 + uint64(i/60000)}, Dst: packet.Addr{Lo: 0xcb007100 + uint64(i/60000)},
				SrcPort: uint16(i%60000 + 1024), DstPort: 443, Proto: packet.ProtoTCP, Family: packet.IPv4},
			Status: flowtable.StatusSeenReply | flowtable.StatusAssured | flowtable.StatusConfirmed | flowtable.StatusSNAT,
			State:  uint8(flowtable.TCPEstablished), Timeout: 432000 * flowtable.TicksPerSecond, ID: uint32(i),
		}
		s.Reply = s.Orig.Invert()
		s.Reply.Dst = packet.AddrOf(poolAddr)
		w.Flow(&s)
	}
	if err := w.Close(0); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// BenchmarkState: what a restart and a reload cost. Ten million flows take 5 GB.
func BenchmarkState(b *testing.B) {
	for _, flows := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			if testing.Short() && flows > 1_000_000 {
				b.Skip("5 GB and minutes, and -short is given")
			}
			benchmarkState(b, flows)
		})
	}
}

func benchmarkState(b *testing.B, flows int) {
	state := manyFlowsState(b, flows)
	perFlow := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(flows), "ns/flow")
		b.ReportMetric(float64(len(state))/float64(flows), "B/flow")
	}
	open := func(b *testing.B, workers int) *path {
		b.Helper()
		return newPath(b, func(o *Options) { o.MaxFlows, o.Queues = flows+flows/10, workers })
	}
	restore := func(b *testing.B, p *path) {
		b.Helper()
		if sum := p.restore(state, 0); sum.Flows != uint64(flows) {
			b.Fatalf("%+v", sum)
		}
	}
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p := open(b, 1)
			b.StartTimer()
			restore(b, p)
		}
		perFlow(b)
	})
	b.Run("save", func(b *testing.B) {
		p := open(b, 1)
		restore(b, p)
		out := bytes.NewBuffer(make([]byte, 0, len(state)+1<<20))
		for b.Loop() {
			out.Reset()
			if _, err := p.WriteState(out, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
		perFlow(b)
	})
	b.Run("reload", func(b *testing.B) {
		p := open(b, 2)
		restore(b, p)
		s := settings()
		s.NAT.Workers = 2
		for b.Loop() {
			if n := p.keepFound(p.path, &s); n != 0 {
				b.Fatal(n)
			}
		}
		perFlow(b)
	})
}

package bench_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/bench/memory"
)

// These benchmarks are for comparing and profiling with the tools of Go: `make
// bench-compare` and `make profile` run them. `xdpct bench` measures the same,
// and more, in interleaved rounds.

// flowSizes are the numbers of flows in the table.
var flowSizes = []int{1_000, 100_000, 1_000_000}

// passer runs a few thousand packets through the worker.
type passer interface {
	Pass() (packets int, spent time.Duration, err error)
	Close() error
}

// BenchmarkPipeline is the cost of one minimal packet of an established flow
// from RX ring to TX ring.
func BenchmarkPipeline(b *testing.B) {
	for _, flows := range flowSizes {
		for _, proto := range []string{"udp", "tcp"} {
			for _, nat := range []string{"none", "snat"} {
				b.Run(fmt.Sprintf("flows=%d/proto=%s/nat=%s", flows, proto, nat), func(b *testing.B) {
					p, err := memory.NewPath(memory.Set{Flows: flows, Proto: proto, NAT: nat})
					measure(b, p, err, "ns/packet")
				})
			}
		}
		b.Run(fmt.Sprintf("flows=%d/proto=udp/nat=snat/accounting", flows), func(b *testing.B) {
			p, err := memory.NewPath(memory.Set{Flows: flows, Proto: "udp", NAT: "snat", Counted: true})
			measure(b, p, err, "ns/packet")
		})
	}
}

// BenchmarkNewFlows is the cost of the first packet of a flow, with a source
// translation, and of the end of an older flow.
func BenchmarkNewFlows(b *testing.B) {
	for _, proto := range memory.DefaultProtos() {
		for _, flows := range flowSizes {
			b.Run(fmt.Sprintf("flows=%d/proto=%s/nat=snat", flows, proto), func(b *testing.B) {
				c, err := memory.NewChurn(flows, proto)
				measure(b, c, err, "ns/flow")
			})
		}
	}
}

// measure reports the time that a packet spends in the gateway.
func measure(b *testing.B, p passer, err error, unit string) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	}()
	cpus, err := bench.UsableCPUs()
	if err != nil {
		b.Fatal(err)
	}
	packets, inside := 0, time.Duration(0)
	err = bench.Pinned(cpus[len(cpus)-1], func() error {
		for b.Loop() {
			n, spent, err := p.Pass()
			if err != nil {
				return err
			}
			packets, inside = packets+n, inside+spent
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(inside.Nanoseconds())/float64(packets), unit)
	b.ReportMetric(0, "ns/op")
}

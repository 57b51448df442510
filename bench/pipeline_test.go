package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/packet"
)

// protocols and translations that the pipeline is measured with.
var (
	protocols = map[string]uint8{"udp": packet.ProtoUDP, "tcp": packet.ProtoTCP}
	flowSizes = []int{1_000, 100_000, 1_000_000}
)

// BenchmarkPipeline is the cost of one minimal packet of an established flow
// from RX ring to TX ring: parse, lookup, state, translation, next hop. Flows
// come in random order, half of the packets in either direction. Making the
// packets and taking them off the wire is not counted.
func BenchmarkPipeline(b *testing.B) {
	for _, proto := range []string{"udp", "tcp"} {
		for _, snat := range []string{"none", "snat"} {
			for _, n := range flowSizes {
				b.Run(fmt.Sprintf("proto=%s/nat=%s/flows=%d", proto, snat, n), func(b *testing.B) {
					t := newTraffic(b, n, protocols[proto], snat == "snat")
					t.establish(b, n)
					t.measure(b, t.random)
				})
			}
		}
	}
}

// BenchmarkNewFlows is the cost of the first packet of a flow, with a source
// translation, and of the end of an older flow: the table is full of flows
// that expire as new ones come.
func BenchmarkNewFlows(b *testing.B) {
	for _, n := range flowSizes {
		b.Run(fmt.Sprintf("proto=udp/nat=snat/table=%d", n), func(b *testing.B) {
			t := newTraffic(b, n, packet.ProtoUDP, true)
			next, room := 0, n-n/8
			t.measure(b, func() {
				for range dataplane.BurstSize {
					tu := t.tupleOf(next % (1 << 20))
					t.put(internal, &tu, 0)
					next++
				}
				// As much time passes as keeps the table 7/8 full: a flow lives 30 s.
				t.Advance(30 * time.Second * dataplane.BurstSize / time.Duration(room))
			})
		})
	}
}

// measure runs bursts that fill delivers and reports the time that a packet
// spends in the gateway.
func (t *traffic) measure(b *testing.B, fill func()) {
	b.Helper()
	var inside time.Duration
	packets := 0
	b.ReportAllocs()
	for b.Loop() {
		fill()
		start := time.Now()
		n := t.Burst(0)
		inside += time.Since(start)
		packets += n
		t.drain()
	}
	b.ReportMetric(float64(inside.Nanoseconds())/float64(packets), "ns/packet")
	b.ReportMetric(0, "ns/op")
	dropped := uint64(0)
	for _, c := range t.WorkerStats()[0].Counters {
		if len(c.Name) > 5 && c.Name[:5] == "drop_" {
			dropped += c.Value
		}
	}
	if dropped != 0 {
		b.Fatalf("%d packets were dropped: the figure means nothing", dropped)
	}
}

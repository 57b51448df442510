package dataplane

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// BenchmarkWorkers forwards UDP in both directions of 16384 source translated
// flows in memory, each worker on a thread of its own and behind NICs that
// spread by RSS. The figure is the time of all workers together for a packet:
// what two workers should halve. handed is the share of packets handed over.
func BenchmarkWorkers(b *testing.B) {
	for _, workers := range []int{1, 2, 4} {
		for _, how := range []spread{{"rss", workers, tellRSS, asTold}, {"ports", workers, tellNothing, asTold}} {
			b.Run(fmt.Sprintf("workers=%d/%s", workers, how.name), func(b *testing.B) {
				if workers > runtime.NumCPU() {
					b.Skipf("%d workers on %d CPUs", workers, runtime.NumCPU())
				}
				p := how.open(b, func(o *Options) { o.MaxFlows, o.RingSize = 1<<16, 2048 })
				benchmarkWorkers(b, p, p.trafficByQueue(1<<14))
			})
		}
	}
}

// trafficByQueue opens flows and returns a packet of each direction of each, by
// the port and queue that it comes to.
func (p *path) trafficByQueue(flows int) [2][][][]byte {
	var frames [2][][][]byte
	for port := range frames {
		frames[port] = make([][][]byte, len(p.workers))
	}
	add := func(port int, frame []byte) {
		q := p.queue(port, frame)
		frames[port][q] = append(frames[port][q], frame)
	}
	for i := range flows {
		src, dst := at(clientAddr, uint16(2000+i%50000)), at(serverAddr, uint16(53+i/50000))
		question, _ := p.exchange(lan, false, src, dst)
		add(lan, build(p.t, lan, l4(false, src, dst, layers.TCP{})))
		add(wan, build(p.t, wan, l4(false, question[1], question[0], layers.TCP{})))
	}
	return frames
}

func benchmarkWorkers(b *testing.B, p *path, frames [2][][][]byte) {
	before := p.counterValue("handed_over")
	var done atomic.Int64 // packets that left
	var threads sync.WaitGroup
	b.ResetTimer()
	for w := range p.workers {
		threads.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var descs [BurstSize]xsk.Desc
			var next [2]int
			for done.Load() < int64(b.N) {
				for port := range frames {
					list, wire := frames[port][w], p.Wires[port][w]
					for range BurstSize {
						wire.Deliver(list[next[port]])
						next[port] = (next[port] + 1) % len(list)
					}
				}
				p.Burst(w)
				for port := range frames {
					for n := 1; n > 0; {
						n = p.Wires[port][w].Collect(descs[:])
						p.Wires[port][w].Complete(descs[:n])
						done.Add(int64(n))
					}
				}
			}
		})
	}
	threads.Wait()
	b.StopTimer()
	b.ReportMetric(float64(p.counterValue("handed_over")-before)/float64(b.N), "handed")
}

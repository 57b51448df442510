package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
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

// BenchmarkNewFlows is what a packet costs that starts a source translated flow,
// of one worker of several, with nothing handed over. 32768 flows of a thousand
// hosts are made and ended in turn; the end is not measured.
func BenchmarkNewFlows(b *testing.B) {
	const flows = 1 << 15
	for _, workers := range []int{1, 4, 16} {
		for _, how := range []spread{{"rss", workers, tellRSS, asTold}, {"ports", workers, tellNothing, byPort}} {
			b.Run(fmt.Sprintf("workers=%d/%s", workers, how.name), func(b *testing.B) {
				p := how.open(b, func(o *Options) { o.MaxFlows = 2 * flows * workers })
				p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) {
					routes[0].Dst, routes[1].Dst = prefix("203.0.0.0/8"), prefix("10.1.0.0/16")
				})
				benchmarkNewFlows(b, p, p.newFlowsOfWorker(0, flows))
			})
		}
	}
}

// byPort spreads so that nothing need be handed over by port number.
func byPort(p *path, _ *[2]*nic, n int) func(int, []byte) int {
	return func(_ int, frame []byte) int {
		var h packet.Headers
		if packet.Parse(frame, &h) != packet.ParseOK {
			p.t.Fatal("frame does not parse")
		}
		return nat.PortOwner(packet.UDP(frame[h.L4:]).SrcPort(), n)
	}
}

// newFlowsOfWorker returns the first packets of n flows that come to a worker.
func (p *path) newFlowsOfWorker(worker, n int) [][]byte {
	frames := make([][]byte, 0, n)
	rng := rand.New(rand.NewPCG(9, 9))
	seen := make(map[[2]netip.AddrPort]bool)
	for len(frames) < n {
		src := at(netip.AddrFrom4([4]byte{10, 1, 4 + byte(rng.IntN(4)), byte(rng.IntN(256))}), uint16(1024+rng.IntN(64512)))
		dst := at(netip.AddrFrom4([4]byte{203, 1, byte(rng.IntN(4)), byte(rng.IntN(256))}), 53)
		frame := build(p.t, lan, l4(false, src, dst, layers.TCP{}))
		if !seen[[2]netip.AddrPort{src, dst}] && p.queue(lan, frame) == worker {
			frames = append(frames, frame)
		}
		seen[[2]netip.AddrPort{src, dst}] = true
	}
	return frames
}

func benchmarkNewFlows(b *testing.B, p *path, frames [][]byte) {
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += len(frames) {
		for i := 0; i < len(frames); i += BurstSize {
			if p.Wires[lan][0].Deliver(frames[i:i+BurstSize]...) != BurstSize {
				b.Fatal("the wire is full")
			}
			p.Burst(0)
			p.drain()
		}
		b.StopTimer()
		p.Advance(time.Minute)
		for p.Burst(0); p.workers[0].backlog; p.Burst(0) {
		}
		b.StartTimer()
	}
	b.StopTimer()
	if n := p.counterValue("flows_new"); n < uint64(b.N) || n%uint64(len(frames)) != 0 {
		b.Errorf("%d flows made", n)
	}
}

package memory

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/flowtable"
)

// poolAddrs is the size of the pool that sources are translated to: enough for
// the most flows that are measured.
const poolAddrs = 1024

// listedFrom is the number of flows from which on it is measured what listing
// them costs the path: a shorter list is over before anything shows.
const listedFrom = 1_000_000

// Pipeline measures a packet of an established flow on its way through the
// worker: in all, by stage, and while the table is being listed.
func Pipeline(ctx context.Context, o Options, p bench.Progress) ([]bench.Record, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var subjects []subject
	for _, flows := range o.Flows {
		for _, proto := range o.Protos {
			for _, translation := range o.NATs {
				subjects = append(subjects, &Path{Set: Set{Flows: flows, Proto: proto, NAT: translation}, stages: true,
					listed: flows >= listedFrom && proto == "udp" && translation == natSource})
			}
		}
	}
	for _, burst := range o.Bursts {
		if burst != dataplane.BurstSize {
			subjects = append(subjects, &Path{Set: Set{Flows: slices.Max(o.Flows), Proto: "udp", NAT: natSource, Burst: burst}})
		}
	}
	for _, size := range o.Sizes {
		for _, trusted := range []bool{false, true} {
			subjects = append(subjects, &Path{Set: Set{Flows: slices.Max(o.Flows), Proto: "udp", NAT: natSource, Size: size, Trusted: trusted}})
		}
	}
	return measure(ctx, "pipeline", &o, subjects, p)
}

// Path is a gateway with established flows whose packets are measured.
type Path struct {
	Set
	stages  bool // also measure each stage
	listed  bool // also measure while the table is listed
	clock   time.Duration
	watch   *bench.Disturbance
	traffic *traffic
}

// NewPath makes the gateway and the flows of a set.
func NewPath(s Set) (*Path, error) {
	p := &Path{Set: s}
	if err := p.prepare(); err != nil {
		_ = p.close() // the first error says what is wrong
		return nil, err
	}
	return p, nil
}

// Close frees the gateway.
func (p *Path) Close() error { return p.close() }

func (p *Path) prepare() error {
	c, err := p.policy(poolAddrs)
	if err != nil {
		return err
	}
	if p.traffic, err = newTraffic(p.Set, p.Flows, c, longTimeouts()); err != nil {
		return err
	}
	p.clock, p.watch = clockCost(), bench.WatchDisturbance()
	return p.traffic.establish()
}

func (p *Path) close() error { return p.traffic.close() }

// Pass delivers packets of random flows to both queues, lets the worker take
// them, and returns how many there were and the time that it took; 0 if it was
// disturbed. An error tells of a packet that was dropped.
func (p *Path) Pass() (packets int, spent time.Duration, err error) {
	if p.Burst != 0 {
		packets, spent, err = p.shortBursts()
	} else {
		packets, spent, err = p.fullBursts()
	}
	if err != nil || !p.watch.Keep() {
		return 0, 0, err
	}
	return packets, spent, nil
}

func (p *Path) fullBursts() (packets int, spent time.Duration, err error) {
	t := p.traffic
	if err := t.deliverRandom(ringful); err != nil {
		return 0, 0, err
	}
	if spent, err = t.serve(2 * ringful); err != nil {
		return 0, 0, err
	}
	return 2 * ringful, spent, t.drainAll(2 * ringful)
}

// shortBursts is for bursts of less than 64 packets. A worker takes what there is,
// so no more than a burst is delivered at a time, and it is still warm when it
// is taken.
func (p *Path) shortBursts() (packets int, spent time.Duration, err error) {
	t, n := p.traffic, p.burst()
	for packets < 2*ringful {
		if err := t.deliverRandom(n); err != nil {
			return 0, 0, err
		}
		d, err := t.serve(2 * n)
		if err != nil {
			return 0, 0, err
		}
		if err := t.drainAll(2 * n); err != nil {
			return 0, 0, err
		}
		spent += d - p.clock
		packets += 2 * n
	}
	return packets, spent, nil
}

// packets measures passes for about d and returns ns per packet.
func (p *Path) packets(d time.Duration) (float64, error) {
	packets, spent := 0, time.Duration(0)
	for spent < d {
		n, s, err := p.Pass()
		if err != nil {
			return 0, err
		}
		packets, spent = packets+n, spent+s
	}
	return perOperation(spent, packets), nil
}

func (p *Path) quantities() []quantity {
	const unit = "ns/packet"
	list := []quantity{{p.params(nil), unit}}
	if p.stages {
		for s := range dataplane.Stage(dataplane.NumStages) {
			list = append(list, quantity{p.params(map[string]any{"stage": s.String()}), unit})
		}
	}
	if p.listed {
		list = append(list, quantity{p.params(map[string]any{"while": "listed"}), "ratio"})
	}
	return list
}

func (p *Path) round(d time.Duration) ([]float64, error) {
	all, err := p.packets(d)
	values := []float64{all}
	if err == nil && p.stages {
		values, err = p.byStage(values, d/4)
	}
	if err == nil && p.listed {
		var ratio float64
		ratio, err = p.whileListed(d / 2)
		values = append(values, ratio)
	}
	return values, err
}

// byStage appends the ns per packet of each stage, measured for about d,
// without the cost of the clock.
func (p *Path) byStage(values []float64, d time.Duration) ([]float64, error) {
	var sum, pass dataplane.StageTimes
	add := func(_ int, times *dataplane.StageTimes) {
		for i := range times {
			pass[i] += times[i] - p.clock
		}
	}
	packets := 0
	for sum.Total() < d {
		if err := p.traffic.deliverRandom(ringful); err != nil {
			return nil, err
		}
		pass = dataplane.StageTimes{}
		for left := 2 * ringful; left > 0; {
			left -= p.traffic.StagedBurst(0, add)
		}
		if err := p.traffic.drainAll(2 * ringful); err != nil {
			return nil, err
		}
		if p.watch.Keep() {
			packets += 2 * ringful
			for i := range pass {
				sum[i] += pass[i]
			}
		}
	}
	for _, spent := range sum {
		values = append(values, perOperation(max(spent, 0), packets))
	}
	return values, nil
}

// whileListed returns how much longer a packet takes while another thread reads
// the whole table again and again, as `xdpct flows` does.
func (p *Path) whileListed(d time.Duration) (float64, error) {
	alone, err := p.packets(d)
	if err != nil {
		return 0, err
	}
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		list(p.traffic.Tables()[0], &stop)
	}()
	listed, err := p.packets(d)
	stop.Store(true)
	<-done
	return listed / alone, err
}

// list reads all flows of a table until it is told to stop. Times do not
// matter: the clock belongs to the measuring thread.
func list(table *flowtable.Table, stop *atomic.Bool) {
	var s flowtable.Snapshot
	for !stop.Load() {
		for idx := uint32(1); idx <= table.HighWater() && !stop.Load(); idx++ {
			table.Read(idx, 1, &s)
		}
	}
}

// perOperation returns nanoseconds; 0 if nothing was done.
func perOperation(spent time.Duration, n int) float64 {
	return float64(spent.Nanoseconds()) / float64(max(n, 1))
}

// clockCost is the time between two clock reads with nothing in between: the
// median of many.
func clockCost() time.Duration {
	var list [1001]time.Duration
	for i := range list {
		start := time.Now()
		list[i] = time.Since(start)
	}
	slices.Sort(list[:])
	return list[len(list)/2]
}

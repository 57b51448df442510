package forward

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xdpct/xdpct/bench"
)

// run is one run of the benchmark.
type run struct {
	opts    Options
	labs    labs
	samples samples
}

// Run measures the contenders that this machine has, in turn, in each of the
// rounds, and returns the records of all. It needs root, and keeps this process
// on the home CPU meanwhile. What it made is removed, also if ctx ends early.
func Run(ctx context.Context, o Options, progress bench.Progress) ([]bench.Record, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("the forward benchmark needs root: network namespaces, AF_XDP and BPF programs")
	}
	release, err := o.Placement.settle()
	if err != nil {
		return nil, err
	}
	defer release()
	r := &run{opts: o}
	present := r.present()
	if len(present) == 0 {
		return nil, errors.New("no contender can run on this machine")
	}
	total := o.Rounds * (len(present) + 1)
	for round := range o.Rounds {
		step := round * (len(present) + 1)
		progress.Step("generator", step, total)
		if err := r.ceiling(ctx); err != nil {
			return nil, fmt.Errorf("generator: %w", err)
		}
		for i, c := range present {
			progress.Step(c.Name, step+i+1, total)
			if err := r.measure(ctx, &c); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
	}
	return r.samples.records(o.Flows), nil
}

// present returns the contenders that can run here.
func (r *run) present() []Contender {
	var list []Contender
	for _, c := range r.opts.Contenders {
		if c.Missing == nil || c.Missing() == "" {
			list = append(list, c)
		}
	}
	return list
}

// ceiling measures what the generator can send at most, with the sink in the
// place of the gateway.
func (r *run) ceiling(ctx context.Context) error {
	if !r.opts.wants(MeasureRate) {
		return nil
	}
	l, err := r.labs.build(ctx, r.opts.Placement)
	if err != nil {
		return err
	}
	at := counter{namespace: l.site.Namespace, ifindex: l.site.In.Ifindex, mac: [6]byte(l.site.In.MAC), ttl: 64}
	t, err := newTraffic(l, at)
	if err != nil {
		return errors.Join(err, l.remove())
	}
	s := &stand{name: "generator", lab: l, traffic: t, running: &Running{}, trials: r.opts.Trials}
	out, err := s.trial(ctx, r.load(searchMost))
	if err == nil {
		r.samples.add(key{contender: s.name, measure: MeasureRate}, "packets/s", out.rate)
	}
	return errors.Join(err, t.close(), l.remove())
}

// load is that of a trial.
func (r *run) load(rate float64) load {
	return load{rate: rate, duration: r.opts.Trial, flows: r.opts.Flows}
}

// measure puts one contender through one round.
func (r *run) measure(ctx context.Context, c *Contender) (err error) {
	s, err := r.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	// Flows, neighbours and caches are there before anything counts.
	if _, err := s.trial(ctx, load{rate: 100e3, duration: r.warmUp(), flows: r.opts.Flows}); err != nil {
		return err
	}
	if r.opts.wants(MeasureCPU) {
		if err := r.measureCPU(ctx, s); err != nil {
			return err
		}
	}
	if !r.opts.wants(MeasureRate) && !r.opts.wants(MeasureLatency) {
		return nil
	}
	at := try(func(rate float64) (*outcome, error) { return s.trial(ctx, r.load(rate)) })
	best, err := at.highest(r.opts.Loss)
	if err != nil {
		return err
	}
	if best == nil {
		return nil // no rate was held in this round: it has no sample
	}
	if r.opts.wants(MeasureRate) {
		k := key{contender: c.Name}
		r.samples.add(k.of(MeasureRate), "packets/s", best.rate)
		r.samples.add(k.of("cpu_at_rate"), "ns/packet", best.cpuPerPacket())
	}
	if r.opts.wants(MeasureLatency) {
		return r.measureLatency(ctx, s, best.rate)
	}
	return nil
}

// warmUp is as long as it takes to send a packet of each flow twice.
func (r *run) warmUp() time.Duration {
	return max(100*time.Millisecond, time.Duration(2*r.opts.Flows)*10*time.Microsecond)
}

// measureCPU measures CPU time at the fixed rates.
func (r *run) measureCPU(ctx context.Context, s *stand) error {
	arrivals := r.opts.Arrivals
	if len(arrivals) == 0 {
		arrivals = []Arrival{""}
	}
	for _, arrival := range arrivals {
		for _, rate := range r.opts.CPURates {
			o := r.load(rate)
			o.mixed = arrival == ArrivalMixed
			out, err := s.trial(ctx, o)
			if err != nil {
				return err
			}
			k := key{contender: s.name, load: rate, arrival: arrival}
			r.samples.add(k.of(MeasureCPU), "ns/packet", out.cpuPerPacket())
			r.samples.add(k.of("loss"), "%", 100*out.loss())
		}
	}
	return nil
}

// measureLatency measures how long packets are under way at shares of the
// highest rate.
func (r *run) measureLatency(ctx context.Context, s *stand, highest float64) error {
	for _, share := range []int{10, 50, 90} {
		out, err := s.trial(ctx, r.load(highest*float64(share)/100))
		if err != nil {
			return err
		}
		for _, q := range []struct {
			name string
			q    float64
		}{{"latency_p50", 0.5}, {"latency_p99", 0.99}, {"latency_p99.9", 0.999}} {
			k := key{contender: s.name, measure: Measure(q.name), load: fmt.Sprintf("%d%%", share)}
			r.samples.add(k, "us", float64(out.latency.quantile(q.q))/1e3)
		}
	}
	return nil
}

// open builds a lab and starts a contender and the traffic's ends in it.
func (r *run) open(ctx context.Context, c *Contender) (*stand, error) {
	l, err := r.labs.build(ctx, r.opts.Placement)
	if err != nil {
		return nil, err
	}
	s := &stand{name: c.Name, lab: l, trials: r.opts.Trials}
	at := counter{namespace: l.sink, ifindex: l.drain.ifindex, mac: [6]byte(l.drain.mac), nat: c.NAT, ttl: 63}
	if c.KeepsTTL {
		at.ttl = 64
	}
	if s.traffic, err = newTraffic(l, at); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.running, err = c.Start(ctx, &l.site); err != nil {
		return nil, errors.Join(fmt.Errorf("start: %w", err), s.close())
	}
	if err := errors.Join(l.promote(s.running), l.check(s.running)); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close ends what open started, as far as it got.
func (s *stand) close() error {
	var errs []error
	if s.running != nil {
		errs = append(errs, s.running.Stop())
	}
	if s.traffic != nil {
		errs = append(errs, s.traffic.close())
	}
	return errors.Join(append(errs, s.lab.remove())...)
}

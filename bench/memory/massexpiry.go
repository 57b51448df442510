package memory

import (
	"fmt"
	"slices"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/packet"
)

// bystanders are the established flows whose packets go on while all others
// expire.
const bystanders = 4096

// massExpiry is a table of flows that all end in the same tick, while packets
// of others fill every burst.
type massExpiry struct {
	flows   int
	traffic *traffic
}

func (s *massExpiry) String() string { return fmt.Sprintf("mass expiry flows=%d", s.flows) }

func (s *massExpiry) set() Set { return Set{Flows: bystanders, Proto: "tcp", NAT: natSource} }

func (s *massExpiry) memory() uint64 {
	all := s.set()
	all.Flows += s.flows
	return all.memory()
}

func (s *massExpiry) prepare() error {
	policy, err := s.set().policy(poolAddrs)
	if err != nil {
		return err
	}
	timeouts := longTimeouts()
	timeouts.UDP = shortTimeout
	if s.traffic, err = newTraffic(s.set(), bystanders+s.flows, policy, timeouts); err != nil {
		return err
	}
	return s.traffic.establish()
}

func (s *massExpiry) close() error { return s.traffic.close() }

// burstTimes are those of the bursts of one phase, in ns. Bursts that were
// disturbed are only counted.
type burstTimes struct {
	whole     []float64 // runBurst
	expiry    []float64 // its expire stage: the tick of the timers
	preempted int
	watch     *bench.Disturbance
}

// add takes in a burst.
func (b *burstTimes) add(_ int, stages *dataplane.StageTimes) {
	if b.watch.Seen() {
		b.preempted++
		return
	}
	b.whole = append(b.whole, float64(stages.Total()))
	b.expiry = append(b.expiry, float64(stages[dataplane.StageExpire]))
}

// values are the percentiles of bursts and ticks, then the share of bursts that
// are not in them, in percent.
func (b *burstTimes) values() []float64 {
	var list []float64
	for _, times := range [][]float64{b.whole, b.expiry} {
		slices.Sort(times)
		for _, p := range percentiles() {
			list = append(list, bench.Quantile(times, p.at))
		}
	}
	return append(list, 100*float64(b.preempted)/float64(len(b.whole)+b.preempted))
}

// percentile is a value that is reported of the times of a phase.
type percentile struct {
	name string
	at   float64
}

func percentiles() []percentile {
	return []percentile{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1}}
}

func (s *massExpiry) quantities() []quantity {
	var list []quantity
	for _, expiring := range []int{0, s.flows} {
		for _, part := range []string{"burst", "tick"} {
			for _, p := range percentiles() {
				list = append(list, quantity{map[string]any{"expiring": expiring, "part": part, "stat": p.name}, "ns"})
			}
		}
		list = append(list, quantity{map[string]any{"expiring": expiring, "bursts": "preempted"}, "%"})
	}
	return list
}

// round makes all flows and lets them expire, so it takes as long as that does.
func (s *massExpiry) round(time.Duration) ([]float64, error) {
	t := s.traffic
	dying := Set{Flows: s.flows, Proto: "udp", NAT: natSource}
	t.framer.proto = packet.ProtoUDP
	if err := t.send(internal, s.flows, 0, dying.tupleOf); err != nil {
		return nil, err
	}
	t.framer.proto = packet.ProtoTCP

	// As many bursts before as there will be with the expiry, or more.
	quiet, err := s.observe(1+s.flows/(2*ringful), func() bool { return false })
	if err != nil {
		return nil, err
	}
	t.step(2 * shortTimeout.Duration())
	// However small the budget of a burst, it is one flow at least.
	busy, err := s.observe(2+s.flows/(2*ringful/dataplane.BurstSize), func() bool { return t.Tables()[0].Len() <= bystanders })
	if err != nil {
		return nil, err
	}
	if n := t.Tables()[0].Len() - bystanders; n > 0 {
		return nil, fmt.Errorf("%d of %d flows did not expire", n, s.flows)
	}
	return append(quiet.values(), busy.values()...), nil
}

// observe times the bursts of at most so many passes, until it is told to end.
func (s *massExpiry) observe(passes int, end func() bool) (*burstTimes, error) {
	t := s.traffic
	times := &burstTimes{watch: bench.WatchDisturbance()}
	for ; passes > 0 && !end(); passes-- {
		if err := t.deliverRandom(ringful); err != nil {
			return nil, err
		}
		for left := 2 * ringful; left > 0; {
			left -= t.StagedBurst(0, times.add)
		}
		if err := t.drainAll(2 * ringful); err != nil {
			return nil, err
		}
	}
	return times, nil
}

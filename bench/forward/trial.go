package forward

import (
	"context"
	"fmt"
	"io"
	"time"
)

// outcome is what one trial showed.
type outcome struct {
	sent, received uint64
	rate           float64       // packets/s that left the generator
	cpu            time.Duration // that the gateway took, in all its threads
	others         float64       // share of the gateway's CPU that was neither its nor idle
	latency        histogram
}

// loss is the share of packets that did not arrive.
func (o *outcome) loss() float64 {
	if o.sent == 0 {
		return 1
	}
	return float64(o.sent-o.received) / float64(o.sent)
}

// cpuPerPacket is in nanoseconds.
func (o *outcome) cpuPerPacket() float64 { return float64(o.cpu) / float64(max(o.received, 1)) }

// stand is a contender in its lab, with traffic at both ends.
type stand struct {
	name    string
	lab     *lab
	traffic *traffic
	running *Running
	trials  io.Writer // gets a line a trial; nil = nobody
}

// trial puts the contender under load and says what became of it.
func (s *stand) trial(ctx context.Context, o load) (*outcome, error) {
	if err := s.traffic.start(o); err != nil {
		return nil, fmt.Errorf("start a trial: %w", err)
	}
	before, err := s.lab.readCPU(s.running)
	if err != nil {
		return nil, err
	}
	if err := s.traffic.send(ctx); err != nil {
		return nil, err
	}
	seen, err := s.drain()
	if err != nil {
		return nil, err
	}
	after, err := s.lab.readCPU(s.running)
	if err != nil {
		return nil, err
	}
	if err := s.traffic.verify(&seen); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	out := &outcome{received: seen.Packets}
	core := after.core - before.core
	out.cpu = after.since(before)
	out.others = float64(core-out.cpu) / float64(after.at-before.at)
	if err := s.readTraffic(out); err != nil {
		return nil, err
	}
	s.tell(out)
	return out, nil
}

// tell writes a trial's line.
func (s *stand) tell(o *outcome) {
	if s.trials == nil {
		return
	}
	fmt.Fprintf(s.trials, "%s sent=%d rate=%.0f/s loss=%.3f%% cpu=%.0fns others=%.0f%% p50=%v p99=%v p99.9=%v\n",
		s.name, o.sent, o.rate, 100*o.loss(), o.cpuPerPacket(), 100*o.others,
		o.latency.quantile(0.5), o.latency.quantile(0.99), o.latency.quantile(0.999))
}

// drain waits until no more packets arrive and returns what has arrived.
func (s *stand) drain() (seen sinkCounts, err error) {
	const step, limit = 10 * time.Millisecond, 500 * time.Millisecond
	for range limit / step {
		last := seen
		if err := s.traffic.sink.Seen.Get(&seen); err != nil {
			return seen, fmt.Errorf("read the sink's counts: %w", err)
		}
		if seen.Packets == last.Packets && seen.Packets > 0 {
			break
		}
		time.Sleep(step)
	}
	return seen, nil
}

// readTraffic takes the rest of a trial's counts from the programs.
func (s *stand) readTraffic(out *outcome) error {
	sent, err := s.traffic.progress()
	if err != nil {
		return err
	}
	if err := s.traffic.sink.Histogram.Get(&out.latency); err != nil {
		return fmt.Errorf("read the sink's latencies: %w", err)
	}
	out.sent = sent.Packets
	if out.received > out.sent {
		return fmt.Errorf("%s: %d packets arrived, but only %d were sent", s.name, out.received, out.sent)
	}
	if sent.Last > sent.First {
		out.rate = float64(sent.Packets) / float64(sent.Last-sent.First) * 1e9
	}
	return nil
}

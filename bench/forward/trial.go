package forward

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// outcome is what one trial showed.
type outcome struct {
	sent, received uint64
	givenUp        uint64  // packets that the generator was too late for
	rate           float64 // packets/s that left the generator
	cpu, core      time.Duration
	latency        histogram
	seen           sinkCounts
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

// running is a contender in its lab, with traffic at both ends.
type stand struct {
	c       *Contender
	lab     *lab
	traffic *traffic
	running *Running
}

// trial puts the contender under load and says what became of it.
func (s *stand) trial(ctx context.Context, o load) (*outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.traffic.start(s.c, o); err != nil {
		return nil, err
	}
	before, err := s.lab.readCPU(s.running)
	if err != nil {
		return nil, err
	}
	if err := s.traffic.send(ctx, o); err != nil {
		return nil, err
	}
	if err := s.drain(); err != nil {
		return nil, err
	}
	after, err := s.lab.readCPU(s.running)
	if err != nil {
		return nil, err
	}
	out := &outcome{}
	out.cpu, out.core = after.since(before)
	return out, s.read(out)
}

// drain waits until no more packets arrive.
func (s *stand) drain() error {
	const pause, limit = 10 * time.Millisecond, time.Second
	var last, seen sinkCounts
	for range limit / pause {
		last = seen
		if err := s.traffic.sink.Seen.Get(&seen); err != nil {
			return err
		}
		if seen.Packets == last.Packets && seen.Packets > 0 {
			return nil
		}
		time.Sleep(pause)
	}
	return nil
}

// read takes the counts of a trial from the programs.
func (s *stand) read(out *outcome) error {
	var sent generatorProgress
	err := errors.Join(
		s.traffic.gen.Sent.Get(&sent),
		s.traffic.sink.Seen.Get(&out.seen),
		s.traffic.sink.Histogram.Get(&out.latency),
	)
	if err != nil {
		return err
	}
	out.sent, out.received, out.givenUp = sent.Packets, out.seen.Packets, sent.GivenUp
	if out.received > out.sent {
		return fmt.Errorf("%s: %d packets arrived, %d were sent", s.c.Name, out.received, out.sent)
	}
	if sent.Last > sent.First {
		out.rate = float64(sent.Packets) / float64(sent.Last-sent.First) * 1e9
	}
	return nil
}

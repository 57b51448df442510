package dataplane

import (
	"context"
	"testing"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// TestStalledReaderLosesEventsOnly has one reader that does not read while flows
// come. The worker goes on, the other reader gets everything, and what was lost is
// counted to the last event.
func TestStalledReaderLosesEventsOnly(t *testing.T) {
	const flows, room = 3000, 100
	p := newPath(t, nil)
	fast, slow := p.Subscribe(2*flows), p.Subscribe(room)
	defer fast.Close()
	defer slow.Close()
	for i := range uint16(flows) {
		if out := p.send(lan, build(t, lan, udp(1024+i, 53))); len(out) != 1 {
			t.Fatalf("flow %d: %d packets left", i, len(out))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, lost := drainEvents(ctx, t, fast, flows); got != flows || lost != 0 {
		t.Errorf("the other reader got %d and lost %d of %d events", got, lost, flows)
	}
	got, lost := drainEvents(ctx, t, slow, room)
	if got != room || lost != flows-room {
		t.Errorf("the stalled reader got %d and was told of %d lost ones, want %d and %d", got, lost, room, flows-room)
	}
	stats := map[string]uint64{}
	for _, c := range p.SharedStats() {
		stats[c.Name] = c.Value
	}
	if stats["events_missed"] != flows-room || stats["event_readers"] != 2 || p.counterValue("events_lost") != 0 {
		t.Errorf("counted: %d missed by %d readers, %d lost before them", stats["events_missed"], stats["event_readers"], p.counterValue("events_lost"))
	}
}

// TestFullRingIsCounted lets no pump take the events of a worker.
func TestFullRingIsCounted(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlows = 16384 })
	p.shared.hub.wanted.Store(true) // as if there were a reader
	const flows = eventRing + 50
	for i := range flows {
		s := udp(uint16(1024+i%60000), 53)
		p.send(lan, build(t, lan, s))
	}
	if n := p.counterValue("events_lost"); n != flows-eventRing {
		t.Errorf("%d events counted as lost, want %d", n, flows-eventRing)
	}
}

// drainEvents reads until there were so many events, and returns them with those
// that the reader was told it lost.
func drainEvents(ctx context.Context, t *testing.T, s *Subscription, want int) (got int, lost uint64) {
	t.Helper()
	buf := make([]flowtable.Event, 64)
	for got < want {
		n, l, err := s.Read(ctx, buf)
		if err != nil {
			t.Fatalf("after %d events: %v", got, err)
		}
		got, lost = got+n, lost+l
	}
	return got, lost
}

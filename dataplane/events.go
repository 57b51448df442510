package dataplane

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// eventRing is how many events a worker may have waiting for the pump.
const eventRing = 8192

// eventOutlet is where a worker puts what happened to its flows. While nobody
// listens an event costs one load.
type eventOutlet struct {
	wanted *atomic.Bool // shared by all workers: there is a subscriber
	ring   *spsc[flowtable.Event]
	// by is for whom the worker deletes at this moment; nil outside of commands.
	by *flowtable.Process
	// immediate: it is a packet that puts an end to expectations at this moment.
	immediate bool
}

// emitFlow tells subscribers that a flow began or changed, and what of it.
func (w *Worker) emitFlow(kind flowtable.EventKind, changed flowtable.Changes, idx uint32) {
	if !w.edge.events.wanted.Load() {
		return
	}
	var e flowtable.Event
	w.flows.table.FlowEvent(&e, kind, changed, idx, w.clock.now, w.clock.wall)
	w.publish(&e)
}

// emitEnd tells subscribers that a flow ends, before it is removed.
func (w *Worker) emitEnd(idx uint32, why flowtable.EndReason) {
	if !w.edge.events.wanted.Load() {
		return
	}
	var e flowtable.Event
	w.flows.table.EndEvent(&e, why, idx, w.clock.now, w.clock.wall)
	if by := w.edge.events.by; by != nil && e.Deleted {
		e.By = *by
	}
	w.publish(&e)
}

// emitExpectation counts and tells subscribers what happened to an expectation.
func (w *Worker) emitExpectation(kind flowtable.EventKind, x *flowtable.Expectation) {
	if kind == flowtable.EventDestroy {
		w.count.expectGone.Add(1)
	} else {
		w.count.expectNew.Add(1)
	}
	if !w.edge.events.wanted.Load() {
		return
	}
	e := flowtable.Event{Kind: kind, Time: w.clock.wall, Expect: true, Expectation: *x}
	e.Immediate = w.edge.events.immediate && kind == flowtable.EventDestroy
	if by := w.edge.events.by; by != nil && kind == flowtable.EventDestroy {
		e.Deleted, e.By = true, *by
	}
	if left := int32(x.Deadline - w.clock.now); left > 0 {
		e.Left = flowtable.Tick(left).Seconds()
	}
	w.publish(&e)
}

func (w *Worker) publish(e *flowtable.Event) {
	if !w.edge.events.ring.push(e) {
		w.count.eventLost.Add(1)
	}
}

// eventHub brings the events of all workers to the subscribers. One goroutine,
// the pump, drains the workers' rings; it runs only while there is a
// subscriber. Workers never wait for it, and it never waits for a subscriber.
type eventHub struct {
	wanted atomic.Bool
	rings  []*spsc[flowtable.Event]
	lost   func() uint64 // events that the workers' rings had no room for
	missed atomic.Uint64 // events that subscribers did not get, summed over them

	// draining is held by the one pump that reads the rings: the last one may
	// still be at it when the next one starts. Lock order: mu before draining.
	draining sync.Mutex

	mu   sync.Mutex
	subs []*Subscription
	quit chan struct{} // closed to stop the pump; nil while it does not run
}

// pumpPeriod is how long an event may wait in a worker's ring.
const pumpPeriod = 2 * time.Millisecond

// Subscription is one reader of events. A reader that is too slow loses
// events, and is told how many.
type Subscription struct {
	hub *eventHub

	mu     sync.Mutex
	queue  []flowtable.Event // bounded by cap
	lost   uint64
	ready  chan struct{} // has a token when the queue is not empty
	closed bool
}

// subscribe adds a reader with room for size events.
func (h *eventHub) subscribe(size int) *Subscription {
	s := &Subscription{hub: h, queue: make([]flowtable.Event, 0, size), ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs = append(h.subs, s)
	if h.quit == nil {
		h.quit = make(chan struct{})
		h.discard() // what the last reader left is not this one's
		h.wanted.Store(true)
		go h.pump(h.quit)
	}
	return s
}

// Close ends the subscription; a Read that waits returns.
func (s *Subscription) Close() {
	h := s.hub
	h.mu.Lock()
	h.subs = slices.DeleteFunc(h.subs, func(o *Subscription) bool { return o == s })
	if len(h.subs) == 0 && h.quit != nil {
		h.wanted.Store(false)
		close(h.quit)
		h.quit = nil
	}
	h.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.notify()
}

// Read waits for events and copies up to len(buf) of them. lost is how many
// the reader missed since its last Read. It returns ErrStopped after Close.
func (s *Subscription) Read(ctx context.Context, buf []flowtable.Event) (n int, lost uint64, err error) {
	for {
		s.mu.Lock()
		n = copy(buf, s.queue)
		s.queue = s.queue[:copy(s.queue, s.queue[n:])]
		lost, s.lost = s.lost, 0
		closed := s.closed
		s.mu.Unlock()
		if n > 0 || lost > 0 {
			return n, lost, nil
		}
		if closed {
			return 0, 0, ErrStopped
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

func (s *Subscription) notify() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// add queues events for the reader, as far as there is room.
func (s *Subscription) add(events []flowtable.Event, lost uint64) {
	s.mu.Lock()
	room := min(cap(s.queue)-len(s.queue), len(events))
	s.queue = append(s.queue, events[:room]...)
	missed := lost + uint64(len(events)-room)
	s.lost += missed
	s.hub.missed.Add(missed)
	s.mu.Unlock()
	s.notify()
}

// pump drains the rings until quit is closed.
func (h *eventHub) pump(quit chan struct{}) {
	tick := time.NewTicker(pumpPeriod)
	defer tick.Stop()
	buf := make([]flowtable.Event, 0, eventRing)
	seen := h.lost()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
		}
		buf = h.drain(buf[:0])
		lost := h.lost()
		if len(buf) > 0 || lost > seen {
			h.deliver(buf, lost-seen)
		}
		seen = lost
	}
}

// discard empties the rings.
func (h *eventHub) discard() {
	buf := make([]flowtable.Event, 0, eventRing)
	for len(h.drain(buf[:0])) > 0 {
	}
}

// drain takes what the rings hold, in order of time.
func (h *eventHub) drain(buf []flowtable.Event) []flowtable.Event {
	h.draining.Lock()
	defer h.draining.Unlock()
	var e flowtable.Event
	for _, r := range h.rings {
		for len(buf) < cap(buf) && r.pop(&e) {
			buf = append(buf, e)
		}
	}
	if len(h.rings) > 1 {
		slices.SortStableFunc(buf, func(a, b flowtable.Event) int { return int(a.Time - b.Time) })
	}
	return buf
}

// readers returns how many there are, and how many events they missed, with those
// that have gone.
func (h *eventHub) readers() (now int, missed uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs), h.missed.Load()
}

func (h *eventHub) deliver(events []flowtable.Event, lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.subs {
		s.add(events, lost)
	}
}

// close ends all subscriptions after a last look at the rings.
func (h *eventHub) close() {
	h.mu.Lock()
	subs := slices.Clone(h.subs)
	h.mu.Unlock()
	for _, s := range subs {
		s.Close()
	}
}

package dataplane

import (
	"sync/atomic"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// Worker is one OS thread on one CPU. It owns its sockets, flows, timers,
// counters and its share of the NAT ports: nothing in its path is shared with
// another worker except the rings at its edges.
type Worker struct {
	id      int
	cpu     int
	cfg     *pathConfig
	ports   []workerPort
	frames  *framePool
	aside   *fragments
	burst   burst
	clock   clock
	flows   flowState
	hosts   *hosts          // nil = sources have no limits
	helper  helpers.Context // filled in for each packet that a helper sees
	routes  routeState
	edge    edge
	count   *counters
	idle    sleeper
	backlog bool           // flows have expired that are not removed yet
	swept   flowtable.Tick // of the last everyTick

	sweptExpect flowtable.Tick // when worker 0 last looked for old expectations
	stopped     atomic.Bool
}

// flowState is what a worker needs to track and translate.
type flowState struct {
	table   *flowtable.Table
	tracker *flowtable.Tracker // shared, read only
	nat     *nat.Translator
	expect  *flowtable.Expectations // shared by all workers
	dying   []uint32                // flows to be removed when the burst has left
	over    [2]flowtable.Expired    // flows whose time is over; for expire
}

// routeState is a worker's view of the ways out.
type routeState struct {
	mirror *fib.Mirror
	now    *fib.Snapshot // loaded once a burst
	held   heldQueue
	errors errorLimiter
}

// edge is where a worker meets other threads.
type edge struct {
	peers  []peer                      // by worker; own entry empty
	wake   uint64                      // bit set of peers that were handed packets in this burst
	mail   mailbox                     // commands from the control plane
	events eventOutlet                 // what happened, for subscribers
	waker  *waker                      // ends this worker's sleep
	punt   *atomic.Pointer[puntDevice] // shared: the way to the kernel; nil inside = none needed yet
}

// runBurst takes one burst of packets from a receive queue (nil: from the
// other workers) to the TX rings. The order of the stages is the design, and
// no stage runs anywhere else; docs/architecture.md draws it. It returns the
// number of packets taken.
//
//	rx → parse → steer → lookup → track → help → translate → forward → tx,
//	then expire and mailbox
//
// Hot: 0 allocations, one clock read and one routing snapshot a burst.
func (w *Worker) runBurst(q *rxQueue) int {
	b := &w.burst
	w.clock.tick()
	w.routes.now = w.routes.mirror.Snapshot()
	if w.receive(b, q) > 0 { // rx.go         frames from a ring
		w.parse(b)     // parse.go      headers and tuple       | drop: malformed
		w.steer(b, q)  // steer.go      owner of the flow       | handed over
		w.lookup(b)    // lookup.go     tuple → flow, direction
		w.track(b)     // track.go      state, or a new flow    | drop: invalid
		w.help(b)      // help.go       flows with a helper
		w.translate(b) // translate.go  addresses and ports
		w.forward(b)   // forward.go    TTL, MTU, next hop      | held
		w.transmit(b)  // tx.go         TX rings; frames freed
	}
	w.expire(b.n) // expire.go     a bounded share of the timers
	w.readMail()  // mailbox.go    commands
	return b.n
}

// run serves the worker's queues until it is stopped. It sleeps in poll when
// all of them are empty.
func (w *Worker) run() {
	for !w.stopped.Load() {
		if n := w.round(); (n == 0 || !w.arrived()) && !w.backlog {
			w.sleep()
		}
	}
	w.flushTX()
}

// round takes one burst from each source, and returns the number of packets.
func (w *Worker) round() int {
	n := 0
	for p := range w.ports {
		for q := range w.ports[p].queues {
			n += w.runBurst(&w.ports[p].queues[q])
		}
	}
	if len(w.edge.peers) > 1 {
		n += w.runBurst(nil)
	}
	return n
}

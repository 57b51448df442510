package dataplane

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// makeWorkers makes the workers and connects them to each other.
func (g *Gateway) makeWorkers() error {
	n := g.path.workers
	g.path.sources = newSourceChecks(&g.opts)
	for id := range n {
		w, err := g.newWorker(id)
		if err != nil {
			return fmt.Errorf("worker %d: %w", id, err)
		}
		g.workers = append(g.workers, w)
		g.shared.hub.rings = append(g.shared.hub.rings, w.edge.events.ring)
	}
	for from := range n {
		for to := range n {
			g.workers[from].edge.peers = append(g.workers[from].edge.peers, peer{waker: g.workers[to].edge.waker})
		}
	}
	for from := range n {
		for to := range n {
			if from == to {
				continue
			}
			ring := newSPSC[handed](2 * g.opts.RingSize)
			g.workers[from].edge.peers[to].out = ring
			g.workers[to].edge.peers[from].in = ring
		}
	}
	for _, w := range g.workers {
		g.path.tables = append(g.path.tables, w.flows.table)
	}
	return nil
}

func (g *Gateway) newWorker(id int) (*Worker, error) {
	table, err := flowtable.New(flowtable.Options{
		MaxFlows: (g.opts.MaxFlows + g.path.workers - 1) / g.path.workers, HugePages: g.opts.HugePages != HugePagesOff,
		Accounting: g.opts.Accounting, Timestamps: g.opts.Timestamps,
	})
	if err != nil {
		return nil, err
	}
	wake, err := newWaker()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make an eventfd: %w", err), table.Close())
	}
	w := &Worker{
		id: id, cpu: g.opts.CPUs[id], cfg: g.path, frames: g.pools[id], aside: newFragments(asideLimit(g.path.workers)),
		clock: clock{start: g.shared.start}, count: &counters{},
	}
	w.flows = flowState{
		table: table, tracker: g.opts.Tracker, expect: g.shared.expect,
		// One mapping more than flows: in a full table the new flow's is chosen
		// before the evicted flow gives its own back.
		nat:   nat.NewTranslator(&g.opts.NAT, id, rand.Uint64(), table.Cap()+1, g.shared.use),
		dying: make([]uint32, 0, BurstSize),
	}
	w.hosts = newHosts(&g.opts, table.Cap(), g.path.workers)
	w.helper = helpers.Context{
		Table: table, Expectations: g.shared.expect, Translator: w.flows.nat,
		Counters: &helpers.Counters{}, Worker: uint8(id), Own: w.isLocal, Inside: w.isInside, Tell: w.helperTells,
	}
	w.routes.mirror, w.routes.now = g.mirror, g.mirror.Snapshot()
	w.edge.events = eventOutlet{wanted: &g.shared.hub.wanted, ring: newSPSC[flowtable.Event](eventRing)}
	w.edge.waker, w.edge.punt = wake, &g.shared.punt
	w.ports = make([]workerPort, len(g.ports))
	return w, nil
}

// dealSockets deals the sockets out to the workers and gives them frames to receive into.
// A NIC in zero-copy mode has no other place for packets: without frames the box would hear
// nothing, also of what is for itself, until the workers run, and it may take long to take
// flows back before.
func (g *Gateway) dealSockets() {
	for _, w := range g.workers {
		for i, p := range g.ports {
			w.connect(uint8(i), p.sockets, g.posted)
			for q := range w.ports[i].queues {
				w.refill(&w.ports[i].queues[q])
			}
		}
	}
}

// connect gives the worker its share of a port's sockets, in place of those that it
// has. posted is how many frames each has to receive into.
func (w *Worker) connect(port uint8, sockets []*xsk.Socket, posted func(*xsk.Socket) int) {
	o := &w.ports[port]
	o.queues = o.queues[:0]
	for q := w.id; q < len(sockets); q += w.cfg.workers {
		o.queues = append(o.queues, rxQueue{sock: sockets[q], port: port, missing: posted(sockets[q])})
	}
	o.tx = o.queues[0].sock
}

// posted is how many frames a queue has to receive into. A zero-copy driver keeps
// as many as its own ring has slots, so that there have to be more. In copy mode
// each that waits in the fill ring is one more that falls out of the cache before
// it is used again: twice as many make a packet 3 % dearer.
func (g *Gateway) posted(s *xsk.Socket) int {
	switch {
	case s.IsUnplugged(): // has no room, and would be offered frames again and again
		return 0
	case s.ZeroCopy():
		return 2 * g.opts.RingSize
	}
	return g.opts.RingSize
}

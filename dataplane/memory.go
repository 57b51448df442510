package dataplane

import (
	"fmt"
	"time"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

// Memory is a gateway whose ports are plain memory: the same workers, stages,
// rings and tables, without interfaces, privileges or threads. Its caller
// plays the network at the wires and runs the workers burst by burst. It is
// for benchmarks and tests.
type Memory struct {
	*Gateway
	// Wires are the far ends of the sockets, by port and queue.
	Wires [][]*xsk.Wire
}

// NewMemory makes a gateway in memory with one queue a worker on each port, in
// the network that mirror describes. Options.Queues is the number of workers
// (0 = 1).
func NewMemory(o Options, mirror *fib.Mirror) (*Memory, error) {
	workers := max(o.Queues, 1)
	o.CPUs = make([]int, workers)
	if err := o.complete(); err != nil {
		return nil, err
	}
	g := &Gateway{opts: o, mirror: mirror,
		path: &pathConfig{helpers: o.Helpers, passInvalid: o.PassInvalid, skipChecksums: o.SkipChecksums, masquerade: o.NAT.Masquerade}}
	for i, p := range o.Ports {
		g.path.realm[i] = p.Realm
		g.ports = append(g.ports, &port{name: p.Name, realm: p.Realm, queues: workers})
		if i < len(o.RSS) {
			g.ports[i].device.RSS = o.RSS[i]
		}
	}
	if err := g.setWorkers(workers); err != nil {
		return nil, err
	}
	m := &Memory{Gateway: g}
	g.makeShared()
	if err := g.build(g.makeFrames, g.makeWorkers, m.makeWires); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Memory) makeWires() error {
	for _, p := range m.ports {
		var wires []*xsk.Wire
		for q := range p.queues {
			o := m.socketOptions(p, q)
			s, w, err := xsk.NewWire(o)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			p.sockets, wires = append(p.sockets, s), append(wires, w)
		}
		m.Wires = append(m.Wires, wires)
	}
	m.dealSockets()
	return nil
}

// Burst lets a worker take one burst from each of its queues, and what other
// workers handed over to it. It returns the number of packets.
func (m *Memory) Burst(worker int) int { return m.workers[worker].round() }

// Advance moves the gateway's clock forward.
func (m *Memory) Advance(d time.Duration) {
	m.shared.start = m.shared.start.Add(-d)
	for _, w := range m.workers {
		w.clock.start = w.clock.start.Add(-d)
	}
}

package dataplane

import (
	"fmt"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/nat"
)

// PortInfo is what an operator wants to know of a port: what was asked of the
// kernel, and what was really obtained.
type PortInfo struct {
	Name      string
	Realm     nat.Realm
	Driver    string
	Attach    xsk.AttachMode
	ZeroCopy  bool
	Copied    error // why packets are copied; nil: they are not, or that was asked for
	Distrust  error // why zero-copy may go wrong, see xsk.Device; nil: nothing is known
	Queues    int
	Steering  string         // "rss", "ports", the protocols by RSS, or "-" with one worker
	Notes     []SteeringNote // why not all by RSS
	MTU       int            // bytes
	LinkUp    bool
	RXPackets uint64
	TXPackets uint64
	Lost      uint64 // packets lost between the NIC and the workers
	Decisions []Counter
}

// Ports describes the ports at this moment.
func (g *Gateway) Ports() ([]PortInfo, error) {
	routes := g.mirror.Snapshot()
	infos := make([]PortInfo, len(g.ports))
	for i, p := range g.ports {
		p.mu.Lock()
		infos[i] = PortInfo{
			Steering: g.steeringName(), Name: p.name, Realm: p.realm, Driver: p.device.Driver, Attach: p.program.Mode(),
			ZeroCopy: p.sockets[0].ZeroCopy(), Copied: p.sockets[0].CopyReason(), Distrust: p.device.Distrust, Queues: p.queues, MTU: p.device.MTU,
			LinkUp:    routes.LinkUp(uint16(i)),
			RXPackets: g.sum(func(c *counters) uint64 { return c.portRX[i].Load() }),
			TXPackets: g.sum(func(c *counters) uint64 { return c.portTX[i].Load() }),
		}
		err := p.count(&infos[i])
		p.mu.Unlock()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if state := routes.Port(uint16(i)); state != nil {
			infos[i].MTU = int(state.MTU)
		}
		for _, n := range g.notes {
			if n.Port == p.name {
				infos[i].Notes = append(infos[i].Notes, n)
			}
		}
	}
	return infos, nil
}

// steeringName says how packets find their worker.
func (g *Gateway) steeringName() string {
	if g.path.workers == 1 {
		return "-"
	}
	return g.path.steering.String()
}

// count adds the kernel's counters of the port; those of sockets since the interface
// was last made.
func (p *port) count(info *PortInfo) error {
	for _, s := range p.sockets {
		if s.IsUnplugged() {
			continue
		}
		st, err := s.Stats()
		if err != nil {
			return err
		}
		info.Lost += st.RXDropped + st.RXRingFull
	}
	var decisions [xsk.Decisions]uint64
	if err := p.program.Counters(&decisions); err != nil {
		return err
	}
	for d, n := range decisions {
		info.Decisions = append(info.Decisions, Counter{xsk.Decision(d).String(), xsk.Decision(d).Help(), n})
	}
	return nil
}

package dataplane

import (
	"errors"
	"fmt"
	"sync"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/nat"
)

// port is one interface that the gateway serves.
type port struct {
	name    string
	realm   nat.Realm
	queues  int
	program *xsk.Program

	// mu guards what changes when the interface is deleted and made again. Workers
	// have their own pointers to the sockets.
	mu      sync.Mutex
	ifindex int // 0 = the interface is gone
	device  xsk.Device
	sockets []*xsk.Socket // by queue
}

// maxWorkers bounds the workers: steering keeps a bit for each.
const maxWorkers = 64

func (p *port) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, s := range p.sockets {
		errs = append(errs, s.Close())
	}
	if p.program != nil {
		errs = append(errs, p.program.Close())
	}
	return errors.Join(errs...)
}

// findPorts looks at the interfaces and decides how many workers there are:
// one for each queue that all ports have, as far as there are CPUs.
func (g *Gateway) findPorts() error {
	workers := min(len(g.opts.CPUs), maxWorkers)
	for i, o := range g.opts.Ports {
		d, err := xsk.ReadDevice(o.Name)
		if err != nil {
			return err
		}
		if !d.Up {
			return fmt.Errorf("interface %s is down: bring it up with `ip link set %s up`", o.Name, o.Name)
		}
		queues, err := g.servedQueues(&d)
		if err != nil {
			return err
		}
		workers = min(workers, queues)
		g.ports = append(g.ports, &port{name: o.Name, realm: o.Realm, ifindex: d.Ifindex, device: d, queues: queues})
		g.path.realm[i] = o.Realm
	}
	return g.setWorkers(workers)
}

// setWorkers notes how many workers there are, and how packets come to them.
func (g *Gateway) setWorkers(workers int) error {
	var ports []SteeringPort
	for _, p := range g.ports {
		ports = append(ports, SteeringPort{Name: p.name, Realm: p.realm, Queues: p.queues, RSS: p.device.RSS})
	}
	steering, notes, err := PlanSteering(g.opts.Steering, ports, workers)
	if err != nil {
		return err
	}
	g.path.workers, g.path.steering, g.notes = workers, steering, notes
	g.opts.NAT.Workers, g.opts.NAT.Steering = workers, steering
	return g.opts.NAT.Validate()
}

// servedQueues checks the number of queues asked for. All receive queues must
// be served, for packets on any other would be lost.
func (g *Gateway) servedQueues(d *xsk.Device) (int, error) {
	if d.TXQueues < d.RXQueues {
		return 0, fmt.Errorf("interface %s has %d receive queues but %d transmit queues: make them equal with `ethtool -L %s`",
			d.Name, d.RXQueues, d.TXQueues, d.Name)
	}
	if n := g.opts.Queues; n != 0 && n != d.RXQueues {
		return 0, fmt.Errorf("interface %s has %d receive queues, --queues %d would not serve all of them: change it with `ethtool -L %s combined %d` or leave --queues out",
			d.Name, d.RXQueues, n, d.Name, n)
	}
	return d.RXQueues, nil
}

func (g *Gateway) makeMirror() error {
	var ports []fib.PortConfig
	for i, p := range g.ports {
		ports = append(ports, fib.PortConfig{Name: p.name, Number: uint16(i)})
	}
	m, err := fib.New(fib.Options{Ports: ports, Logger: g.opts.Log})
	g.mirror = m
	return err
}

// openSockets loads a program for each port and opens a socket on each queue.
func (g *Gateway) openSockets() error {
	var options []xsk.SocketOptions
	for _, p := range g.ports {
		if !p.device.FitsFrame(g.umem) {
			return fmt.Errorf("interface %s has MTU %d, frames of %d bytes hold packets of %d: lower the MTU or use --frame-size 4096",
				p.name, p.device.MTU, g.opts.FrameSize, g.umem.MaxPacket())
		}
		program, err := xsk.NewProgram(g.maps, xsk.ProgramOptions{MAC: p.device.MAC, Queues: p.queues})
		if err != nil {
			return err
		}
		p.program = program
		for q := range p.queues {
			options = append(options, g.socketOptions(p, q))
		}
	}
	sockets, err := xsk.OpenAll(options)
	if err != nil {
		return g.nameQueue(err)
	}
	for _, p := range g.ports {
		p.sockets, sockets = sockets[:p.queues:p.queues], sockets[p.queues:]
		if err := p.register(p.sockets); err != nil {
			return err
		}
	}
	g.dealSockets()
	return nil
}

// register tells the port's program which sockets there are.
func (p *port) register(sockets []*xsk.Socket) error {
	for _, s := range sockets {
		if err := p.program.Register(s); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// socketOptions describes the socket of a queue. The fill ring is twice the RX
// ring, so that the NIC does not run dry while bursts wait to be read.
func (g *Gateway) socketOptions(p *port, queue int) xsk.SocketOptions {
	return xsk.SocketOptions{
		Name: p.name, Ifindex: p.ifindex, Queue: queue, UMEM: g.umem, ZeroCopy: g.opts.ZeroCopy, BusyPoll: g.opts.BusyPoll, SeparateTX: p.device.SeparateTX(), Distrust: p.device.Distrust,
		RXSize: g.opts.RingSize, TXSize: g.opts.RingSize,
		FillSize: 2 * g.opts.RingSize, CompletionSize: 2 * g.opts.RingSize,
	}
}

// nameQueue adds to a socket error what the operator can do.
func (g *Gateway) nameQueue(err error) error {
	if errors.Is(err, xsk.ErrQueueBusy) {
		return fmt.Errorf("%w: another program (a second xdpct?) serves these interfaces, stop it first", err)
	}
	return err
}

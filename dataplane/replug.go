package dataplane

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

const (
	// replugPause is the time between two tries to serve an interface again.
	replugPause = time.Second
	// drainTries and drainPause bound the wait for packets of a deleted interface
	// that the kernel has still to give back.
	drainTries = 100
	drainPause = 10 * time.Millisecond
)

// replugger takes the sockets of a deleted interface from the workers, and gives them
// new ones when there is an interface of that name again: a driver that is loaded
// again, a virtual function that comes back, a virtual machine's restart. All other
// ports go on meanwhile.
type replugger struct {
	gw      *Gateway
	changed chan struct{} // there is a new snapshot
	stop    context.CancelFunc
	done    chan struct{}
	refused map[string]string // by port: why the last try failed; told once
}

// newReplugger follows the interfaces from now on. It must be called on a thread in
// their network namespace.
func newReplugger(g *Gateway) *replugger {
	ctx, stop := context.WithCancel(context.Background())
	r := &replugger{gw: g, changed: make(chan struct{}, 1), stop: stop, done: make(chan struct{}), refused: map[string]string{}}
	g.mirror.OnChange(func(*fib.Snapshot) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	})
	go r.run(ctx)
	return r
}

// close ends it; no port changes any more.
func (r *replugger) close() {
	r.stop()
	<-r.done
}

func (r *replugger) run(ctx context.Context) {
	defer close(r.done)
	retry := time.NewTicker(replugPause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.changed:
		case <-retry.C:
		}
		routes := r.gw.mirror.Snapshot()
		for i, p := range r.gw.ports {
			state := routes.Port(uint16(i))
			if state == nil || state.Ifindex == p.ifindex {
				continue
			}
			if p.ifindex != 0 {
				r.unplug(i, p)
			}
			if state.Ifindex != 0 && state.Up {
				r.plug(i, p, state)
			}
		}
	}
}

// unplug takes the sockets of a port whose interface is gone from the workers, and
// gives these the frames that were in them.
func (r *replugger) unplug(i int, p *port) {
	g := r.gw
	g.opts.Log.Error("interface is gone: nothing goes there until there is one of that name again", "name", p.name)
	empty := make([]*xsk.Socket, p.queues)
	for q := range empty {
		empty[q] = xsk.Unplugged()
	}
	r.connect(i, empty)
	p.mu.Lock()
	old := p.sockets
	p.sockets, p.ifindex = empty, 0
	detached := p.program.Detach()
	p.mu.Unlock()
	if detached != nil {
		g.opts.Log.Debug("XDP program of a deleted interface", "name", p.name, "error", detached)
	}
	for q, s := range old {
		r.reclaim(s, g.workers[q%g.path.workers])
	}
}

// connect gives the workers the sockets of a port.
func (r *replugger) connect(i int, sockets []*xsk.Socket) {
	for _, w := range r.gw.workers {
		// Workers run until the replugger has ended: this returns.
		_ = w.do(context.Background(), func(w *Worker) {
			w.connect(uint8(i), sockets, r.gw.posted)
			w.idle = newSleeper(w)
		})
	}
}

// reclaim closes a socket and gives a worker the frames that were in its rings. What
// a zero-copy driver had is lost, and noted in the ledger.
func (r *replugger) reclaim(s *xsk.Socket, w *Worker) {
	for try := 0; s.Outstanding().KernelTX > 0 && try < drainTries; try++ {
		time.Sleep(drainPause)
	}
	var frames []uint64
	s.Reclaim(func(addr uint64) { frames = append(frames, addr) })
	r.gw.framesLost.Add(int64(s.Outstanding().Total()))
	if err := s.Close(); err != nil {
		r.gw.opts.Log.Warn("socket of a deleted interface", "error", err)
	}
	_ = w.do(context.Background(), func(w *Worker) {
		w.frames.check.completed(frames)
		for _, addr := range frames {
			w.frames.put(addr)
		}
	})
}

// plug opens sockets on the new interface of a port. What stands in the way is told
// once, and tried again.
func (r *replugger) plug(i int, p *port, state *fib.PortState) {
	err := r.reopen(i, p, state.Ifindex)
	if err == nil {
		delete(r.refused, p.name)
		r.gw.opts.Log.Info("interface is served again", "name", p.name, "xdp", p.program.Mode().String(), "mtu", state.MTU)
		return
	}
	if r.refused[p.name] != err.Error() {
		r.refused[p.name] = err.Error()
		r.gw.opts.Log.Error("interface is back, but cannot be served", "name", p.name, "error", err)
	}
}

func (r *replugger) reopen(i int, p *port, ifindex int) error {
	g := r.gw
	d, err := xsk.ReadDevice(p.name)
	switch {
	case err != nil:
		return err
	case d.Ifindex != ifindex:
		return fmt.Errorf("it is another one already (index %d, not %d)", d.Ifindex, ifindex)
	case d.RXQueues != p.queues || d.TXQueues < p.queues:
		return fmt.Errorf("it has %d receive and %d transmit queues, and had %d: set them with `ethtool -L`, or restart the gateway",
			d.RXQueues, d.TXQueues, p.queues)
	case !d.FitsFrame(g.umem):
		return fmt.Errorf("its MTU is %d, frames hold packets of %d", d.MTU, g.umem.MaxPacket())
	}
	var options []xsk.SocketOptions
	for q := range p.queues {
		o := g.socketOptions(p, q)
		o.Ifindex = ifindex
		options = append(options, o)
	}
	sockets, err := xsk.OpenAll(options)
	if err != nil {
		return err
	}
	p.mu.Lock()
	err = p.register(sockets)
	if err == nil {
		err = p.program.Attach(ifindex, g.opts.XDP)
	}
	if err == nil {
		p.sockets, p.ifindex, p.device = sockets, ifindex, d
	}
	p.mu.Unlock()
	if err != nil {
		_ = xsk.CloseAll(sockets) // they were never used
		return err
	}
	r.connect(i, sockets)
	return nil
}

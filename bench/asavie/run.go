package asavie

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/bench/l2fwd"
)

const (
	// How long an idle thread sleeps at most, in milliseconds: until it looks
	// whether it shall end, and until packets that the kernel refused are offered
	// again.
	sleepLimit = 100
	retryLimit = 1
	// sendLimit is how many packets the kernel sends in one call in copy mode;
	// xdp.Socket.Transmit makes one call.
	sendLimit = 32
)

// port is a port with what serves it.
type port struct {
	program  *xdp.Program
	sock     *xdp.Socket
	ifindex  int
	attached bool
	header   [12]byte // of packets that leave here
}

// forwarder is one run.
type forwarder struct {
	ports [2]port
	poll  [2]unix.PollFd
	stats l2fwd.Stats
}

// Run is l2fwd.Run with the same duties of the caller. Of the options, those on
// huge pages, attach mode and zero-copy are the package's own choice: it leaves
// both modes to the kernel, and its frames are in small pages.
func Run(ctx context.Context, o l2fwd.Options) (stats l2fwd.Stats, err error) {
	if err := o.Complete(); err != nil {
		return l2fwd.Stats{}, err
	}
	tid, err := l2fwd.LockThread(o.CPU)
	if err != nil {
		return l2fwd.Stats{}, err
	}
	f := &forwarder{}
	defer func() {
		// Transmit panics on an errno that it does not know, as when a link is down.
		if p := recover(); p != nil {
			err = fmt.Errorf("asavie/xdp: %v", p)
		}
		stats, err = f.stats, errors.Join(err, f.close())
	}()
	if err := f.open(&o); err != nil {
		return l2fwd.Stats{}, err
	}
	if o.Ready != nil {
		o.Ready(tid)
	}
	start := l2fwd.ThreadTime()
	defer func() { f.stats.CPU = l2fwd.ThreadTime() - start }()
	f.serve(ctx)
	return f.stats, nil
}

// open makes socket and program of both ports.
func (f *forwarder) open(o *l2fwd.Options) error {
	for i := range f.ports {
		if err := f.ports[i].open(o, i); err != nil {
			return fmt.Errorf("asavie/xdp: %s: %w", o.Ports[i].Name, err)
		}
		f.poll[i] = unix.PollFd{Fd: int32(f.ports[i].sock.FD()), Events: unix.POLLIN}
	}
	return nil
}

func (p *port) open(o *l2fwd.Options, i int) error {
	link, err := net.InterfaceByName(o.Ports[i].Name)
	if err != nil {
		return err
	}
	p.ifindex = link.Index
	p.header = l2fwd.Rewrite(o.Ports[i].PeerMAC, link.HardwareAddr)
	fill := 2 * o.RingSize
	p.sock, err = xdp.NewSocket(link.Index, 0, &xdp.SocketOptions{
		NumFrames: fill + o.RingSize + l2fwd.BurstSize, FrameSize: o.FrameSize,
		FillRingNumDescs: fill, CompletionRingNumDescs: fill,
		RxRingNumDescs: o.RingSize, TxRingNumDescs: o.RingSize,
	})
	if err != nil {
		return err
	}
	p.refill()
	if p.program, err = xdp.NewProgram(1); err != nil {
		return err
	}
	if err := p.program.Register(0, p.sock.FD()); err != nil {
		return err
	}
	if err := p.program.Attach(link.Index); err != nil {
		return err
	}
	p.attached = true
	return nil
}

// serve forwards both ways until ctx ends.
func (f *forwarder) serve(ctx context.Context) {
	for ctx.Err() == nil {
		if f.burst(0, 1)+f.burst(1, 0) == 0 {
			f.sleep()
		}
	}
}

// sleep waits for a packet.
func (f *forwarder) sleep() {
	limit := sleepLimit
	for i := range f.ports {
		if s := f.ports[i].sock; s.NumTransmitted() > 0 {
			s.Transmit(nil) // what the kernel refused before
			s.Complete(s.NumCompleted())
			limit = retryLimit
		}
	}
	// EINTR and every other outcome lead to the same: look again.
	_, _ = unix.Poll(f.poll[:], limit)
}

// burst takes one burst from port in to port out and returns the number of
// packets.
//
// Hot: 0 allocations.
func (f *forwarder) burst(in, out int) int {
	i, o := &f.ports[in], &f.ports[out]
	if n := o.sock.NumCompleted(); n > 0 {
		o.sock.Complete(n)
	}
	received := i.sock.Receive(l2fwd.BurstSize)
	sent := 0
	for sent < len(received) {
		n := f.send(i, o, received[sent:min(sent+sendLimit, len(received))])
		if n == 0 {
			break
		}
		sent += n
	}
	if len(received) > 0 {
		i.refill()
	}
	f.stats.RX[in] += uint64(len(received))
	f.stats.TX[out] += uint64(sent)
	f.stats.Dropped[out] += uint64(len(received) - sent)
	return len(received)
}

// send copies packets into frames of the other port and sends them. It returns
// how many found a frame and a place in the TX ring.
func (f *forwarder) send(in, out *port, packets []xdp.Desc) int {
	frames := out.sock.GetDescs(min(len(packets), out.sock.NumFreeTxSlots()))
	for k := range frames {
		to := out.sock.GetFrame(frames[k])
		frames[k].Len = uint32(copy(to, in.sock.GetFrame(packets[k])))
		copy(to, out.header[:])
	}
	return out.sock.Transmit(frames)
}

// refill gives the port as many frames to receive into as it has room for, of
// those that no ring holds; the ones just received, which have been copied, are
// among them.
func (p *port) refill() { p.sock.Fill(p.sock.GetDescs(p.sock.NumFreeFillSlots())) }

// close frees what open took, as far as it got.
func (f *forwarder) close() error {
	var errs []error
	for i := range f.ports {
		p := &f.ports[i]
		if p.attached {
			errs = append(errs, p.program.Detach(p.ifindex))
		}
		if p.program != nil {
			errs = append(errs, p.program.Close())
		}
		if p.sock != nil {
			errs = append(errs, p.sock.Close())
		}
	}
	return errors.Join(errs...)
}

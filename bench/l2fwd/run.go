package l2fwd

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// Times that an idle thread sleeps at most, in milliseconds: until it looks
// whether it shall end, and until packets that the kernel refused are offered
// again.
const (
	sleepLimit = 100
	retryLimit = 1
)

// port is a port with what serves it.
type port struct {
	program *xsk.Program
	sock    *xsk.Socket
	header  [12]byte // of packets that leave here
	missing int      // frames that the fill ring has room for
}

// forwarder is one run.
type forwarder struct {
	opts  Options
	maps  *xsk.Maps
	umem  *xsk.UMEM
	ports [2]port
	free  []uint64 // frames with nobody; the top is the warmest
	descs [BurstSize]xsk.Desc
	addrs [BurstSize]uint64
	poll  [2]unix.PollFd
	stats Stats
}

// Run forwards until ctx ends and returns what it forwarded. It must be called
// on a goroutine of its own, on a thread in the network namespace of the ports:
// it locks and pins that thread and never unlocks it. Errors leave nothing
// behind.
func Run(ctx context.Context, o Options) (Stats, error) {
	if err := o.Complete(); err != nil {
		return Stats{}, err
	}
	tid, err := LockThread(o.CPU)
	if err != nil {
		return Stats{}, err
	}
	f := &forwarder{opts: o}
	if err := f.open(); err != nil {
		return Stats{}, errors.Join(err, f.close())
	}
	if o.Ready != nil {
		o.Ready(tid)
	}
	start := ThreadTime()
	f.serve(ctx)
	f.stats.CPU = ThreadTime() - start
	return f.stats, f.close()
}

// open takes the memory, opens the sockets and attaches the programs.
func (f *forwarder) open() error {
	var devices [2]xsk.Device
	for i := range f.ports {
		d, err := xsk.ReadDevice(f.opts.Ports[i].Name)
		if err != nil {
			return fmt.Errorf("l2fwd: %s: %w", f.opts.Ports[i].Name, err)
		}
		devices[i] = d
		f.ports[i].header = Rewrite(f.opts.Ports[i].PeerMAC, d.MAC)
	}
	if err := f.openSockets(&devices); err != nil {
		return err
	}
	for i := range f.ports {
		p := &f.ports[i]
		f.refill(p)
		f.poll[i] = unix.PollFd{Fd: int32(p.sock.FD()), Events: unix.POLLIN}
		if err := f.attach(p, &devices[i]); err != nil {
			return fmt.Errorf("l2fwd: %s: %w", devices[i].Name, err)
		}
	}
	return nil
}

// openSockets makes the frames, with which both fill and both TX rings can be
// full, and the sockets.
func (f *forwarder) openSockets(devices *[2]xsk.Device) error {
	fill := 2 * f.opts.RingSize
	frames := 2 * (fill + f.opts.RingSize + BurstSize)
	umem, err := xsk.NewUMEM(xsk.UMEMOptions{Frames: frames, FrameSize: f.opts.FrameSize, HugePages: f.opts.HugePages})
	if err != nil {
		return fmt.Errorf("l2fwd: %w", err)
	}
	f.umem, f.free = umem, make([]uint64, 0, frames)
	for i := frames - 1; i >= 0; i-- {
		f.free = append(f.free, umem.Frame(i))
	}
	options := make([]xsk.SocketOptions, 2)
	for i := range devices {
		options[i] = xsk.SocketOptions{
			Name: devices[i].Name, Ifindex: devices[i].Ifindex, UMEM: umem, ZeroCopy: f.opts.ZeroCopy,
			RXSize: f.opts.RingSize, TXSize: f.opts.RingSize, FillSize: fill, CompletionSize: fill,
		}
	}
	sockets, err := xsk.OpenAll(options)
	if err != nil {
		return fmt.Errorf("l2fwd: %w", err)
	}
	for i, s := range sockets {
		f.ports[i].sock, f.ports[i].missing = s, fill
	}
	maps, err := xsk.NewMaps(xsk.MapsOptions{})
	if err != nil {
		return fmt.Errorf("l2fwd: %w", err)
	}
	f.maps = maps
	return nil
}

// attach loads the program of a port. With no address in the maps, all unicast
// IP packets to the port's MAC come here.
func (f *forwarder) attach(p *port, d *xsk.Device) (err error) {
	if p.program, err = xsk.NewProgram(f.maps, xsk.ProgramOptions{MAC: d.MAC, Queues: 1}); err != nil {
		return err
	}
	if err := p.program.Register(p.sock); err != nil {
		return err
	}
	return p.program.Attach(d.Ifindex, f.opts.XDP)
}

// serve forwards both ways until ctx ends.
func (f *forwarder) serve(ctx context.Context) {
	for ctx.Err() == nil {
		if f.burst(0, 1)+f.burst(1, 0) == 0 {
			f.sleep()
		}
	}
}

// burst takes one burst from port in to port out and returns the number of
// packets. It offers the kernel again what it would not send before.
//
// Hot: 0 allocations.
func (f *forwarder) burst(in, out int) int {
	i, o := &f.ports[in], &f.ports[out]
	n := i.sock.Receive(f.descs[:])
	for k := range n {
		d := &f.descs[k]
		copy(f.umem.Bytes(d.Addr, d.Len), o.header[:])
	}
	sent := o.sock.Transmit(f.descs[:n])
	for k := sent; k < n; k++ {
		f.free = append(f.free, f.umem.FrameOf(f.descs[k].Addr))
	}
	// The only errors are of a port that is down; its packets wait in the ring.
	_ = o.sock.Flush()
	f.reap(o)
	i.missing += n
	f.refill(i)
	f.stats.RX[in] += uint64(n)
	f.stats.TX[out] += uint64(sent)
	f.stats.Dropped[out] += uint64(n - sent)
	return n
}

// reap takes back the frames that a port has sent.
func (f *forwarder) reap(p *port) {
	for {
		n := p.sock.Complete(f.addrs[:])
		for _, addr := range f.addrs[:n] {
			f.free = append(f.free, f.umem.FrameOf(addr))
		}
		if n < len(f.addrs) {
			return
		}
	}
}

// refill gives a port as many frames to receive into as it has room for.
func (f *forwarder) refill(p *port) {
	for p.missing > 0 && len(f.free) > 0 {
		from := len(f.free) - min(p.missing, len(f.free), BurstSize)
		put := p.sock.Fill(f.free[from:])
		p.missing -= put
		// Fill takes from the front; what is left moves down.
		f.free = append(f.free[:from], f.free[from+put:]...)
		if put < BurstSize {
			break
		}
	}
	if p.sock.NeedsRXWakeup() {
		p.sock.WakeRX()
	}
}

// sleep waits for a packet.
func (f *forwarder) sleep() {
	limit := sleepLimit
	for i := range f.ports {
		if f.ports[i].sock.Outstanding().TX > 0 {
			limit = retryLimit
		}
	}
	// EINTR and every other outcome lead to the same: look again.
	_, _ = unix.Poll(f.poll[:], limit)
}

// close frees what open took, as far as it got, in reverse order.
func (f *forwarder) close() error {
	var errs []error
	for i := range f.ports {
		if p := f.ports[i].program; p != nil {
			errs = append(errs, p.Close())
		}
	}
	for i := range f.ports {
		if s := f.ports[i].sock; s != nil {
			errs = append(errs, s.Close())
		}
	}
	if f.maps != nil {
		errs = append(errs, f.maps.Close())
	}
	if f.umem != nil {
		errs = append(errs, f.umem.Close())
	}
	return errors.Join(errs...)
}

package xsk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Default ring sizes in slots. The fill ring must cover the RX ring of the
// hardware plus our own, or the NIC runs dry while bursts wait to be read.
const (
	defaultRXSize         = 2048
	defaultTXSize         = 2048
	defaultFillSize       = 4096
	defaultCompletionSize = 4096
)

// busyRetry is how long Open waits for a queue that answers EBUSY, and
// busyPause the step: the kernel releases a queue from a work queue, shortly
// after the last owner's close or death.
const (
	busyRetry = time.Second
	busyPause = 10 * time.Millisecond
)

// defaultBusyPollBudget is the number of packets per busy poll, the default of
// the kernel documentation's example (Documentation/networking/af_xdp.rst).
const defaultBusyPollBudget = 64

// ZeroCopy says how frames and NIC come together.
type ZeroCopy uint8

// Choices of ZeroCopy.
const (
	// ZeroCopyAuto tries zero-copy and falls back to copy mode. See OpenAll
	// for ports that differ.
	ZeroCopyAuto ZeroCopy = iota
	// ZeroCopyOn wants zero-copy or an error that wraps ErrNoZeroCopy.
	ZeroCopyOn
	// ZeroCopyOff wants copy mode. Use it with a program in generic mode: the
	// driver's zero-copy path would not see it.
	ZeroCopyOff
)

// SocketOptions describes one socket. Sizes are in slots and must be powers of
// two; 0 takes the default.
type SocketOptions struct {
	Name    string // of the port, for error messages
	Ifindex int    // of the port, in the network namespace of the calling thread
	Queue   int    // hardware queue, from 0
	UMEM    *UMEM  // shared by all sockets that exchange frames

	RXSize         int // default 2048
	TXSize         int // default 2048
	FillSize       int // default 4096
	CompletionSize int // default 4096

	// ZeroCopy must be the same for all sockets of a UMEM: the first bind
	// chooses the mode for all of them.
	ZeroCopy ZeroCopy
	// BusyPoll is the time that one system call may poll the device, e.g. 20
	// microseconds; 0 = off. The port should have napi_defer_hard_irqs and
	// gro_flush_timeout set (Linux 5.11).
	BusyPoll time.Duration
	// BusyPollBudget is the number of packets per poll; 0 = 64.
	BusyPollBudget int
	// SeparateTX says that polling the device does not make it send, see
	// Device.SeparateTX.
	SeparateTX bool
	// Distrust keeps OpenAll from zero-copy with ZeroCopyAuto; nil: nothing does. See
	// Device.Distrust.
	Distrust error
}

// Socket is an AF_XDP socket bound to one queue of one port.
type Socket struct {
	fd       int
	umem     *UMEM
	busyPoll bool
	zeroCopy bool
	copied   error // why ZeroCopyAuto came to copy mode

	rx         ring[Desc]
	tx         ring[Desc]
	fill       ring[uint64]
	completion ring[uint64]

	ifindex  int
	queue    int
	mappings [][]byte // of the rings
}

// Open makes a socket and binds it to a queue. The first socket of a UMEM
// chooses between zero-copy and copy mode; later ones join it (XDP_SHARED_UMEM)
// and fail with ErrNoZeroCopy if the UMEM is in zero-copy mode and their port
// cannot do that, whatever their own ZeroCopy says. Use OpenAll for a set of
// ports, which handles that case.
//
// EBUSY is retried for up to a second, then it is ErrQueueBusy.
func Open(o SocketOptions) (*Socket, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	u := o.UMEM
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errors.New("open socket: UMEM is closed")
	}
	s, err := u.open(&o)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket on interface %s queue %d: %w", o.portName(), o.Queue, err)
	}
	u.sockets = append(u.sockets, s)
	return s, nil
}

// OpenAll opens one socket per element of options, all of one UMEM and with the
// same ZeroCopy, in that order: all or none. With ZeroCopyAuto, zero-copy is
// used if every port can do it and is trusted with it (Distrust). If not, all
// sockets are in copy mode: the mode belongs to the UMEM, so a frame cannot be
// zero-copy on one port and copied on the other; CopyReason then names the port
// that is the reason.
func OpenAll(options []SocketOptions) ([]*Socket, error) {
	if len(options) == 0 || options[0].ZeroCopy != ZeroCopyAuto {
		return openEach(options)
	}
	reason := distrusted(options)
	if reason == nil {
		var sockets []*Socket
		if sockets, reason = openEach(inMode(options, ZeroCopyOn)); !errors.Is(reason, ErrNoZeroCopy) {
			return sockets, reason
		}
	}
	sockets, err := openEach(inMode(options, ZeroCopyOff))
	for _, s := range sockets {
		s.copied = reason
	}
	return sockets, err
}

// distrusted returns which port is not trusted with zero-copy, and why; nil if all are.
func distrusted(options []SocketOptions) error {
	for _, o := range options {
		if o.Distrust != nil {
			return fmt.Errorf("interface %s: %w", o.portName(), o.Distrust)
		}
	}
	return nil
}

// inMode returns options with another ZeroCopy.
func inMode(options []SocketOptions, mode ZeroCopy) []SocketOptions {
	changed := slices.Clone(options)
	for i := range changed {
		changed[i].ZeroCopy = mode
	}
	return changed
}

// portName returns how error messages call the port.
func (o *SocketOptions) portName() string {
	if o.Name != "" {
		return o.Name
	}
	return strconv.Itoa(o.Ifindex)
}

func openEach(options []SocketOptions) ([]*Socket, error) {
	sockets := make([]*Socket, 0, len(options))
	for _, o := range options {
		s, err := Open(o)
		if err != nil {
			return nil, errors.Join(err, CloseAll(sockets))
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

// CloseAll closes sockets in reverse order and joins the errors.
func CloseAll(sockets []*Socket) error {
	var errs []error
	for _, s := range slices.Backward(sockets) {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// complete fills in defaults and checks the values.
func (o *SocketOptions) complete() error {
	if o.UMEM == nil {
		return errors.New("open socket: no UMEM")
	}
	if o.Queue < 0 || o.BusyPoll < 0 || o.BusyPollBudget < 0 {
		return errors.New("open socket: negative queue or busy-poll option")
	}
	for _, r := range []struct {
		name  string
		size  *int
		unset int
	}{
		{"RX", &o.RXSize, defaultRXSize},
		{"TX", &o.TXSize, defaultTXSize},
		{"fill", &o.FillSize, defaultFillSize},
		{"completion", &o.CompletionSize, defaultCompletionSize},
	} {
		if *r.size == 0 {
			*r.size = r.unset
		}
		if *r.size < 1 || *r.size&(*r.size-1) != 0 {
			return fmt.Errorf("open socket: %s ring of %d slots: must be a power of two", r.name, *r.size)
		}
	}
	if o.BusyPollBudget == 0 {
		o.BusyPollBudget = defaultBusyPollBudget
	}
	return nil
}

// open does what Open says. Called with u.mu held.
func (u *UMEM) open(o *SocketOptions) (*Socket, error) {
	for _, other := range u.sockets {
		// The kernel would let the first socket's queue be shared, rings and all.
		if other.ifindex == o.Ifindex && other.queue == o.Queue {
			return nil, ErrQueueBusy
		}
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, explain(err)
	}
	s := &Socket{fd: fd, umem: u, ifindex: o.Ifindex, queue: o.Queue, busyPoll: o.BusyPoll > 0}
	if err := s.setUp(o); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

// setUp makes rings, binds and applies options to a new socket.
func (s *Socket) setUp(o *SocketOptions) error {
	first := len(s.umem.sockets) == 0
	if first {
		reg := umemReg(s.umem)
		if err := setXDPOption(s.fd, unix.XDP_UMEM_REG, &reg); err != nil {
			if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
				return fmt.Errorf("register UMEM of %d bytes: %w: %w", s.umem.Size(), ErrMemlock, err)
			}
			return fmt.Errorf("register UMEM of %d bytes: %w", s.umem.Size(), explain(err))
		}
	}
	if err := s.makeRings(o); err != nil {
		return err
	}
	if err := s.setBuffers(o); err != nil {
		return err
	}
	if err := s.bindMode(o, first); err != nil {
		return err
	}
	var options uint32
	if err := getXDPOption(s.fd, unix.XDP_OPTIONS, &options); err != nil {
		return fmt.Errorf("read XDP_OPTIONS: %w", err)
	}
	s.zeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	if s.zeroCopy && s.busyPoll && o.SeparateTX {
		// Else the kernel takes polling for enough and no longer wakes the driver up to
		// send (net/xdp/xsk.c, xsk_no_wakeup).
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, 0); err != nil {
			return fmt.Errorf("have busy polling and wakeups: %w", err)
		}
	}
	return nil
}

// makeRings sizes the four rings and maps them.
func (s *Socket) makeRings(o *SocketOptions) error {
	for _, r := range []struct {
		option uintptr
		size   int
	}{
		{unix.XDP_UMEM_FILL_RING, o.FillSize},
		{unix.XDP_UMEM_COMPLETION_RING, o.CompletionSize},
		{unix.XDP_RX_RING, o.RXSize},
		{unix.XDP_TX_RING, o.TXSize},
	} {
		size := uint32(r.size)
		if err := setXDPOption(s.fd, r.option, &size); err != nil {
			return fmt.Errorf("make ring of %d slots: %w", size, explain(err))
		}
	}
	var off unix.XDPMmapOffsets
	if err := getXDPOption(s.fd, unix.XDP_MMAP_OFFSETS, &off); err != nil {
		return fmt.Errorf("read XDP_MMAP_OFFSETS: %w", err)
	}
	return errors.Join(
		mapInto(s, &s.rx, unix.XDP_PGOFF_RX_RING, &off.Rx, o.RXSize),
		mapInto(s, &s.tx, unix.XDP_PGOFF_TX_RING, &off.Tx, o.TXSize),
		mapInto(s, &s.fill, unix.XDP_UMEM_PGOFF_FILL_RING, &off.Fr, o.FillSize),
		mapInto(s, &s.completion, unix.XDP_UMEM_PGOFF_COMPLETION_RING, &off.Cr, o.CompletionSize),
	)
}

func mapInto[T uint64 | Desc](s *Socket, r *ring[T], pgoff int64, off *unix.XDPRingOffset, size int) error {
	mapped, mem, err := mapRing[T](s.fd, pgoff, off, size)
	if err != nil {
		return err
	}
	*r = mapped
	s.mappings = append(s.mappings, mem)
	return nil
}

// setBuffers raises what copy mode is bounded by and turns busy polling on.
func (s *Socket) setBuffers(o *SocketOptions) error {
	// Copy mode charges each packet under way to the send buffer: the frame and
	// the kernel's own structures (skb and its data area, about 1 KiB).
	sndbuf := o.TXSize * (s.umem.frameSize + 1024)
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sndbuf) != nil {
		// Without CAP_NET_ADMIN: as much as net.core.wmem_max allows.
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sndbuf); err != nil {
			return fmt.Errorf("set send buffer: %w", err)
		}
	}
	if !s.busyPoll {
		return nil
	}
	for _, b := range []struct{ option, value int }{
		{unix.SO_PREFER_BUSY_POLL, 1},
		{unix.SO_BUSY_POLL, int(max(o.BusyPoll.Microseconds(), 1))},
		{unix.SO_BUSY_POLL_BUDGET, o.BusyPollBudget},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, b.option, b.value); err != nil {
			return fmt.Errorf("turn busy polling on (Linux 5.11, CAP_NET_ADMIN): %w", err)
		}
	}
	return nil
}

// bindMode binds in the mode that o asks for.
func (s *Socket) bindMode(o *SocketOptions, first bool) error {
	sa := &unix.SockaddrXDP{Ifindex: uint32(o.Ifindex), QueueID: uint32(o.Queue)}
	if !first {
		lender := s.umem.sockets[0]
		sa.Flags, sa.SharedUmemFD = unix.XDP_SHARED_UMEM, uint32(lender.fd)
		err := s.bind(sa)
		if noZeroCopy(err) && lender.zeroCopy {
			return fmt.Errorf("join a zero-copy UMEM: %w: %w", ErrNoZeroCopy, err)
		}
		return explainBind(err)
	}
	if o.ZeroCopy != ZeroCopyOff {
		sa.Flags = unix.XDP_ZEROCOPY | unix.XDP_USE_NEED_WAKEUP
		err := s.bind(sa)
		switch {
		case !noZeroCopy(err):
			return explainBind(err)
		case o.ZeroCopy == ZeroCopyOn:
			return fmt.Errorf("bind: %w: %w", ErrNoZeroCopy, err)
		}
		s.copied = fmt.Errorf("bind: %w: %w", ErrNoZeroCopy, err)
	}
	sa.Flags = unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP
	return explainBind(s.bind(sa))
}

// bind retries while the queue is busy, see busyRetry. A bind that failed
// leaves the socket as it was (net/xdp/xsk.c, xsk_bind).
func (s *Socket) bind(sa *unix.SockaddrXDP) error {
	for end := time.Now().Add(busyRetry); ; time.Sleep(busyPause) {
		err := unix.Bind(s.fd, sa)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// noZeroCopy reports whether a bind error means that the driver cannot do
// zero-copy on this queue: EOPNOTSUPP without driver support, EINVAL from
// virtio_net without a DMA device, ENOENT from virtio_net without queue reset.
func noZeroCopy(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// explainBind adds what an errno of bind means; nil stays nil.
func explainBind(err error) error {
	var reason error
	switch {
	case errors.Is(err, unix.EBUSY):
		reason = ErrQueueBusy
	case errors.Is(err, unix.ENODEV):
		reason = ErrNoPort
	case errors.Is(err, unix.ENETDOWN):
		reason = ErrPortDown
	case errors.Is(err, unix.EINVAL):
		reason = ErrNoQueue
	default:
		return explain(err)
	}
	return fmt.Errorf("bind: %w: %w", reason, err)
}

// explain adds what an errno of any AF_XDP call means; nil stays nil.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: %w", ErrNotSupported, err)
	}
	return err
}

// FD returns the file descriptor, for poll. It belongs to the socket.
func (s *Socket) FD() int { return s.fd }

// ZeroCopy reports whether the kernel says that the socket is in zero-copy mode
// (XDP_OPTIONS). It says so even below a generic-mode program, see
// Program.Mode.
func (s *Socket) ZeroCopy() bool { return s.zeroCopy }

// CopyReason returns why a socket that was opened with ZeroCopyAuto is in copy mode: an
// error that wraps ErrNoZeroCopy or the Distrust of a port. It is nil in zero-copy mode, and in copy mode if
// that was asked for.
func (s *Socket) CopyReason() error { return s.copied }

// Ifindex returns the index of the port's interface.
func (s *Socket) Ifindex() int { return s.ifindex }

// Queue returns the number of the hardware queue.
func (s *Socket) Queue() int { return s.queue }

// Close unbinds the socket and unmaps its rings. Frames that are in its rings
// or in the kernel belong to the owner again. It is idempotent; no other method
// may be called after it or at the same time.
func (s *Socket) Close() error {
	u := s.umem
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sockets = slices.DeleteFunc(u.sockets, func(other *Socket) bool { return other == s })
	if err := s.release(); err != nil {
		return fmt.Errorf("close socket of interface %d queue %d: %w", s.ifindex, s.queue, err)
	}
	return nil
}

// release frees what the socket holds.
func (s *Socket) release() error {
	var errs []error
	for _, mem := range slices.Backward(s.mappings) {
		errs = append(errs, unix.Munmap(mem))
	}
	s.mappings = nil
	if s.fd >= 0 {
		errs = append(errs, unix.Close(s.fd))
		s.fd = -1
	}
	return errors.Join(errs...)
}

package fib

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// maxPorts bounds the port numbers, which index an array.
	maxPorts = 1024
	// eventBuffer is the wanted receive buffer of the notification socket in
	// bytes: about 10,000 route changes.
	eventBuffer = 8 << 20
	// defaultCoalesce is short against what a person notices and long against
	// the microseconds between the messages of one change.
	defaultCoalesce = 5 * time.Millisecond
	// defaultKeepAlive is well below the kernel's delay_first_probe_time plus
	// gc_stale_time (5 s + 60 s), so that no used neighbour is collected.
	defaultKeepAlive = 5 * time.Second
	// settle is the delay of the second look after a link or address changed.
	settle = 250 * time.Millisecond
	// retryAfter is the delay before a dump that had an error is repeated.
	retryAfter = 500 * time.Millisecond
	// restShare is how many times the duration of the last rebuild the next one
	// waits: at most a fifth of one CPU is used.
	restShare = 4
)

// PortConfig names an interface that is a port of the gateway.
type PortConfig struct {
	// Name is the interface name. It need not exist yet.
	Name string
	// Number is our number of the port, below 1024; it becomes NextHop.Port.
	Number uint16
}

// Options configures a Mirror.
type Options struct {
	// Ports are the interfaces that packets can be forwarded to. Required.
	Ports []PortConfig
	// Logger gets state changes and errors. Default: slog.Default().
	Logger *slog.Logger
	// Coalesce is how long changes are collected into one snapshot. Default: 5 ms.
	Coalesce time.Duration
	// KeepAlive is how often the neighbours in use are looked at. Default: 5 s.
	KeepAlive time.Duration
}

// Stats counts what a Mirror did since it was made.
type Stats struct {
	Snapshots       uint64 // snapshots published
	Resyncs         uint64 // complete dumps after a receive error
	Dumps           uint64 // dumps of any part of the state
	Errors          uint64 // dumps that had an error
	Resolves        uint64 // requests to the kernel to resolve a neighbour
	ResolvesDropped uint64 // Resolve calls that found the queue full
	ResolveErrors   uint64 // requests that the kernel refused
	Probes          uint64 // requests made by the keep-alive; part of Resolves
}

// counters are the atomic twin of Stats.
type counters struct {
	snapshots, resyncs, dumps, errors                      atomic.Uint64
	resolves, resolvesDropped, resolveErrors, probesQueued atomic.Uint64
}

// Mirror follows the kernel's state of one network namespace. Snapshot,
// Resolve, OnChange and Stats may be called from any goroutine.
type Mirror struct {
	log        *slog.Logger
	options    Options
	events     *nl.NetlinkSocket        // notifications only
	handle     *netlink.Handle          // dumps of links and addresses
	dumpSocket map[int]*nl.SocketHandle // dumps of routes and neighbours
	resolver   *resolver
	used       *[maxHops]atomic.Uint32 // last tick by hop id, see Snapshot.MarkUsed

	current atomic.Pointer[Snapshot]
	state   *state          // owner: run
	seen    [maxHops]uint32 // owner: run; used at the last look

	mu       sync.Mutex // serialises listeners; held while they run
	onChange []func(*Snapshot)

	received chan notification
	stop     chan struct{}
	stopOnce sync.Once
	done     sync.WaitGroup
	count    counters
}

// notification is what the receiver hands to run: messages, or an error after
// which notifications may be missing.
type notification struct {
	messages []syscall.NetlinkMessage
	err      error
}

// New mirrors the network namespace of the calling thread (the caller holds
// runtime.LockOSThread if it switched). It returns after the first snapshot.
// All sockets are opened here; the goroutines do not depend on the namespace
// of the threads that they run on.
func New(o Options) (*Mirror, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	m := &Mirror{
		log: o.Logger, options: o, state: newState(), used: new([maxHops]atomic.Uint32),
		received: make(chan notification, 64), stop: make(chan struct{}),
	}
	if err := m.open(); err != nil {
		m.closeSockets()
		return nil, err
	}
	m.done.Add(1)
	go m.receive()
	if _, err := m.refresh(dirtyAll); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	m.rebuild(false)
	m.done.Add(2)
	go m.run()
	go func() { defer m.done.Done(); m.resolver.run(m.stop) }()
	return m, nil
}

// complete fills the defaults and checks the ports.
func (o *Options) complete() error {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Coalesce <= 0 {
		o.Coalesce = defaultCoalesce
	}
	if o.KeepAlive <= 0 {
		o.KeepAlive = defaultKeepAlive
	}
	names, numbers := map[string]bool{}, map[uint16]bool{}
	for _, p := range o.Ports {
		switch {
		case p.Name == "":
			return errors.New("fib: port without a name")
		case p.Number >= maxPorts:
			return fmt.Errorf("fib: port %s: number %d is not below %d", p.Name, p.Number, maxPorts)
		case names[p.Name] || numbers[p.Number]:
			return fmt.Errorf("fib: port %s, number %d: given twice", p.Name, p.Number)
		}
		names[p.Name], numbers[p.Number] = true, true
	}
	return nil
}

// open opens all sockets in the namespace of the calling thread.
func (m *Mirror) open() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	m.events, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		return fmt.Errorf("subscribe to network changes: %w", err)
	}
	if m.events.SetReceiveBufferSize(eventBuffer, true) != nil { // without CAP_NET_ADMIN:
		if err := m.events.SetReceiveBufferSize(eventBuffer, false); err != nil {
			return fmt.Errorf("set receive buffer of the netlink socket: %w", err)
		}
	}
	if m.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	if err := m.handle.SetSocketTimeout(netlink.GetSocketTimeout()); err != nil {
		return fmt.Errorf("set timeout of the netlink socket: %w", err)
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE) // to nothing: a plain socket
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	if err := s.SetReceiveTimeout(&nl.SocketTimeoutTv); err != nil {
		s.Close()
		return fmt.Errorf("set timeout of the netlink socket: %w", err)
	}
	m.dumpSocket = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	m.resolver, err = newResolver(m.log, &m.count)
	return err
}

// closeSockets closes what open opened.
func (m *Mirror) closeSockets() {
	if m.events != nil {
		m.events.Close()
	}
	if m.handle != nil {
		m.handle.Close()
	}
	for _, s := range m.dumpSocket {
		s.Close()
	}
	if m.resolver != nil {
		m.resolver.close()
	}
}

// Close ends the mirror; the last snapshot stays readable. It is idempotent.
// It must not be called by a listener.
func (m *Mirror) Close() error {
	m.stopOnce.Do(func() {
		if m.events == nil { // fixed
			return
		}
		close(m.stop)
		m.events.Close() // ends receive
		m.done.Wait()
		m.closeSockets()
	})
	return nil
}

// Snapshot returns the current view; never nil. Hot: one atomic load.
func (m *Mirror) Snapshot() *Snapshot { return m.current.Load() }

// OnChange calls f with the current snapshot, and then with each new one, one
// call at a time and in order. f must not block for long, or the mirror falls
// behind, and must not call OnChange or Close.
func (m *Mirror) OnChange(f func(*Snapshot)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onChange = append(m.onChange, f)
	f(m.current.Load())
}

// Stats returns the counters.
func (m *Mirror) Stats() Stats {
	c := &m.count
	return Stats{
		Snapshots: c.snapshots.Load(), Resyncs: c.resyncs.Load(), Dumps: c.dumps.Load(),
		Errors: c.errors.Load(), Resolves: c.resolves.Load(), ResolveErrors: c.resolveErrors.Load(),
		ResolvesDropped: c.resolvesDropped.Load(), Probes: c.probesQueued.Load(),
	}
}

// Resolve asks the kernel to find out the hardware address of a neighbour on
// the interface. It never blocks and makes at most one request per address
// and second. It returns false if the queue is full: the request is lost and
// counted, and the next packet may try again.
//
// Cost: about 100 ns; meant for packets that cannot be sent, not for all.
func (m *Mirror) Resolve(addr netip.Addr, ifindex int) bool {
	if m.resolver == nil { // fixed
		m.count.resolves.Add(1)
		return true
	}
	return m.resolver.ask(neighKey{ifindex: ifindex, addr: addr.WithZone("")})
}

// rebuild makes and publishes a snapshot of the state.
func (m *Mirror) rebuild(reuse bool) {
	prev := m.current.Load()
	s, complete := build(m.state, m.options.Ports, prev, reuse)
	if !complete {
		m.log.Error("too many next hops, some destinations cannot be forwarded", "max", maxHops-int(FirstHop))
	}
	if s == prev {
		return
	}
	s.used = m.used
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current.Store(s)
	m.count.snapshots.Add(1)
	m.logChange(prev, s)
	for _, f := range m.onChange {
		f(s)
	}
}

// logChange logs the ports that changed.
func (m *Mirror) logChange(prev, s *Snapshot) {
	for i := range s.ports {
		p := &s.ports[i]
		if prev != nil && prev.ports[i] == *p {
			continue
		}
		m.log.Info("port state", "port", p.Name, "ifindex", p.Ifindex, "up", p.Up, "mtu", p.MTU,
			"address4", p.Addr4, "address6", p.Addr6)
	}
}

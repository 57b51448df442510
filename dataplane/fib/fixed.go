package fib

import (
	"log/slog"
	"net/netip"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FixedPort is a port of a network that exists nowhere.
type FixedPort struct {
	Number uint16
	MAC    [6]byte
	MTU    int            // bytes
	Addrs  []netip.Prefix // with the length of their networks
	Down   bool           // no carrier
}

// FixedRoute is a route of a network that exists nowhere.
type FixedRoute struct {
	Dst       netip.Prefix
	Port      uint16     // one that is no FixedPort: an interface that is not ours
	Gateway   netip.Addr // for a single host that is on the link: the host itself
	MAC       [6]byte    // of the gateway; zero = it does not answer
	Blackhole bool
}

// NewFixed returns a mirror of a network that exists nowhere: for benchmarks
// and tests that need no kernel. Resolve finds nothing, Close has nothing to
// close.
func NewFixed(ports []FixedPort, routes []FixedRoute) *Mirror {
	m := &Mirror{log: slog.Default(), used: new([maxHops]atomic.Uint32)}
	m.SetFixed(ports, routes)
	return m
}

// SetFixed changes the network of a mirror that NewFixed made.
func (m *Mirror) SetFixed(ports []FixedPort, routes []FixedRoute) {
	st := newState()
	var configs []PortConfig
	for _, p := range ports {
		name := "port" + strconv.Itoa(int(p.Number))
		ifindex := int(p.Number) + 1
		configs = append(configs, PortConfig{Name: name, Number: p.Number})
		st.links = append(st.links, link{index: ifindex, name: name, mac: p.MAC, mtu: p.MTU, up: !p.Down})
		for _, a := range p.Addrs {
			st.addFixedAddr(ifindex, a)
		}
	}
	for i := range routes {
		st.addFixedRoute(&routes[i])
	}
	s, _ := build(st, configs, m.current.Load(), false)
	s.used = m.used
	m.state = st
	m.current.Store(s)
}

// addFixedRoute adds a route and its gateway's entry in the neighbour table.
func (st *state) addFixedRoute(r *FixedRoute) {
	ifindex := int(r.Port) + 1
	kind := uint8(unix.RTN_UNICAST)
	if r.Blackhole {
		kind = unix.RTN_BLACKHOLE
	}
	st.addRoute(route{
		key:  routeKey{table: unix.RT_TABLE_MAIN, dst: r.Dst.Masked()},
		kind: kind, ifindex: ifindex, gateway: r.Gateway,
	}, 0)
	if r.MAC != [6]byte{} {
		st.neighs[neighKey{ifindex, r.Gateway}] = neighbour{state: unix.NUD_PERMANENT, mac: r.MAC}
	}
}

// addFixedAddr adds an address and the two routes that the kernel makes of it.
func (st *state) addFixedAddr(ifindex int, a netip.Prefix) {
	st.addrs = append(st.addrs, address{ifindex: ifindex, prefix: a, scope: unix.RT_SCOPE_UNIVERSE})
	host := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
	st.addRoute(route{key: routeKey{table: unix.RT_TABLE_LOCAL, dst: host}, kind: unix.RTN_LOCAL, ifindex: ifindex}, 0)
	st.addRoute(route{key: routeKey{table: unix.RT_TABLE_MAIN, dst: a.Masked()}, kind: unix.RTN_UNICAST, ifindex: ifindex}, 0)
}

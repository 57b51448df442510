package fib

import (
	"log/slog"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FixedPort is a port of a network that never changes.
type FixedPort struct {
	Number uint16
	MAC    [6]byte
	MTU    int            // bytes
	Addrs  []netip.Prefix // with the length of their networks
}

// FixedRoute is a route of a network that never changes.
type FixedRoute struct {
	Dst       netip.Prefix
	Port      uint16     // one that is no FixedPort: an interface that is not ours
	Gateway   netip.Addr // for a single host that is on the link: the host itself
	MAC       [6]byte    // of the gateway; zero = it does not answer
	Blackhole bool
}

// NewFixed returns a mirror of a network that exists nowhere and never
// changes: for benchmarks and tests that need no kernel. All ports are up.
// Resolve finds nothing, Close has nothing to close.
func NewFixed(ports []FixedPort, routes []FixedRoute) *Mirror {
	st := newState()
	var configs []PortConfig
	for _, p := range ports {
		name := "port" + string('0'+rune(p.Number))
		ifindex := int(p.Number) + 1
		configs = append(configs, PortConfig{Name: name, Number: p.Number})
		st.links = append(st.links, link{index: ifindex, name: name, mac: p.MAC, mtu: p.MTU, up: true})
		for _, a := range p.Addrs {
			st.addFixedAddr(ifindex, a)
		}
	}
	for _, r := range routes {
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
	m := &Mirror{log: slog.Default(), state: st, used: new([maxHops]atomic.Uint32)}
	s, _ := build(st, configs, nil, false)
	s.used = m.used
	m.current.Store(s)
	return m
}

// addFixedAddr adds an address and the two routes that the kernel makes of it.
func (st *state) addFixedAddr(ifindex int, a netip.Prefix) {
	st.addrs = append(st.addrs, address{ifindex: ifindex, prefix: a, scope: unix.RT_SCOPE_UNIVERSE})
	host := netip.PrefixFrom(a.Addr(), a.Addr().BitLen())
	st.addRoute(route{key: routeKey{table: unix.RT_TABLE_LOCAL, dst: host}, kind: unix.RTN_LOCAL, ifindex: ifindex}, 0)
	st.addRoute(route{key: routeKey{table: unix.RT_TABLE_MAIN, dst: a.Masked()}, kind: unix.RTN_UNICAST, ifindex: ifindex}, 0)
}

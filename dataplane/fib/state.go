package fib

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// link is what we keep of an interface.
type link struct {
	index int
	name  string
	mac   [6]byte // zero unless Ethernet
	mtu   int     // bytes
	up    bool    // IFF_UP and IFF_RUNNING
}

// address is an address of an interface.
type address struct {
	ifindex int
	prefix  netip.Prefix // not masked
	scope   uint8        // RT_SCOPE_*
	flags   uint32       // IFA_F_*, without those that change by themselves
}

// routeKey names the routes that the kernel tells apart by prefix and metric.
type routeKey struct {
	table  uint32
	metric uint32
	dst    netip.Prefix // masked
	tos    uint8
}

// route is one route of the main or local table. Of a multipath route it
// holds the first live next hop.
type route struct {
	key     routeKey
	kind    uint8 // RTN_*
	dead    bool  // no live next hop
	multi   bool  // had several next hops
	encap   bool  // lightweight tunnel
	ifindex int
	mtu     uint32     // mtu metric in bytes; 0 = none
	gateway netip.Addr // zero = on-link
}

// neighKey names a neighbour.
type neighKey struct {
	ifindex int
	addr    netip.Addr
}

// neighbour is an entry of the ARP or ND table.
type neighbour struct {
	state uint16 // NUD_*
	mac   [6]byte
}

// resolved reports whether the kernel would send to this neighbour
// (NUD_VALID, include/net/neighbour.h).
func (n neighbour) resolved() bool {
	const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE |
		unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY
	return n.state&valid != 0 && n.mac != [6]byte{}
}

// state is the mirrored kernel state. Owner: the goroutine of Mirror.run.
type state struct {
	links  []link    // by index
	addrs  []address // in the kernel's order, which decides what is primary
	routes map[routeKey][]route
	neighs map[neighKey]neighbour
}

// newState returns an empty state.
func newState() *state {
	return &state{routes: map[routeKey][]route{}, neighs: map[neighKey]neighbour{}}
}

// effect says what an applied change requires.
type effect uint8

const (
	effectNone    effect = iota
	effectChanged        // the state changed
	effectUnclear        // the change cannot be applied alone: dump the routes
)

// addRoute applies RTM_NEWROUTE with the flags of its header.
func (st *state) addRoute(r route, flags uint16) effect {
	list := st.routes[r.key]
	switch {
	case slices.Contains(list, r):
		return effectNone
	case len(list) == 0:
		st.routes[r.key] = []route{r}
		return effectChanged
	case flags&unix.NLM_F_REPLACE != 0 && len(list) == 1 && !r.multi && !list[0].multi:
		st.routes[r.key] = []route{r}
		return effectChanged
	}
	return effectUnclear
}

// deleteRoute applies RTM_DELROUTE. A multipath route is not deleted by one
// message in all kernels, hence the caution.
func (st *state) deleteRoute(r route) effect {
	list := st.routes[r.key]
	switch {
	case len(list) == 0:
		return effectNone
	case len(list) == 1 && !r.multi && !list[0].multi && list[0].kind == r.kind &&
		list[0].ifindex == r.ifindex && list[0].gateway == r.gateway:
		delete(st.routes, r.key)
		return effectChanged
	}
	return effectUnclear
}

// putRoute adds a route of a dump, which has no duplicates.
func (st *state) putRoute(r route) {
	st.routes[r.key] = append(st.routes[r.key], r)
}

// setNeighbour applies RTM_NEWNEIGH. It reports whether hops may change: a
// new state with the same MAC does not count.
func (st *state) setNeighbour(k neighKey, n neighbour) effect {
	old := st.neighs[k]
	st.neighs[k] = n
	if !old.resolved() && !n.resolved() {
		return effectNone
	}
	if old.resolved() && n.resolved() && old.mac == n.mac {
		return effectNone
	}
	return effectChanged
}

// deleteNeighbour applies RTM_DELNEIGH.
func (st *state) deleteNeighbour(k neighKey) effect {
	old, known := st.neighs[k]
	delete(st.neighs, k)
	if known && old.resolved() {
		return effectChanged
	}
	return effectNone
}

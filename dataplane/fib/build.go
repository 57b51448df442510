package fib

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
	"golang.org/x/sys/unix"
)

// compactAt is the number of ids after which the ids of vanished hops are given
// up: half of the id space, so that many changes fit between two compactions.
const compactAt = maxHops / 2

// hopKey is what a hop id stands for.
type hopKey struct {
	port    uint16
	mtu     uint16     // mtu metric of the route in bytes; 0 = the link's
	gateway netip.Addr // zero = on-link and not resolved
}

// linkScope are the destinations that are never forwarded, whatever the
// routing tables say. Immutable.
var linkScope = [...]netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// builder makes one snapshot.
type builder struct {
	st     *state
	snap   *Snapshot
	byLink map[int]uint16 // ifindex to port number
	full   bool           // no id could be given: too many hops
}

// build makes a snapshot of st. It is a function of its arguments only. prev
// may be nil; hop ids are taken over from it, and if reuse is set (links,
// addresses and routes are those of prev) also its route table. If no answer
// differs from those of prev, Gen stays; if nothing differs at all, prev itself
// is returned. complete is false if there were more hops than ids: the
// surplus is answered as unresolved or HopNotPort.
func build(st *state, ports []PortConfig, prev *Snapshot, reuse bool) (s *Snapshot, complete bool) {
	b := &builder{st: st, snap: &Snapshot{gen: 1}, byLink: map[int]uint16{}}
	if prev != nil {
		b.snap.used = prev.used
	}
	compact := prev == nil || len(prev.ids) > compactAt
	if compact {
		b.snap.ids = map[hopKey]uint16{}
	} else {
		b.snap.ids = maps.Clone(prev.ids)
	}
	b.buildPorts(ports)
	if reuse && !compact {
		b.snap.routes, b.snap.gateways = prev.routes, prev.gateways
	} else {
		b.buildRoutes()
	}
	b.buildNeighbours()
	b.buildHops()
	if prev == nil {
		return b.snap, !b.full
	}
	return b.compare(prev, compact), !b.full
}

// compare sets Gen by what changed since prev.
func (b *builder) compare(prev *Snapshot, compact bool) *Snapshot {
	s := b.snap
	same := !compact && maps.Equal(s.near4, prev.near4) && maps.Equal(s.near6, prev.near6) &&
		sameHops(s.hops, prev.hops) &&
		(s.routes == prev.routes || s.routes.Equal(prev.routes))
	s.gen = prev.gen
	if same {
		if len(s.hops) == len(prev.hops) && slices.Equal(s.ports, prev.ports) &&
			slices.Equal(s.local, prev.local) {
			return prev
		}
		s.routes = prev.routes // lets the new copy be collected
		return s
	}
	if s.gen++; s.gen == 0 {
		s.gen = 1
	}
	return s
}

// sameHops reports whether all ids of old have the same content now. Further
// ids do not matter: an answer that leads to them differs elsewhere.
func sameHops(now, old []NextHop) bool {
	return len(now) >= len(old) && slices.Equal(now[:len(old)], old)
}

// buildPorts fills ports, index and local.
func (b *builder) buildPorts(ports []PortConfig) {
	s := b.snap
	for i, pc := range ports {
		for len(s.index) <= int(pc.Number) {
			s.index = append(s.index, -1)
		}
		s.index[pc.Number] = int16(i)
		p := PortState{Name: pc.Name, Number: pc.Number}
		for _, l := range b.st.links {
			if l.name == pc.Name {
				p.Ifindex, p.MAC, p.MTU, p.Up = l.index, l.mac, clampMTU(l.mtu), l.up
				b.byLink[l.index] = pc.Number
			}
		}
		if p.Ifindex != 0 {
			p.Addr4 = b.selectAddr4(p.Ifindex, netip.Addr{})
			p.Addr6 = b.selectAddr6(p.Ifindex)
		}
		s.ports = append(s.ports, p)
	}
	for _, a := range b.st.addrs {
		l := LocalAddr{Prefix: a.prefix, Ifindex: a.ifindex, Port: NoPort}
		if n, ok := b.byLink[a.ifindex]; ok {
			l.Port = n
		}
		s.local = append(s.local, l)
	}
}

// clampMTU fits an MTU into the largest size of an IP packet.
func clampMTU(mtu int) uint16 {
	return uint16(min(max(mtu, 0), 0xffff))
}

// selectAddr4 picks the source address for packets through the interface to
// the neighbour (net/ipv4/devinet.c, inet_select_addr with RT_SCOPE_UNIVERSE).
// Deviates: no address of another interface is taken when there is none.
func (b *builder) selectAddr4(ifindex int, to netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range b.st.addrs {
		if a.ifindex != ifindex || !a.prefix.Addr().Is4() ||
			a.flags&unix.IFA_F_SECONDARY != 0 || a.scope != unix.RT_SCOPE_UNIVERSE {
			continue
		}
		if a.prefix.Contains(to) {
			return a.prefix.Addr()
		}
		if !first.IsValid() {
			first = a.prefix.Addr()
		}
	}
	return first
}

// selectAddr6 picks the first global IPv6 address that may be used for new
// flows and does not rotate. It is not RFC 6724 with its many rules.
func (b *builder) selectAddr6(ifindex int) netip.Addr {
	const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED |
		unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY
	for _, a := range b.st.addrs {
		if a.ifindex == ifindex && a.prefix.Addr().Is6() && a.flags&unusable == 0 &&
			a.scope == unix.RT_SCOPE_UNIVERSE {
			return a.prefix.Addr()
		}
	}
	return netip.Addr{}
}

// buildRoutes fills the route table: local table first, then what it leaves of
// the main table (the kernel's default rules 0 and 32766).
func (b *builder) buildRoutes() {
	b.snap.routes, b.snap.gateways = &bart.Fast[uint32]{}, map[uint16]struct{}{}
	best := make(map[netip.Prefix]route, len(b.st.routes))
	local := &bart.Fast[uint32]{}
	for _, dst := range linkScope {
		local.Insert(dst, uint32(HopLinkScope))
	}
	for _, list := range b.st.routes {
		for _, r := range list {
			if r.dead || r.key.tos != 0 {
				continue
			}
			if r.key.table == unix.RT_TABLE_LOCAL {
				local.Insert(r.key.dst, b.answer(r))
			} else if o, ok := best[r.key.dst]; !ok || r.key.metric < o.key.metric {
				best[r.key.dst] = r
			}
		}
	}
	for dst, r := range best {
		if _, covered := local.LookupPrefix(dst); !covered {
			b.snap.routes.Insert(dst, b.answer(r))
		}
	}
	b.snap.routes.Union(local)
}

// answer returns the value of a route in the table.
func (b *builder) answer(r route) uint32 {
	switch r.kind {
	case unix.RTN_UNICAST:
		port, ok := b.byLink[r.ifindex]
		if !ok || r.encap {
			return uint32(HopNotPort)
		}
		id := b.id(hopKey{port: port, mtu: clampMTU(int(r.mtu)), gateway: r.gateway})
		if id == HopNone {
			return uint32(HopNotPort)
		}
		if !r.gateway.IsValid() {
			return uint32(id) | onLink
		}
		b.snap.gateways[id] = struct{}{}
		return uint32(id)
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		return uint32(HopLocal)
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST:
		return uint32(HopLinkScope)
	case unix.RTN_BLACKHOLE:
		return uint32(HopBlackhole)
	case unix.RTN_UNREACHABLE:
		return uint32(HopUnreachable)
	case unix.RTN_PROHIBIT:
		return uint32(HopProhibit)
	}
	return uint32(HopNone) // throw, and what we do not know
}

// id returns the id of a hop, a new one if needed, or HopNone if all are taken.
func (b *builder) id(k hopKey) uint16 {
	if id, ok := b.snap.ids[k]; ok {
		return id
	}
	n := len(b.snap.ids) + int(FirstHop)
	if n >= maxHops {
		b.full = true
		return HopNone
	}
	b.snap.ids[k] = uint16(n)
	return uint16(n)
}

// buildNeighbours gives every resolved neighbour on an on-link route its hop.
func (b *builder) buildNeighbours() {
	s := b.snap
	s.near4, s.near6 = map[uint32]uint16{}, map[[2]uint64]uint16{}
	onLinkMTU := map[uint16]uint16{} // id of an on-link hop to the route's mtu
	onLinkPort := map[uint16]uint16{}
	for k, id := range s.ids {
		if !k.gateway.IsValid() {
			onLinkMTU[id], onLinkPort[id] = k.mtu, k.port
		}
	}
	for k, n := range b.st.neighs {
		port, ours := b.byLink[k.ifindex]
		v, _ := s.routes.Lookup(k.addr)
		if !ours || !n.resolved() || v&onLink == 0 || onLinkPort[uint16(v)] != port {
			continue
		}
		id := b.id(hopKey{port: port, mtu: onLinkMTU[uint16(v)], gateway: k.addr})
		if id == HopNone {
			continue
		}
		if k.addr.Is4() {
			a := k.addr.As4()
			s.near4[binary.BigEndian.Uint32(a[:])] = id
		} else {
			a := k.addr.As16()
			s.near6[[2]uint64{binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])}] = id
		}
	}
}

// buildHops fills the hops of all ids, also of those that no route leads to
// now: these are invalid because their neighbour is gone, or harmless.
func (b *builder) buildHops() {
	s := b.snap
	s.hops = make([]NextHop, len(s.ids)+int(FirstHop))
	for i := range s.hops[:FirstHop] {
		s.hops[i].Port = NoPort
	}
	for k, id := range s.ids {
		p := s.Port(k.port)
		h := NextHop{Port: k.port, Gateway: k.gateway, Ifindex: p.Ifindex, SrcMAC: p.MAC, MTU: p.MTU}
		if k.mtu != 0 && k.mtu < h.MTU {
			h.MTU = k.mtu
		}
		if p.Ifindex != 0 {
			h.Source = b.selectAddr4(p.Ifindex, k.gateway)
		}
		if n := b.st.neighs[neighKey{p.Ifindex, k.gateway}]; p.Up && k.gateway.IsValid() && n.resolved() {
			h.Valid, h.DstMAC = true, n.mac
		}
		s.hops[id] = h
	}
}

package fib

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Interfaces of the test state: two ports and one that is not ours.
const (
	ifInternal = 11 // port 0, 10.1.0.1/24, fd01::1/64
	ifExternal = 12 // port 1, 203.0.113.5/24
	ifOther    = 13 // not a port
)

var (
	testPorts   = []PortConfig{{Name: "in0", Number: 0}, {Name: "out0", Number: 1}}
	macInternal = [6]byte{2, 0, 0, 0, 0, 11}
	macExternal = [6]byte{2, 0, 0, 0, 0, 12}
	macGateway  = [6]byte{2, 0, 0, 0, 1, 1}
	macHost     = [6]byte{2, 0, 0, 0, 1, 2}
)

// newTestState returns links, addresses and the routes that the kernel makes
// of them, with no neighbours.
func newTestState() *state {
	st := newState()
	st.links = []link{
		{index: ifInternal, name: "in0", mac: macInternal, mtu: 1500, up: true},
		{index: ifExternal, name: "out0", mac: macExternal, mtu: 1500, up: true},
		{index: ifOther, name: "mgmt0", mtu: 1500, up: true},
	}
	st.addrs = []address{
		{ifindex: ifInternal, prefix: netip.MustParsePrefix("10.1.0.1/24")},
		{ifindex: ifInternal, prefix: netip.MustParsePrefix("fd01::1/64")},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("203.0.113.5/24")},
		{ifindex: ifOther, prefix: netip.MustParsePrefix("192.168.9.1/24")},
	}
	connected := func(dst string, ifindex int) { st.putRoute(testRoute(dst, func(r *route) { r.ifindex = ifindex })) }
	connected("10.1.0.0/24", ifInternal)
	connected("fd01::/64", ifInternal)
	connected("203.0.113.0/24", ifExternal)
	connected("192.168.9.0/24", ifOther)
	for _, a := range []string{"10.1.0.1/32", "203.0.113.5/32", "192.168.9.1/32", "127.0.0.0/8", "fd01::1/128"} {
		st.putRoute(testRoute(a, inLocal(unix.RTN_LOCAL)))
	}
	st.putRoute(testRoute("10.1.0.255/32", inLocal(unix.RTN_BROADCAST)))
	return st
}

// testRoute returns a unicast route of the main table, changed by f.
func testRoute(dst string, f ...func(*route)) route {
	r := route{kind: unix.RTN_UNICAST, ifindex: ifExternal}
	r.key = routeKey{table: unix.RT_TABLE_MAIN, dst: netip.MustParsePrefix(dst)}
	for _, f := range f {
		f(&r)
	}
	return r
}

func inLocal(kind uint8) func(*route) {
	return func(r *route) { r.key.table, r.kind, r.ifindex = unix.RT_TABLE_LOCAL, kind, 1 }
}

func kind(k uint8) func(*route) { return func(r *route) { r.kind, r.ifindex = k, 0 } }

func metric(m uint32) func(*route) { return func(r *route) { r.key.metric = m } }

func via(gateway string) func(*route) {
	return func(r *route) { r.gateway = netip.MustParseAddr(gateway) }
}

func dev(ifindex int) func(*route) { return func(r *route) { r.ifindex = ifindex } }

func (st *state) reachable(ifindex int, addr string, mac [6]byte) {
	st.setNeighbour(neighKey{ifindex, netip.MustParseAddr(addr)}, neighbour{unix.NUD_REACHABLE, mac})
}

// mustBuild builds a snapshot that can be used.
func mustBuild(t testing.TB, st *state, prev *Snapshot, reuse bool) *Snapshot {
	t.Helper()
	s, complete := build(st, testPorts, prev, reuse)
	if !complete {
		t.Fatal("build ran out of hop ids")
	}
	if s.used == nil {
		s.used = new([maxHops]atomic.Uint32)
	}
	return s
}

// lookup looks an address of either family up.
func lookup(s *Snapshot, addr string) uint16 {
	a := netip.MustParseAddr(addr)
	if a.Is4() {
		b := a.As4()
		return s.Lookup4(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return s.Lookup6(binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]))
}

func TestLookupOfNonForwardable(t *testing.T) {
	tests := []struct {
		name   string
		routes []route
		dst    string
		want   uint16
	}{
		{"no-route", nil, "8.8.8.8", HopNone},
		{"no-route-ipv6", nil, "2001:db8::1", HopNone},
		{"own-address", nil, "10.1.0.1", HopLocal},
		{"own-address-of-another-interface", nil, "192.168.9.1", HopLocal},
		{"own-ipv6-address", nil, "fd01::1", HopLocal},
		{"loopback", nil, "127.1.2.3", HopLocal},
		{"directed-broadcast", nil, "10.1.0.255", HopLinkScope},
		{"limited-broadcast-despite-default", []route{testRoute("0.0.0.0/0", via("203.0.113.1"))}, "255.255.255.255", HopLinkScope},
		{"multicast-despite-default", []route{testRoute("0.0.0.0/0", via("203.0.113.1"))}, "224.0.0.5", HopLinkScope},
		{"ipv6-multicast", nil, "ff02::1", HopLinkScope},
		{"ipv6-link-local", []route{testRoute("fe80::/64", dev(ifInternal))}, "fe80::1", HopLinkScope},
		{"connected-to-an-interface-that-is-not-a-port", nil, "192.168.9.7", HopNotPort},
		{"gateway-behind-an-interface-that-is-not-a-port", []route{testRoute("8.0.0.0/8", via("192.168.9.2"), dev(ifOther))}, "8.8.8.8", HopNotPort},
		{"blackhole", []route{testRoute("8.0.0.0/8", kind(unix.RTN_BLACKHOLE))}, "8.8.8.8", HopBlackhole},
		{"unreachable", []route{testRoute("8.0.0.0/8", kind(unix.RTN_UNREACHABLE))}, "8.8.8.8", HopUnreachable},
		{"prohibit", []route{testRoute("8.0.0.0/8", kind(unix.RTN_PROHIBIT))}, "8.8.8.8", HopProhibit},
		{"prohibit-ipv6", []route{testRoute("2001:db8::/32", kind(unix.RTN_PROHIBIT))}, "2001:db8::1", HopProhibit},
		{"throw-hides-the-default", []route{testRoute("0.0.0.0/0", via("203.0.113.1")), testRoute("8.0.0.0/8", kind(unix.RTN_THROW))}, "8.8.8.8", HopNone},
		{"tunnel-encapsulation", []route{testRoute("8.0.0.0/8", func(r *route) { r.encap = true })}, "8.8.8.8", HopNotPort},
		{"lower-metric-blackhole-wins", []route{testRoute("8.0.0.0/8", via("203.0.113.1"), metric(10)), testRoute("8.0.0.0/8", kind(unix.RTN_BLACKHOLE), metric(5))}, "8.8.8.8", HopBlackhole},
		{"local-table-beats-a-longer-main-prefix", []route{testRoute("127.0.0.5/32", via("203.0.113.1"))}, "127.0.0.5", HopLocal},
		{"route-with-tos-is-skipped", []route{testRoute("8.0.0.0/8", func(r *route) { r.key.tos = 8 })}, "8.8.8.8", HopNone},
		{"dead-route-is-skipped", []route{testRoute("8.0.0.0/8", func(r *route) { r.dead = true })}, "8.8.8.8", HopNone},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newTestState()
			for _, r := range tt.routes {
				st.putRoute(r)
			}
			s := mustBuild(t, st, nil, false)
			got := lookup(s, tt.dst)
			if got != tt.want {
				t.Fatalf("Lookup(%s) = %d, want %d", tt.dst, got, tt.want)
			}
			if h := s.Hop(got); h.Valid || h.Port != NoPort {
				t.Errorf("Hop(%d) = %+v, want an invalid hop of no port", got, h)
			}
		})
	}
}

func TestLookupOfNextHop(t *testing.T) {
	gw := func(f func(*NextHop)) NextHop {
		h := NextHop{Port: 1, Ifindex: ifExternal, Gateway: netip.MustParseAddr("203.0.113.1"), MTU: 1500,
			Source: netip.MustParseAddr("203.0.113.5"), SrcMAC: macExternal, DstMAC: macGateway, Valid: true}
		f(&h)
		return h
	}
	in := func(f func(*NextHop)) NextHop {
		h := NextHop{Port: 0, Ifindex: ifInternal, MTU: 1500, SrcMAC: macInternal,
			Source: netip.MustParseAddr("10.1.0.1")}
		f(&h)
		return h
	}
	same := func(*NextHop) {}
	def := testRoute("0.0.0.0/0", via("203.0.113.1"))
	gateway := func(st *state) { st.reachable(ifExternal, "203.0.113.1", macGateway) }
	tests := []struct {
		name   string
		routes []route
		change func(*state)
		dst    string
		want   NextHop
	}{
		{"default", []route{def}, gateway, "8.8.8.8", gw(same)},
		{"gateway-unresolved", []route{def}, nil, "8.8.8.8", gw(func(h *NextHop) { h.Valid, h.DstMAC = false, [6]byte{} })},
		{"gateway-failed", []route{def}, func(st *state) {
			st.setNeighbour(neighKey{ifExternal, netip.MustParseAddr("203.0.113.1")}, neighbour{state: unix.NUD_FAILED})
		}, "8.8.8.8", gw(func(h *NextHop) { h.Valid, h.DstMAC = false, [6]byte{} })},
		{"neighbour-of-another-interface-does-not-count", []route{def}, func(st *state) { st.reachable(ifOther, "203.0.113.1", macGateway) }, "8.8.8.8", gw(func(h *NextHop) { h.Valid, h.DstMAC = false, [6]byte{} })},
		{"link-down", []route{def}, func(st *state) { gateway(st); st.links[1].up = false }, "8.8.8.8", gw(func(h *NextHop) { h.Valid, h.DstMAC = false, [6]byte{} })},
		{"lowest-metric-wins", []route{testRoute("8.0.0.0/8", via("10.1.0.9"), dev(ifInternal), metric(20)), testRoute("8.0.0.0/8", via("203.0.113.1"), metric(10))}, gateway, "8.8.8.8", gw(same)},
		{"host-route-beats-default", []route{testRoute("0.0.0.0/0", via("10.1.0.9"), dev(ifInternal)), testRoute("8.8.8.8/32", via("203.0.113.1"))}, gateway, "8.8.8.8", gw(same)},
		{"route-mtu", []route{testRoute("8.0.0.0/8", via("203.0.113.1"), func(r *route) { r.mtu = 1400 })}, gateway, "8.8.8.8", gw(func(h *NextHop) { h.MTU = 1400 })},
		{"route-mtu-above-the-link", []route{testRoute("8.0.0.0/8", via("203.0.113.1"), func(r *route) { r.mtu = 9000 })}, gateway, "8.8.8.8", gw(same)},
		{"ipv4-via-ipv6", []route{testRoute("8.0.0.0/8", via("fe80::9"))}, func(st *state) { st.reachable(ifExternal, "fe80::9", macGateway) }, "8.8.8.8", gw(func(h *NextHop) { h.Gateway = netip.MustParseAddr("fe80::9") })},
		{"source-in-the-subnet-of-the-gateway", []route{def}, func(st *state) {
			gateway(st)
			st.addrs = append([]address{{ifindex: ifExternal, prefix: netip.MustParsePrefix("198.51.100.1/24")}}, st.addrs...)
		}, "8.8.8.8", gw(same)},
		{"on-link-unresolved", nil, nil, "10.1.0.7", in(same)},
		{"on-link-resolved", nil, func(st *state) { st.reachable(ifInternal, "10.1.0.7", macHost) }, "10.1.0.7", in(func(h *NextHop) { h.Valid, h.DstMAC, h.Gateway = true, macHost, netip.MustParseAddr("10.1.0.7") })},
		{"on-link-ipv6-resolved", nil, func(st *state) { st.reachable(ifInternal, "fd01::7", macHost) }, "fd01::7", in(func(h *NextHop) { h.Valid, h.DstMAC, h.Gateway = true, macHost, netip.MustParseAddr("fd01::7") })},
		{"on-link-ipv6-unresolved", nil, nil, "fd01::7", in(same)},
		{"default-route-without-gateway", []route{testRoute("0.0.0.0/0", dev(ifInternal))}, func(st *state) { st.reachable(ifInternal, "8.8.8.8", macHost) }, "8.8.8.8", in(func(h *NextHop) { h.Valid, h.DstMAC, h.Gateway = true, macHost, netip.MustParseAddr("8.8.8.8") })},
		{"host-route-via-gateway-inside-connected-net", []route{testRoute("10.1.0.7/32", via("203.0.113.1"))}, func(st *state) { gateway(st); st.reachable(ifInternal, "10.1.0.7", macHost) }, "10.1.0.7", gw(same)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newTestState()
			for _, r := range tt.routes {
				st.putRoute(r)
			}
			if tt.change != nil {
				tt.change(st)
			}
			s := mustBuild(t, st, nil, false)
			id := lookup(s, tt.dst)
			if got := *s.Hop(id); id < FirstHop || got != tt.want {
				t.Errorf("Lookup(%s) = %d\n got %+v\nwant %+v", tt.dst, id, got, tt.want)
			}
		})
	}
}

func TestNeighbourOfHop(t *testing.T) {
	st := newTestState()
	st.putRoute(testRoute("0.0.0.0/0", via("203.0.113.1")))
	s := mustBuild(t, st, nil, false)
	for dst, want := range map[string]string{"10.1.0.7": "10.1.0.7", "8.8.8.8": "203.0.113.1"} {
		if got := s.Hop(lookup(s, dst)).Neighbour(netip.MustParseAddr(dst)); got.String() != want {
			t.Errorf("neighbour of %s = %s, want %s", dst, got, want)
		}
	}
}

func TestPrimaryAddress(t *testing.T) {
	st := newTestState()
	st.addrs = []address{
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("169.254.1.1/16"), scope: unix.RT_SCOPE_LINK},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("203.0.113.6/24"), flags: unix.IFA_F_SECONDARY},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("203.0.113.7/24")},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("203.0.113.8/25")},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("2001:db8::1/64"), flags: unix.IFA_F_TENTATIVE},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("2001:db8::2/64")},
		{ifindex: ifExternal, prefix: netip.MustParsePrefix("fe80::1/64"), scope: unix.RT_SCOPE_LINK},
	}
	s := mustBuild(t, st, nil, false)
	if got := s.PrimaryAddr(1).String(); got != "203.0.113.7" {
		t.Errorf("PrimaryAddr = %s, want the first global one that is not secondary", got)
	}
	if got := s.PrimaryAddr6(1).String(); got != "2001:db8::2" {
		t.Errorf("PrimaryAddr6 = %s, want the first usable global one", got)
	}
	if s.PrimaryAddr(0).IsValid() || s.PrimaryAddr(77).IsValid() || s.LinkUp(77) || s.Port(77) != nil {
		t.Error("a port without address or an unknown port has one")
	}
	if n := len(s.LocalAddrs()); n != len(st.addrs) {
		t.Errorf("%d local addresses, want %d", n, len(st.addrs))
	}
}

func TestGenAndIDs(t *testing.T) {
	gateway := neighKey{ifExternal, netip.MustParseAddr("203.0.113.1")}
	tests := []struct {
		name    string
		change  func(*state) effect
		reuse   bool
		bumped  bool
		samePtr bool
	}{
		{"nothing", func(*state) effect { return effectNone }, false, false, true},
		{"reachable-to-stale", func(st *state) effect {
			return st.setNeighbour(gateway, neighbour{unix.NUD_STALE, macGateway})
		}, true, false, true},
		{"other-mac", func(st *state) effect {
			return st.setNeighbour(gateway, neighbour{unix.NUD_REACHABLE, macHost})
		}, true, true, false},
		{"failed", func(st *state) effect { return st.setNeighbour(gateway, neighbour{state: unix.NUD_FAILED}) }, true, true, false},
		{"deleted", func(st *state) effect { return st.deleteNeighbour(gateway) }, true, true, false},
		{"new-neighbour", func(st *state) effect {
			return st.setNeighbour(neighKey{ifInternal, netip.MustParseAddr("10.1.0.7")}, neighbour{unix.NUD_REACHABLE, macHost})
		}, true, true, false},
		{"incomplete-neighbour-of-a-scan", func(st *state) effect {
			return st.setNeighbour(neighKey{ifInternal, netip.MustParseAddr("10.1.0.7")}, neighbour{state: unix.NUD_INCOMPLETE})
		}, true, false, true},
		{"new-route", func(st *state) effect { return st.addRoute(testRoute("8.0.0.0/8", via("203.0.113.2")), 0) }, false, true, false},
		{"more-specific-route-to-the-same-hop", func(st *state) effect { return st.addRoute(testRoute("8.0.0.0/8", via("203.0.113.1")), 0) }, false, true, false},
		{"route-that-loses", func(st *state) effect {
			return st.addRoute(testRoute("0.0.0.0/0", via("203.0.113.1"), metric(500)), 0)
		}, false, false, true},
		{"address-lifetime-or-order", func(st *state) effect {
			st.addrs = append(st.addrs, address{ifindex: ifOther, prefix: netip.MustParsePrefix("192.168.9.2/24")})
			return effectChanged
		}, false, false, false},
		{"link-mtu", func(st *state) effect { st.links[1].mtu = 1400; return effectChanged }, false, true, false},
		{"link-down", func(st *state) effect { st.links[1].up = false; return effectChanged }, false, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := newTestState()
			st.putRoute(testRoute("0.0.0.0/0", via("203.0.113.1")))
			st.setNeighbour(gateway, neighbour{unix.NUD_REACHABLE, macGateway})
			before := mustBuild(t, st, nil, false)
			id := lookup(before, "1.1.1.1")
			if e := tt.change(st); tt.reuse && (e == effectChanged) != tt.bumped {
				t.Errorf("effect = %d, want a change: %v", e, tt.bumped)
			}
			after := mustBuild(t, st, before, tt.reuse)
			if (after.Gen() != before.Gen()) != tt.bumped {
				t.Errorf("Gen %d to %d, want a change: %v", before.Gen(), after.Gen(), tt.bumped)
			}
			if (after == before) != tt.samePtr {
				t.Errorf("same snapshot: %v, want %v", after == before, tt.samePtr)
			}
			if got := lookup(after, "1.1.1.1"); got != id {
				t.Errorf("id of the default gateway changed from %d to %d", id, got)
			}
		})
	}
}

// A full id space must not panic or answer with a wrong hop, and the ids of
// vanished hops must come back.
func TestHopIDsRunOut(t *testing.T) {
	st := newTestState()
	for i := range maxHops + 10 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		st.putRoute(route{key: routeKey{table: unix.RT_TABLE_MAIN, dst: dst}, kind: unix.RTN_UNICAST, ifindex: ifInternal, gateway: a})
	}
	for i := range 10 { // the last ones get gateways that are their own
		a := netip.AddrFrom4([4]byte{10, 2, 0, byte(i)})
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{21, 0, 0, byte(i)}), 32)
		st.putRoute(route{key: routeKey{table: unix.RT_TABLE_MAIN, dst: dst}, kind: unix.RTN_UNICAST, ifindex: ifInternal, gateway: a})
	}
	s, complete := build(st, testPorts, nil, false)
	if complete {
		t.Fatal("build of too many hops says that it is complete")
	}
	if n := len(s.hops); n > maxHops {
		t.Fatalf("%d hops", n)
	}
	small := newTestState()
	after, complete := build(small, testPorts, s, false)
	if !complete || len(after.hops) > 20 || after.Gen() == s.Gen() {
		t.Errorf("after the hops vanished: complete %v, %d hops, Gen %d to %d; want few and another Gen",
			complete, len(after.hops), s.Gen(), after.Gen())
	}
}

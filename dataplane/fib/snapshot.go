package fib

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Answers of a lookup that are not next hops. They are smaller than FirstHop.
const (
	// HopNone means that no route covers the destination (or a throw route).
	HopNone uint16 = iota
	// HopBlackhole means a blackhole route: drop silently.
	HopBlackhole
	// HopUnreachable means an unreachable route: host unreachable.
	HopUnreachable
	// HopProhibit means a prohibit route: administratively prohibited.
	HopProhibit
	// HopNotPort means a route through an interface that is not one of ours.
	HopNotPort
	// HopLocal means an address of this machine.
	HopLocal
	// HopLinkScope means a broadcast, multicast or IPv6 link-local
	// destination, which no router forwards.
	HopLinkScope
	// FirstHop is the smallest id of a real next hop.
	FirstHop
)

// NoPort is the Port of a hop that is not a real next hop.
const NoPort uint16 = 0xffff

// maxHops bounds the hop ids: 1 << 16.
const maxHops = 1 << 16

// NextHop says how a packet leaves. It is immutable.
type NextHop struct {
	// Gateway is the neighbour that gets the packet. It may be of the other
	// family. The zero Addr means the packet's own destination (on-link and
	// not resolved); see Neighbour.
	Gateway netip.Addr
	// Source is the IPv4 address that the kernel's masquerade picks for this
	// hop: the port's address in the subnet of Gateway, else its first one
	// (net/ipv4/devinet.c, inet_select_addr). A route's prefsrc does not matter,
	// as with the kernel's masquerade. Zero if the port has none.
	Source netip.Addr
	// Ifindex is the kernel's index of the output interface; 0 = it does not
	// exist now.
	Ifindex int
	// Port is our number of the output interface.
	Port uint16
	// MTU is the highest size of an IP packet in bytes: the smaller of the
	// link's MTU and the route's mtu metric.
	MTU uint16
	// DstMAC is the neighbour's hardware address; zero unless Valid. It and
	// SrcMAC are in the order of an Ethernet header.
	DstMAC [6]byte
	// SrcMAC is the port's hardware address.
	SrcMAC [6]byte
	// Valid reports that the link is up and the neighbour resolved.
	Valid bool
}

// Neighbour returns the address to be resolved for a packet to dst: the
// gateway, or dst itself on an on-link route.
func (h *NextHop) Neighbour(dst netip.Addr) netip.Addr {
	if h.Gateway.IsValid() {
		return h.Gateway
	}
	return dst
}

// PortState is what the kernel says about one of our ports. It is immutable.
type PortState struct {
	// Name is the interface name.
	Name string
	// Number is our number of the port.
	Number uint16
	// MTU is the link's MTU in bytes.
	MTU uint16
	// Ifindex is the kernel's interface index; 0 = no such interface now. An
	// interface that was deleted and made again has a new one.
	Ifindex int
	// MAC is the interface's hardware address.
	MAC [6]byte
	// Up reports that the link is administratively up and has a carrier.
	Up bool
	// Addr4 is the primary IPv4 address: the first that is not secondary and
	// has global scope. Zero = none. Masquerade uses NextHop.Source.
	Addr4 netip.Addr
	// Addr6 is the first usable global IPv6 address. Zero = none.
	Addr6 netip.Addr
}

// LocalAddr is an address of this machine.
type LocalAddr struct {
	// Prefix is the address with the length of its network.
	Prefix netip.Prefix
	// Ifindex is the interface that holds it (any, not only a port).
	Ifindex int
	// Port is the number of that interface, or NoPort.
	Port uint16
}

// onLink marks a value of the route table as an on-link route: the low 16 bits
// are the id for unresolved destinations.
const onLink = 1 << 16

// Snapshot is one consistent, immutable view. All methods may be called from
// any goroutine at any time.
type Snapshot struct {
	gen      uint32
	routes   *bart.Fast[uint32]      // prefix to hop id, with onLink
	near4    map[uint32]uint16       // resolved on-link neighbours to hop id
	near6    map[[2]uint64]uint16    // the same for IPv6: high, low
	hops     []NextHop               // by id; ids of vanished hops stay, invalid
	ids      map[hopKey]uint16       // what the ids stand for
	gateways map[uint16]struct{}     // ids that routes with a gateway lead to
	ports    []PortState             // in the order of Options.Ports
	index    []int16                 // port number to index of ports; -1 = none
	local    []LocalAddr             // in the kernel's order
	used     *[maxHops]atomic.Uint32 // of the Mirror, shared by all its snapshots
}

// Gen returns the generation of the answers; see the package comment. It is
// never 0, so that 0 can mean "nothing cached".
func (s *Snapshot) Gen() uint32 { return s.gen }

// Lookup4 returns the hop id for an IPv4 destination in host order, or one of
// the answers below FirstHop.
//
// Hot: once per new flow direction, and per flow after Gen changed. 0
// allocations; one longest prefix match, and one map access if on-link.
func (s *Snapshot) Lookup4(addr uint32) uint16 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], addr)
	v, _ := s.routes.Lookup(netip.AddrFrom4(b))
	if v&onLink != 0 {
		if id, ok := s.near4[addr]; ok {
			return id
		}
	}
	return uint16(v)
}

// Lookup6 returns the hop id for an IPv6 destination, given as the high and
// low half in host order, or one of the answers below FirstHop.
//
// Hot: as Lookup4.
func (s *Snapshot) Lookup6(hi, lo uint64) uint16 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	v, _ := s.routes.Lookup(netip.AddrFrom16(b))
	if v&onLink != 0 {
		if id, ok := s.near6[[2]uint64{hi, lo}]; ok {
			return id
		}
	}
	return uint16(v)
}

// Hop returns the hop with this id. An id below FirstHop, or one of a later
// snapshot, gives a hop that is not Valid and has Port NoPort.
func (s *Snapshot) Hop(id uint16) *NextHop {
	if int(id) >= len(s.hops) {
		return &s.hops[HopNone]
	}
	return &s.hops[id]
}

// MarkUsed tells the keep-alive that packets are sent by this hop. The tick is
// any clock of the caller that advances once in a second or so: the keep-alive
// only looks whether the value changed.
//
// Hot: once per hop and burst, or per packet. One load; one store per tick.
func (s *Snapshot) MarkUsed(id uint16, tick uint32) {
	if u := &s.used[id]; u.Load() != tick {
		u.Store(tick)
	}
}

// Ports returns the state of all ports in the order of Options.Ports. The
// caller must not change it.
func (s *Snapshot) Ports() []PortState { return s.ports }

// Port returns the state of the port with this number, or nil.
func (s *Snapshot) Port(number uint16) *PortState {
	if int(number) >= len(s.index) || s.index[number] < 0 {
		return nil
	}
	return &s.ports[s.index[number]]
}

// LinkUp reports whether the port exists, is up and has a carrier.
func (s *Snapshot) LinkUp(number uint16) bool {
	p := s.Port(number)
	return p != nil && p.Up
}

// PrimaryAddr returns the primary IPv4 address of the port, or the zero Addr.
func (s *Snapshot) PrimaryAddr(number uint16) netip.Addr {
	if p := s.Port(number); p != nil {
		return p.Addr4
	}
	return netip.Addr{}
}

// PrimaryAddr6 returns the first usable global IPv6 address of the port, or
// the zero Addr.
func (s *Snapshot) PrimaryAddr6(number uint16) netip.Addr {
	if p := s.Port(number); p != nil {
		return p.Addr6
	}
	return netip.Addr{}
}

// LocalAddrs returns the addresses of all interfaces of the namespace. The
// caller must not change it.
func (s *Snapshot) LocalAddrs() []LocalAddr { return s.local }

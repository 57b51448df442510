package memory

import (
	"fmt"
	"net/netip"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

// Ports of the gateway under test.
const (
	internal = 0
	external = 1
)

// macs are the MAC addresses on either side: of the gateway's port, and of the
// only station that it talks to there.
type macs struct{ gateway, station [2][6]byte }

func fixedMACs() macs {
	return macs{
		gateway: [2][6]byte{{2, 0, 10, 0, 0, 1}, {2, 0, 203, 0, 113, 1}},
		station: [2][6]byte{{2, 0, 10, 0, 0, 9}, {2, 0, 203, 0, 113, 9}},
	}
}

// network is a router with hosts behind a gateway on either side.
func network() *fib.Mirror {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	m := fixedMACs()
	return fib.NewFixed([]fib.FixedPort{
		{Number: internal, MAC: m.gateway[0], MTU: 1500, Addrs: []netip.Prefix{p("192.168.0.1/24")}},
		{Number: external, MAC: m.gateway[1], MTU: 1500, Addrs: []netip.Prefix{p("203.0.113.1/24")}},
	}, []fib.FixedRoute{
		{Dst: p("10.0.0.0/8"), Port: internal, Gateway: a("192.168.0.9"), MAC: m.station[0]},
		{Dst: p("0.0.0.0/0"), Port: external, Gateway: a("203.0.113.9"), MAC: m.station[1]},
	})
}

// Addresses of the flows, IPv4 in host order.
const (
	insideHosts  = 0x0a000001 // clients, or servers behind rules: 10.0.0.1 and on
	outsideHosts = 0x10000001 // clients of the rules: 16.0.0.1 and on
	servers      = 0xcb007200 // 256 of them: 203.0.114.0 and on
	poolFirst    = 0xc6336400 // external addresses of pools and rules: 198.51.100.0 and on

	flowsPerClient = 64
	rules          = 64
	serverPort     = 443
	insidePort     = 8443 // of the servers behind rules
	firstPort      = 1024
	portCount      = 1<<16 - firstPort
)

// poolRange is a pool of this many addresses in the form of --snat.
func poolRange(addrs int) string {
	return fmt.Sprintf("%v-%v", addrOf(poolFirst), addrOf(poolFirst+uint32(addrs)-1))
}

func addrOf(a uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)})
}

// policy is the configuration that a set asks for; the pool has this many
// addresses.
func (s Set) policy(addrs int) (nat.Config, error) {
	var c nat.Config
	switch s.NAT {
	case natNone:
	case natSource:
		pool, err := nat.ParseSNAT(poolRange(addrs))
		if err != nil {
			return c, err
		}
		c.SNAT = []nat.Pool{pool}
	case natDestination:
		for i := range uint32(rules) {
			c.DNAT = append(c.DNAT, nat.DNATRule{Proto: s.protocol(),
				Addr: addrOf(poolFirst + i), Port: serverPort, ToAddr: addrOf(insideHosts + i), ToPort: insidePort})
		}
	default:
		return c, fmt.Errorf("unknown translation %q", s.NAT)
	}
	return c, nil
}

// tuple is one direction of an IPv4 flow in 12 bytes, host order: generators of
// 10 M flows have to keep 20 M of them.
type tuple struct {
	src, dst         uint32
	srcPort, dstPort uint16
}

// pack keeps what tells a flow of the generator from its others.
func pack(t *flowtable.Tuple) tuple {
	return tuple{uint32(t.Src.Lo), uint32(t.Dst.Lo), t.SrcPort, t.DstPort}
}

// tupleOf is the original tuple of the i-th flow: 64 flows of each client, from
// ports of all classes above 1023, to 256 servers or 64 rules.
func (s Set) tupleOf(i int) tuple {
	client := uint32(i / flowsPerClient)
	// 997 has no factor in common with portCount: a client's ports differ.
	t := tuple{
		src: insideHosts + client, srcPort: uint16(firstPort + (client*40503%portCount+uint32(i%flowsPerClient)*997)%portCount),
		dst: servers + (uint32(i)*7+client)&255, dstPort: serverPort,
	}
	if s.NAT == natDestination {
		t.src, t.dst = outsideHosts+client, poolFirst+uint32(i)%rules
	}
	return t
}

// originalPort is the port that a flow's original direction comes in by.
func (s Set) originalPort() int {
	if s.NAT == natDestination {
		return external
	}
	return internal
}

// newGateway makes the gateway of a set, with room for this many flows.
func (s Set) newGateway(room int, c nat.Config, timeouts flowtable.Timeouts) (*dataplane.Memory, error) {
	tracker := flowtable.NewTracker()
	tracker.Timeouts = timeouts
	m, err := dataplane.NewMemory(dataplane.Options{
		Ports:    []dataplane.PortOptions{{Name: "internal", Realm: nat.RealmInternal}, {Name: "external", Realm: nat.RealmExternal}},
		NAT:      c,
		MaxFlows: room, Tracker: tracker, HugePages: dataplane.HugePagesAuto, Accounting: s.Counted, SkipChecksums: s.Trusted,
	}, network())
	if err != nil {
		return nil, err
	}
	m.Burst(0) // fills the fill rings
	return m, nil
}

// longTimeouts keep flows alive that wait for their turn in a long run.
func longTimeouts() flowtable.Timeouts {
	t := flowtable.LinuxTimeouts()
	t.UDP, t.UDPStream = t.TCP[flowtable.TCPEstablished], t.TCP[flowtable.TCPEstablished]
	return t
}

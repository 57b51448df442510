package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Ports of the gateway under test.
const (
	internal = 0
	external = 1
)

var (
	gatewayMAC = [2][6]byte{{2, 0, 10, 0, 0, 1}, {2, 0, 203, 0, 113, 1}}
	stationMAC = [2][6]byte{{2, 0, 10, 0, 0, 9}, {2, 0, 203, 0, 113, 9}}
)

// network is a router with hosts behind a gateway on either side.
func network() *fib.Mirror {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	return fib.NewFixed([]fib.FixedPort{
		{Number: internal, MAC: gatewayMAC[0], MTU: 1500, Addrs: []netip.Prefix{p("192.168.0.1/24")}},
		{Number: external, MAC: gatewayMAC[1], MTU: 1500, Addrs: []netip.Prefix{p("203.0.113.1/24")}},
	}, []fib.FixedRoute{
		{Dst: p("10.0.0.0/8"), Port: internal, Gateway: a("192.168.0.9"), MAC: stationMAC[0]},
		{Dst: p("0.0.0.0/0"), Port: external, Gateway: a("203.0.113.9"), MAC: stationMAC[1]},
	})
}

// traffic is a gateway in memory and packets of its flows.
type traffic struct {
	*dataplane.Memory
	proto uint8
	flows []flowtable.Snapshot // of all flows; empty while they are made
	rng   *rand.Rand
	descs [dataplane.BurstSize]xsk.Desc
	frame [64]byte // 60 bytes and 4 of FCS, which never reach memory
}

// newTraffic makes a gateway with room for n flows.
func newTraffic(b *testing.B, n int, proto uint8, snat bool) *traffic {
	b.Helper()
	o := dataplane.Options{
		Ports:    []dataplane.PortOptions{{Name: "internal", Realm: nat.RealmInternal}, {Name: "external", Realm: nat.RealmExternal}},
		MaxFlows: n, HugePages: dataplane.HugePagesAuto, RingSize: 512,
	}
	if snat {
		pool, err := nat.ParseSNAT("198.51.100.0-198.51.103.255")
		if err != nil {
			b.Fatal(err)
		}
		o.NAT.SNAT = []nat.Pool{pool}
	}
	m, err := dataplane.NewMemory(o, network())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.Close(); err != nil {
			b.Error(err)
		}
	})
	m.Burst(0) // fills the fill rings
	return &traffic{Memory: m, proto: proto, rng: rand.New(rand.NewPCG(1, uint64(n)))}
}

// tupleOf is the original tuple of the i-th flow: 64 flows a client, to one
// of 256 servers.
func (t *traffic) tupleOf(i int) flowtable.Tuple {
	return flowtable.Tuple{
		Src: packet.Addr{Lo: 0x0a000000 + uint64(i>>6) + 1}, SrcPort: uint16(1024 + i&63*997),
		Dst: packet.Addr{Lo: 0xcb007200 + uint64(i&255)}, DstPort: 443,
		Proto: t.proto, Family: packet.IPv4,
	}
}

// put delivers one packet with this tuple. All checksums are right.
func (t *traffic) put(port int, tu *flowtable.Tuple, flags uint8) {
	n := t.build(port, tu, flags)
	if t.Wires[port][0].Deliver(t.frame[:n]) != 1 {
		panic("bench: the wire is full")
	}
}

// build writes a minimal packet to t.frame and returns its length.
func (t *traffic) build(port int, tu *flowtable.Tuple, flags uint8) int {
	f := t.frame[:]
	packet.Ethernet(f).SetAddrs(&gatewayMAC[port], &stationMAC[port])
	binary.BigEndian.PutUint16(f[12:], packet.EtherTypeIPv4)
	ip := packet.IPv4Header(f[14:])
	clear(f[14:])
	ip[0], ip[8], ip[9] = 0x45, 64, t.proto
	binary.BigEndian.PutUint16(ip[2:], 46)
	ip.SetSrc(tu.Src)
	ip.SetDst(tu.Dst)
	ip.SetChecksum(packet.Fold(packet.Sum(ip[:20], 0)))
	l4 := f[34:60]
	if t.proto == packet.ProtoTCP {
		h := packet.TCP(l4)
		h.SetSrcPort(tu.SrcPort)
		h.SetDstPort(tu.DstPort)
		h[12], h[13] = 0x50, flags
		h.SetChecksum(packet.Fold(packet.Sum(l4, packet.PseudoSum(packet.IPv4, tu.Src, tu.Dst, t.proto, len(l4)))))
	} else {
		h := packet.UDP(l4)
		h.SetSrcPort(tu.SrcPort)
		h.SetDstPort(tu.DstPort)
		h.SetLength(uint16(len(l4)))
		h.SetChecksum(packet.Fold(packet.Sum(l4, packet.PseudoSum(packet.IPv4, tu.Src, tu.Dst, t.proto, len(l4)))))
	}
	return 60
}

// drain takes what was sent off the wires and returns the number of packets.
func (t *traffic) drain() int {
	total := 0
	for _, wires := range t.Wires {
		for {
			n := wires[0].Collect(t.descs[:])
			wires[0].Complete(t.descs[:n])
			total += n
			if n < len(t.descs) {
				break
			}
		}
	}
	return total
}

// establish makes n flows, with an answer each, and reads their tuples back.
func (t *traffic) establish(b *testing.B, n int) {
	b.Helper()
	table := t.Tables()[0]
	send := func(port int, flags uint8, tuple func(i int) flowtable.Tuple) {
		for i := 0; i < n; i += dataplane.BurstSize {
			for k := i; k < min(n, i+dataplane.BurstSize); k++ {
				tu := tuple(k)
				t.put(port, &tu, flags)
			}
			t.Burst(0)
			t.drain()
		}
	}
	send(internal, packet.SYN, t.tupleOf)
	t.flows = make([]flowtable.Snapshot, 0, n)
	var s flowtable.Snapshot
	for idx := uint32(1); idx <= table.HighWater(); idx++ {
		if table.Read(idx, t.Now(), &s) {
			t.flows = append(t.flows, s)
		}
	}
	if len(t.flows) != n {
		b.Fatalf("%d flows were made, want %d", len(t.flows), n)
	}
	send(external, packet.SYN|packet.ACK, func(i int) flowtable.Tuple { return t.flows[i].Reply })
	send(internal, packet.ACK, func(i int) flowtable.Tuple { return t.flows[i].Orig })
}

// random delivers a burst of packets of random flows, in either direction.
func (t *traffic) random() {
	for range dataplane.BurstSize / 2 {
		s := &t.flows[t.rng.IntN(len(t.flows))]
		t.put(internal, &s.Orig, packet.ACK)
		s = &t.flows[t.rng.IntN(len(t.flows))]
		t.put(external, &s.Reply, packet.ACK)
	}
}

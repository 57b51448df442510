package dataplane

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// The network of these tests, the same as in scripts/lab: a client and a
// server with the gateway between them. Ports of the gateway: lan and wan.
const (
	lan = 0
	wan = 1
)

var (
	clientAddr  = netip.MustParseAddr("10.1.2.3")
	client2Addr = netip.MustParseAddr("10.1.2.4")
	serverAddr  = netip.MustParseAddr("203.0.113.47")
	poolAddr    = netip.MustParseAddr("198.51.100.32")
	lanAddr     = netip.MustParseAddr("10.1.2.1")
	wanAddr     = netip.MustParseAddr("203.0.113.1")
	client6Addr = netip.MustParseAddr("fd00:1:2::3")
	server6Addr = netip.MustParseAddr("2001:db8:113::47")

	clientMAC = net.HardwareAddr{2, 0, 10, 1, 2, 3}
	lanMAC    = net.HardwareAddr{2, 0, 10, 1, 2, 1}
	wanMAC    = net.HardwareAddr{2, 0, 203, 0, 113, 1}
	serverMAC = net.HardwareAddr{2, 0, 203, 0, 113, 47}
)

// path is a gateway in memory under test.
type path struct {
	*Memory
	t     testing.TB
	queue func(port int, frame []byte) int // that a frame comes to; nil = 0
	descs [BurstSize]xsk.Desc              // of drain
}

// newPath makes a gateway in memory; change may adapt its options.
func newPath(t testing.TB, change func(*Options)) *path {
	t.Helper()
	pool, err := nat.ParseSNAT(poolAddr.String())
	if err != nil {
		t.Fatal(err)
	}
	spec, err := helpers.ParseSpec("ftp")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Ports:    []PortOptions{{"lan", nat.RealmInternal}, {"wan", nat.RealmExternal}},
		NAT:      nat.Config{SNAT: []nat.Pool{pool}},
		Helpers:  helpers.NewSet(spec),
		MaxFlows: 4096,
		RingSize: 256,
	}
	if change != nil {
		change(&o)
	}
	m, err := NewMemory(o, fib.NewFixed(testNetwork(nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &path{Memory: m, t: t}
	p.run() // the first round fills the fill rings
	return p
}

func mac(m net.HardwareAddr) [6]byte { return [6]byte(m) }

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// testNetwork is what the kernel would say of the network; change may make it
// another one.
func testNetwork(change func(ports []fib.FixedPort, routes []fib.FixedRoute)) ([]fib.FixedPort, []fib.FixedRoute) {
	host := func(a netip.Addr, port uint16, m net.HardwareAddr) fib.FixedRoute {
		return fib.FixedRoute{Dst: netip.PrefixFrom(a, a.BitLen()), Port: port, Gateway: a, MAC: mac(m)}
	}
	ports := []fib.FixedPort{
		{Number: lan, MAC: mac(lanMAC), MTU: 1500, Addrs: []netip.Prefix{prefix("10.1.2.1/24"), prefix("fd00:1:2::1/64")}},
		{Number: wan, MAC: mac(wanMAC), MTU: 1400, Addrs: []netip.Prefix{prefix("203.0.113.1/24"), prefix("2001:db8:113::1/64")}},
	}
	routes := []fib.FixedRoute{
		host(serverAddr, wan, serverMAC), host(clientAddr, lan, clientMAC), host(client2Addr, lan, clientMAC),
		host(client6Addr, lan, clientMAC), host(server6Addr, wan, serverMAC),
		{Dst: prefix("192.0.2.0/24"), Blackhole: true},
		{Dst: prefix("198.18.0.0/15"), Port: 9, Gateway: netip.MustParseAddr("198.18.0.1")},
	}
	if change != nil {
		change(ports, routes)
	}
	return ports, routes
}

// rewire changes the network under the gateway.
func (p *path) rewire(change func(ports []fib.FixedPort, routes []fib.FixedRoute)) {
	p.mirror.SetFixed(testNetwork(change))
}

// sent is a packet that the gateway put on a wire.
type sent struct {
	port  int
	frame []byte
}

// deliver puts frames on the wire of a port's queue without running a worker.
func (p *path) deliver(port, queue int, frames ...[]byte) {
	p.t.Helper()
	if n := p.Wires[port][queue].Deliver(frames...); n != len(frames) {
		p.t.Fatalf("wire took %d of %d frames", n, len(frames))
	}
}

// run lets all workers work until nothing moves, and returns what was sent.
func (p *path) run() []sent {
	p.t.Helper()
	for range 3 { // a hand-over to another worker takes a second round
		for w := range p.workers {
			for p.Burst(w) > 0 {
			}
		}
	}
	return p.collect()
}

// collect takes what was sent off the wires.
func (p *path) collect() []sent {
	var out []sent
	var descs [BurstSize]xsk.Desc
	for port, wires := range p.Wires {
		for _, w := range wires {
			for {
				n := w.Collect(descs[:])
				for _, d := range descs[:n] {
					out = append(out, sent{port, append([]byte(nil), p.umem.Bytes(d.Addr, d.Len)...)})
				}
				w.Complete(descs[:n])
				if n == 0 {
					break
				}
			}
		}
	}
	return out
}

// send delivers frames to the queue of a port that they are spread to, and
// returns what the gateway sent.
func (p *path) send(port int, frames ...[]byte) []sent {
	p.t.Helper()
	for _, f := range frames {
		queue := 0
		if p.queue != nil {
			queue = p.queue(port, f)
		}
		p.deliver(port, queue, f)
	}
	return p.run()
}

// counterValue reads one counter, summed over workers.
func (p *path) counterValue(name string) uint64 {
	p.t.Helper()
	total, found := uint64(0), false
	for _, w := range p.WorkerStats() {
		for _, c := range w.Counters {
			if c.Name == name {
				total, found = total+c.Value, true
			}
		}
	}
	if !found {
		p.t.Fatalf("no counter %s", name)
	}
	return total
}

// spec describes a packet to be built.
type spec struct {
	src, dst     netip.Addr
	sport, dport uint16
	ttl          uint8 // 0 = 64
	tcp          *layers.TCP
	icmp         *layers.ICMPv4
	icmp6        *layers.ICMPv6
	echo6        *layers.ICMPv6Echo
	proto        layers.IPProtocol // with neither: only a payload
	df           bool
	payload      []byte
}

// build makes a frame as the client (from lan) or the server (from wan) sends
// it; all checksums are right.
func build(t testing.TB, from int, s spec) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: lanMAC, EthernetType: layers.EthernetTypeIPv4}
	if from == wan {
		eth.SrcMAC, eth.DstMAC = serverMAC, wanMAC
	}
	ttl := s.ttl
	if ttl == 0 {
		ttl = 64
	}
	var network gopacket.NetworkLayer
	list := []gopacket.SerializableLayer{eth}
	transport, proto := s.transport()
	if s.src.Is4() {
		ip := &layers.IPv4{Version: 4, IHL: 5, TTL: ttl, Protocol: proto, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		if s.df {
			ip.Flags = layers.IPv4DontFragment
		}
		network, list = ip, append(list, ip)
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: proto, SrcIP: s.src.AsSlice(), DstIP: s.dst.AsSlice()}
		network, list = ip, append(list, ip)
	}
	for _, l := range transport {
		if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := c.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
		}
		list = append(list, l)
	}
	buf := gopacket.NewSerializeBuffer()
	list = append(list, gopacket.Payload(s.payload))
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// transport returns the layers above IP and the protocol number.
func (s *spec) transport() ([]gopacket.SerializableLayer, layers.IPProtocol) {
	switch {
	case s.tcp != nil:
		tcp := *s.tcp
		tcp.SrcPort, tcp.DstPort = layers.TCPPort(s.sport), layers.TCPPort(s.dport)
		if tcp.Window == 0 {
			tcp.Window = 65535
		}
		return []gopacket.SerializableLayer{&tcp}, layers.IPProtocolTCP
	case s.icmp != nil:
		return []gopacket.SerializableLayer{s.icmp}, layers.IPProtocolICMPv4
	case s.icmp6 != nil && s.echo6 != nil:
		return []gopacket.SerializableLayer{s.icmp6, s.echo6}, layers.IPProtocolICMPv6
	case s.icmp6 != nil:
		return []gopacket.SerializableLayer{s.icmp6}, layers.IPProtocolICMPv6
	case s.proto != 0:
		return nil, s.proto
	}
	return []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(s.sport), DstPort: layers.UDPPort(s.dport)}},
		layers.IPProtocolUDP
}

// check verifies that exactly one packet was sent, by the port wanted, with
// lengths and all checksums right, and returns it decoded.
func (p *path) check(out []sent, port int) gopacket.Packet {
	p.t.Helper()
	if len(out) != 1 {
		p.t.Fatalf("%d packets sent, want 1", len(out))
	}
	if out[0].port != port {
		p.t.Fatalf("sent by port %d, want %d", out[0].port, port)
	}
	return decode(p.t, out[0].frame)
}

// decode decodes a frame and verifies its checksums.
func decode(t testing.TB, frame []byte) gopacket.Packet {
	t.Helper()
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		t.Fatalf("frame does not parse: %x", frame)
	}
	var src, dst packet.Addr
	if h.Family == packet.IPv4 {
		ip := packet.IPv4Header(frame[h.L3:])
		if sum := packet.Fold(packet.Sum(ip[:ip.HeaderLen()], 0)); sum != 0 {
			t.Errorf("IP checksum is off by %04x", sum)
		}
		src, dst = ip.Src(), ip.Dst()
	} else {
		ip := packet.IPv6Header(frame[h.L3:])
		src, dst = ip.Src(), ip.Dst()
	}
	l4 := frame[h.L4:h.End]
	switch h.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMPv6:
		if sum := packet.Fold(packet.Sum(l4, packet.PseudoSum(h.Family, src, dst, h.Proto, len(l4)))); sum != 0 {
			t.Errorf("checksum of protocol %d is off by %04x", h.Proto, sum)
		}
	case packet.ProtoICMP:
		if sum := packet.Fold(packet.Sum(l4, 0)); sum != 0 {
			t.Errorf("ICMP checksum is off by %04x", sum)
		}
	}
	return gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
}

// endpoints returns the addresses and ports of a decoded IPv4 UDP or TCP
// packet as "src:port dst:port".
func endpoints(t testing.TB, pk gopacket.Packet) string {
	t.Helper()
	ip, ok := pk.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok {
		t.Fatalf("no IPv4: %v", pk)
	}
	var s, d uint16
	switch l := pk.TransportLayer().(type) {
	case *layers.UDP:
		s, d = uint16(l.SrcPort), uint16(l.DstPort)
	case *layers.TCP:
		s, d = uint16(l.SrcPort), uint16(l.DstPort)
	default:
		t.Fatalf("no ports: %v", pk)
	}
	src, _ := netip.AddrFromSlice(ip.SrcIP)
	dst, _ := netip.AddrFromSlice(ip.DstIP)
	return netip.AddrPortFrom(src, s).String() + " " + netip.AddrPortFrom(dst, d).String()
}

// advance moves the clock and lets every worker look at it.
func (p *path) advance(d time.Duration) []sent {
	p.Advance(d)
	return p.run()
}

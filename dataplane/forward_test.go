package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

func udp(sport, dport uint16) spec {
	return spec{src: clientAddr, dst: serverAddr, sport: sport, dport: dport, payload: []byte("hello")}
}

// answer is what the server sends back to the NAT address.
func answer(sport, dport uint16) spec {
	return spec{src: serverAddr, dst: poolAddr, sport: sport, dport: dport, payload: []byte("world")}
}

func TestSNATBothWays(t *testing.T) {
	p := newPath(t, nil)
	out := p.check(p.send(lan, build(t, lan, udp(7000, 53))), wan)
	if got, want := endpoints(t, out), "198.51.100.32:7000 203.0.113.47:53"; got != want {
		t.Errorf("request left as %s, want %s", got, want)
	}
	eth := out.LinkLayer().(*layers.Ethernet)
	if eth.SrcMAC.String() != wanMAC.String() || eth.DstMAC.String() != serverMAC.String() {
		t.Errorf("request left from %s to %s", eth.SrcMAC, eth.DstMAC)
	}
	if ttl := out.NetworkLayer().(*layers.IPv4).TTL; ttl != 63 {
		t.Errorf("TTL is %d, want 63", ttl)
	}
	back := p.check(p.send(wan, build(t, wan, answer(53, 7000))), lan)
	if got, want := endpoints(t, back), "203.0.113.47:53 10.1.2.3:7000"; got != want {
		t.Errorf("answer arrived as %s, want %s", got, want)
	}
	if n := p.counterValue("flows"); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
}

func TestTwoPacketsOfOneNewFlowInOneBurst(t *testing.T) {
	p := newPath(t, nil)
	out := p.send(lan, build(t, lan, udp(7000, 53)), build(t, lan, udp(7000, 53)))
	if len(out) != 2 {
		t.Fatalf("%d packets sent, want 2", len(out))
	}
	for _, s := range out {
		if got := endpoints(t, decode(t, s.frame)); got != "198.51.100.32:7000 203.0.113.47:53" {
			t.Errorf("left as %s", got)
		}
	}
	if n := p.counterValue("flows_new"); n != 1 {
		t.Errorf("%d flows made, want 1", n)
	}
}

// A flow that an early packet of a burst uses, and a later one evicts or ends,
// must not lend its record to a new flow while the early packet still needs
// it: it would leave with the new flow's addresses.
func TestEvictedFlowKeepsItsTranslationForThisBurst(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlows = 1 })
	p.send(lan, build(t, lan, udp(7000, 53)))
	frames := [][]byte{build(t, lan, udp(7000, 53))}
	want := []string{"198.51.100.32:7000 203.0.113.47:53"}
	for port := uint16(8000); len(frames) < BurstSize; port++ { // each evicts the one before
		frames = append(frames, build(t, lan, udp(port, 53)))
		want = append(want, fmt.Sprintf("198.51.100.32:%d 203.0.113.47:53", port))
	}
	out := p.send(lan, frames...)
	if len(out) != len(want) {
		t.Fatalf("%d packets sent, want %d", len(out), len(want))
	}
	for i, s := range out {
		if got := endpoints(t, decode(t, s.frame)); got != want[i] {
			t.Errorf("packet %d left as %s, want %s", i, got, want[i])
		}
	}
	if n := p.counterValue("early_drop"); n != BurstSize-1 {
		t.Errorf("%d flows evicted, want %d", n, BurstSize-1)
	}
}

func TestPingKeepsItsID(t *testing.T) {
	p := newPath(t, nil)
	echo := spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 77, Seq: 1}}
	out := p.check(p.send(lan, build(t, lan, echo)), wan)
	if ip := out.NetworkLayer().(*layers.IPv4); !ip.SrcIP.Equal(poolAddr.AsSlice()) {
		t.Errorf("echo request left from %s", ip.SrcIP)
	}
	reply := spec{src: serverAddr, dst: poolAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(0, 0), Id: 77, Seq: 1}}
	back := p.check(p.send(wan, build(t, wan, reply)), lan)
	if ip := back.NetworkLayer().(*layers.IPv4); !ip.DstIP.Equal(clientAddr.AsSlice()) {
		t.Errorf("echo reply went to %s", ip.DstIP)
	}
}

func TestDNATLeadsInAndBackOut(t *testing.T) {
	rule, err := nat.ParseDNAT("tcp:198.51.100.32:80=10.1.2.3:8080")
	if err != nil {
		t.Fatal(err)
	}
	p := newPath(t, func(o *Options) { o.NAT.DNAT = []nat.DNATRule{rule} })
	syn := spec{src: serverAddr, dst: poolAddr, sport: 5555, dport: 80, tcp: &layers.TCP{SYN: true, Seq: 1}}
	out := p.check(p.send(wan, build(t, wan, syn)), lan)
	if got, want := endpoints(t, out), "203.0.113.47:5555 10.1.2.3:8080"; got != want {
		t.Errorf("SYN arrived as %s, want %s", got, want)
	}
	synack := spec{src: clientAddr, dst: serverAddr, sport: 8080, dport: 5555, tcp: &layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2}}
	back := p.check(p.send(lan, build(t, lan, synack)), wan)
	if got, want := endpoints(t, back), "198.51.100.32:80 203.0.113.47:5555"; got != want {
		t.Errorf("SYN+ACK left as %s, want %s", got, want)
	}
}

func TestICMPErrorFollowsItsFlow(t *testing.T) {
	p := newPath(t, nil)
	request := p.send(lan, build(t, lan, udp(7000, 9)))
	quoted := request[0].frame[packet.EthernetLen:]
	unreachable := spec{src: serverAddr, dst: poolAddr, payload: quoted,
		icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}}
	before := p.workers[0].flows.table.Flow(1).LastSeen
	p.Advance(5 * time.Second)
	back := p.check(p.send(wan, build(t, wan, unreachable)), lan)
	if ip := back.NetworkLayer().(*layers.IPv4); !ip.DstIP.Equal(clientAddr.AsSlice()) {
		t.Errorf("error went to %s, want the client", ip.DstIP)
	}
	inner := back.Layer(layers.LayerTypeICMPv4).LayerPayload()
	h := packet.IPv4Header(inner)
	if packet.Fold(packet.Sum(h[:20], 0)) != 0 {
		t.Error("checksum of the quoted IP header is wrong")
	}
	if h.Src().Netip(packet.IPv4) != clientAddr || packet.UDP(inner[20:]).SrcPort() != 7000 {
		t.Errorf("quoted packet is from %s:%d", h.Src().Netip(packet.IPv4), packet.UDP(inner[20:]).SrcPort())
	}
	if p.workers[0].flows.table.Flow(1).LastSeen != before {
		t.Error("an ICMP error renewed the flow (RFC 5508 REQ-6)")
	}
}

// An error that quotes a packet of ours, but is sent to another address than the
// packet came from, is forged.
func TestICMPErrorToAnotherAddressIsInvalid(t *testing.T) {
	p := newPath(t, func(o *Options) { o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32-198.51.100.33")} })
	request := p.send(lan, build(t, lan, udp(7000, 9)))
	quoted := request[0].frame[packet.EthernetLen:]
	used := packet.IPv4Header(quoted).Src().Netip(packet.IPv4)
	other := poolAddr
	if other == used {
		other = poolAddr.Next()
	}
	forged := spec{src: serverAddr, dst: other, payload: quoted,
		icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}}
	if out := p.send(wan, build(t, wan, forged)); len(out) != 0 {
		t.Error("a forged error was forwarded")
	}
	if n := p.counterValue("invalid_icmp_error"); n != 1 {
		t.Errorf("%d packets counted as invalid_icmp_error, want 1", n)
	}
}

func TestTimeExceededQuotesThePacketAsSent(t *testing.T) {
	p := newPath(t, nil)
	s := udp(7000, 33434)
	s.ttl = 1
	frame := build(t, lan, s)
	out := p.check(p.send(lan, frame), lan)
	ip := out.NetworkLayer().(*layers.IPv4)
	icmp := out.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if !ip.SrcIP.Equal(lanAddr.AsSlice()) || !ip.DstIP.Equal(clientAddr.AsSlice()) || icmp.TypeCode.Type() != 11 {
		t.Errorf("got %s from %s to %s", icmp.TypeCode, ip.SrcIP, ip.DstIP)
	}
	if got := icmp.LayerPayload(); len(got) != 33 || !bytes.Equal(got, frame[packet.EthernetLen:][:33]) {
		t.Errorf("the quoted packet is %x, sent was %x", got, frame[packet.EthernetLen:])
	}
	if n := p.counterValue("flows_new"); n != 0 {
		t.Errorf("%d flows made by a packet that was not forwarded", n)
	}
}

func TestTooBigTellsTheMTUAndQuotesThePacketAsSent(t *testing.T) {
	p := newPath(t, nil)
	s := udp(7000, 53)
	s.df, s.payload = true, make([]byte, 1450) // the way out takes 1400
	frame := build(t, lan, s)
	out := p.check(p.send(lan, frame), lan)
	icmp := out.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || icmp.Seq != 1400 {
		t.Errorf("got %s with MTU %d, want fragmentation needed, 1400", icmp.TypeCode, icmp.Seq)
	}
	quoted := icmp.LayerPayload()
	if !bytes.Equal(quoted, frame[packet.EthernetLen:packet.EthernetLen+len(quoted)]) {
		t.Error("the quoted packet differs from the one sent")
	}
}

func TestIPv6IsForwardedUntranslated(t *testing.T) {
	p := newPath(t, nil)
	echo := spec{src: client6Addr, dst: server6Addr,
		icmp6: &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}, echo6: &layers.ICMPv6Echo{Identifier: 5}}
	p.check(p.send(lan, build(t, lan, echo)), wan)
	reply := spec{src: server6Addr, dst: client6Addr,
		icmp6: &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(129, 0)}, echo6: &layers.ICMPv6Echo{Identifier: 5}}
	p.check(p.send(wan, build(t, wan, reply)), lan)
	var s flowtable.Snapshot
	if !p.Tables()[0].Read(1, p.Now(), &s) || s.Status&flowtable.StatusSeenReply == 0 {
		t.Error("the reply did not find its flow")
	}
}

// Both directions may arrive on any queue: the packet reaches the worker that
// owns the flow, whatever that is.
func TestDirectionsOnDifferentQueues(t *testing.T) {
	for port := uint16(1024); port < 1024+8*64; port += 64 {
		for _, queues := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
			p := newPath(t, func(o *Options) { o.Queues = 2 })
			p.deliver(lan, queues[0], build(t, lan, udp(port, 53)))
			out := p.check(p.run(), wan)
			if got := out.TransportLayer().(*layers.UDP).SrcPort; got != layers.UDPPort(port) {
				t.Errorf("port %d was changed to %d", port, got)
			}
			p.deliver(wan, queues[1], build(t, wan, answer(53, port)))
			p.check(p.run(), lan)
			if n := p.counterValue("flows"); n != 1 {
				t.Errorf("port %d, queues %v: %d flows", port, queues, n)
			}
		}
	}
}

func TestExpiredFlowIsGoneAndItsPortFree(t *testing.T) {
	p := newPath(t, nil)
	p.send(lan, build(t, lan, udp(7000, 53)))
	p.advance(29 * time.Second)
	if n := p.counterValue("flows"); n != 1 {
		t.Fatalf("%d flows after 29 s, want 1", n)
	}
	p.advance(1500 * time.Millisecond)
	if n := p.counterValue("flows"); n != 0 {
		t.Errorf("%d flows after 30.5 s, want 0", n)
	}
	if n := p.counterValue("nat_mappings"); n != 0 {
		t.Errorf("%d mappings left", n)
	}
	if out := p.send(wan, build(t, wan, answer(53, 7000))); len(out) != 0 {
		t.Error("an answer to an expired flow was forwarded")
	}
}

func TestLedgerIsExactAtRest(t *testing.T) {
	p := newPath(t, func(o *Options) { o.Queues = 2 })
	for i := range uint16(400) {
		p.deliver(lan, int(i)%2, build(t, lan, udp(2000+i*37, 53)))
		p.run()
	}
	p.advance(time.Second)
	l := p.Ledger()
	// A wire holds nothing back: what was collected has been completed.
	for _, w := range p.workers {
		w.flushTX()
		w.publishLedger()
	}
	l = p.Ledger()
	if l.Missing != 0 {
		t.Errorf("%d frames are in no place: %+v", l.Missing, l)
	}
}

func TestUnresolvedNeighbourHoldsThePacket(t *testing.T) {
	p := newPath(t, nil)
	s := udp(7000, 53)
	s.dst = serverAddr.Next() // on the link, unknown
	if out := p.send(lan, build(t, lan, s)); len(out) != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	if n := p.workers[0].routes.held.n; n != 1 {
		t.Errorf("%d packets held, want 1", n)
	}
	asked := p.mirror.Stats().Resolves
	if p.advance(time.Second); asked == 0 || p.mirror.Stats().Resolves == asked {
		t.Errorf("the neighbour was asked for %d times, and not again while the packet waits", asked)
	}
}

// Two hosts inside, on networks of their own: whatever the two workers, both
// directions belong to one.
func TestInternalHostsTalkToEachOther(t *testing.T) {
	for port := uint16(1024); port < 1024+4*64; port += 64 {
		p := newPath(t, func(o *Options) { o.Queues = 2 })
		syn := spec{src: clientAddr, dst: client2Addr, sport: port, dport: 80, tcp: &layers.TCP{SYN: true, Seq: 1}}
		if got := endpoints(t, p.check(p.send(lan, build(t, lan, syn)), lan)); got != fmt.Sprintf("10.1.2.3:%d 10.1.2.4:80", port) {
			t.Errorf("SYN left as %s", got)
		}
		p.deliver(lan, 1, build(t, lan, spec{src: client2Addr, dst: clientAddr, sport: 80, dport: port, tcp: &layers.TCP{SYN: true, ACK: true, Seq: 1, Ack: 2}}))
		p.check(p.run(), lan)
	}
}

// A packet that is let through untracked still ages: a loop must end.
func TestInvalidPassesButAges(t *testing.T) {
	p := newPath(t, func(o *Options) { o.PassInvalid = true })
	fin := spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{FIN: true, URG: true}}
	out := p.check(p.send(lan, build(t, lan, fin)), wan)
	if ip := out.NetworkLayer().(*layers.IPv4); !ip.SrcIP.Equal(clientAddr.AsSlice()) || ip.TTL != 63 {
		t.Errorf("left from %s with TTL %d, want untranslated with 63", ip.SrcIP, ip.TTL)
	}
	fin.ttl = 1
	p.check(p.send(lan, build(t, lan, fin)), lan) // time exceeded
	if n := p.counterValue("drop_ttl_expired"); n != 1 {
		t.Errorf("%d packets expired, want 1", n)
	}
}

func TestMasqueradeLeavesIPv6Alone(t *testing.T) {
	p := newPath(t, func(o *Options) { o.NAT = nat.Config{Masquerade: true} })
	if got := endpoints(t, p.check(p.send(lan, build(t, lan, udp(7000, 53))), wan)); got != "203.0.113.1:7000 203.0.113.47:53" {
		t.Errorf("IPv4 left as %s", got)
	}
	s := spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53}
	out := p.check(p.send(lan, build(t, lan, s)), wan)
	if ip := out.NetworkLayer().(*layers.IPv6); !ip.SrcIP.Equal(client6Addr.AsSlice()) {
		t.Errorf("IPv6 left from %s", ip.SrcIP)
	}
}

func TestNAT66BothWays(t *testing.T) {
	pool := netip.MustParseAddr("2001:db8:32::1")
	p := newPath(t, func(o *Options) { o.NAT.SNAT = []nat.Pool{mustPool(pool.String())} })
	s := spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53, payload: []byte("hello")}
	out := p.check(p.send(lan, build(t, lan, s)), wan)
	if ip := out.NetworkLayer().(*layers.IPv6); !ip.SrcIP.Equal(pool.AsSlice()) {
		t.Errorf("left from %s, want %s", ip.SrcIP, pool)
	}
	s = spec{src: server6Addr, dst: pool, sport: 53, dport: 7000, payload: []byte("world")}
	back := p.check(p.send(wan, build(t, wan, s)), lan)
	if ip := back.NetworkLayer().(*layers.IPv6); !ip.DstIP.Equal(client6Addr.AsSlice()) {
		t.Errorf("answer went to %s", ip.DstIP)
	}
}

// A packet from an address that is no single host's is not answered.
func TestNoErrorToManyHosts(t *testing.T) {
	p := newPath(t, nil)
	for _, src := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.9", "255.255.255.255"} {
		s := udp(7000, 53)
		s.src, s.ttl = netip.MustParseAddr(src), 1
		if out := p.send(lan, build(t, lan, s)); len(out) != 0 {
			t.Errorf("%s got an ICMP error", src)
		}
	}
}

// A frame with a priority tag is as good as an untagged one.
func TestPriorityTagIsStripped(t *testing.T) {
	p := newPath(t, nil)
	frame := build(t, lan, udp(7000, 53))
	tagged := append(append(append([]byte(nil), frame[:12]...), 0x81, 0x00, 0x20, 0x00), frame[12:]...)
	if got := endpoints(t, p.check(p.send(lan, tagged), wan)); got != "198.51.100.32:7000 203.0.113.47:53" {
		t.Errorf("left as %s", got)
	}
	tagged[15] = 7 // VLAN 7 is another network
	if out := p.send(lan, tagged); len(out) != 0 {
		t.Error("a frame of VLAN 7 was forwarded")
	}
}

// The routes of a flow's two directions are followed independently.
func TestFlowFollowsItsRoute(t *testing.T) {
	p := newPath(t, nil)
	p.send(lan, build(t, lan, udp(7000, 53)))
	other := net.HardwareAddr{2, 0, 203, 0, 113, 99}
	p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) { routes[0].MAC = mac(other) })
	out := p.check(p.send(lan, build(t, lan, udp(7000, 53))), wan)
	if eth := out.LinkLayer().(*layers.Ethernet); eth.DstMAC.String() != other.String() {
		t.Errorf("sent to %s, want the new neighbour %s", eth.DstMAC, other)
	}
	p.check(p.send(wan, build(t, wan, answer(53, 7000))), lan)
	if n := p.counterValue("flows_new"); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
}

// A server behind a rule opens connections of its own, from the very port that
// the rule leads to, and without a pool for its family.
func TestServerBehindRuleOpensConnections(t *testing.T) {
	for remote := uint16(100); remote < 100+4*64; remote += 64 {
		p := newPath(t, func(o *Options) {
			o.Queues, o.NAT = 2, nat.Config{DNAT: []nat.DNATRule{mustRule("udp:[2001:db8:113::99]:53=[fd00:1:2::3]:53")}}
		})
		out := spec{src: client6Addr, dst: server6Addr, sport: 53, dport: remote}
		p.check(p.send(lan, build(t, lan, out)), wan)
		back := spec{src: server6Addr, dst: client6Addr, sport: remote, dport: 53}
		p.check(p.send(wan, build(t, wan, back)), lan)
	}
}

// Nobody but the rule's own server may keep, or be given, the port of a rule:
// the answers would be taken for the rule's.
func TestPortOfARuleIsNotGivenAway(t *testing.T) {
	p := newPath(t, func(o *Options) {
		o.Queues, o.NAT.DNAT = 2, []nat.DNATRule{mustRule("tcp:198.51.100.32:7000=10.1.2.3:8080")}
	})
	syn := spec{src: client2Addr, dst: serverAddr, sport: 7000, dport: 53, tcp: &layers.TCP{SYN: true, Seq: 1}}
	out := p.check(p.send(lan, build(t, lan, syn)), wan)
	port := uint16(out.TransportLayer().(*layers.TCP).SrcPort)
	if port == 7000 {
		t.Error("the port of the rule was kept by another host")
	}
	synack := spec{src: serverAddr, dst: poolAddr, sport: 53, dport: port, tcp: &layers.TCP{SYN: true, ACK: true, Seq: 1, Ack: 2}}
	if got := endpoints(t, p.check(p.send(wan, build(t, wan, synack)), lan)); got != "203.0.113.47:53 10.1.2.4:7000" {
		t.Errorf("answer arrived as %s", got)
	}
}

// A silent link does not keep dead flows: however many end at once, the worker
// goes on until all are gone.
func TestMassExpiryIsWorkedOff(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlows = 20000 })
	for i := range uint16(10000) {
		p.deliver(lan, 0, build(t, lan, udp(1024+i, 53)))
		p.Burst(0)
		p.drain()
	}
	p.Advance(31 * time.Second)
	rounds := 0
	for p.Burst(0); p.workers[0].backlog; p.Burst(0) {
		rounds++
	}
	if n := p.counterValue("flows"); n != 0 {
		t.Errorf("%d flows are left when the worker would sleep", n)
	}
	if rounds < 10000/expireAlways/2 {
		t.Errorf("all removed in %d rounds: a burst is not bounded", rounds)
	}
}

package dataplane

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// twoWays adds a second external port, by which 192.0.2.0/24 is routed.
func twoWays(p *path) {
	ports, routes := testNetwork(nil)
	ports = append(ports, fib.FixedPort{Number: 2, MAC: mac(wanMAC), MTU: 1500, Addrs: []netip.Prefix{prefix("192.0.2.1/24")}})
	routes[5] = fib.FixedRoute{Dst: prefix("192.0.2.99/32"), Port: 2, Gateway: netip.MustParseAddr("192.0.2.99"), MAC: mac(serverMAC)}
	p.mirror.SetFixed(ports, routes)
}

// withRule is a gateway with a service behind it, and three ports.
func withRule(mode ReversePath) func(*Options) {
	return func(o *Options) {
		o.ReversePath = mode
		o.Ports = append(o.Ports, PortOptions{"wan2", nat.RealmExternal})
		o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:53")}
	}
}

func TestReversePath(t *testing.T) {
	const wan2 = 2
	away := netip.MustParseAddr("192.0.2.99")
	unknown := netip.MustParseAddr("9.9.9.9")
	question := func(src netip.Addr) spec { return spec{src: src, dst: poolAddr, sport: 4000, dport: 53} }
	for _, c := range []struct {
		name string
		mode ReversePath
		src  netip.Addr
		in   int
		want string // counter; "" = it passes
	}{
		{"off, other port", ReversePathOff, away, wan, ""},
		{"off, no route", ReversePathOff, unknown, wan, ""},
		{"off, from inside", ReversePathOff, client2Addr, wan, "drop_spoofed"},
		{"loose, other port", ReversePathLoose, away, wan, ""},
		{"loose, no route", ReversePathLoose, unknown, wan, "drop_reverse_path"},
		{"loose, from inside", ReversePathLoose, client2Addr, wan, "drop_spoofed"},
		{"strict, its port", ReversePathStrict, away, wan2, ""},
		{"strict, other port", ReversePathStrict, away, wan, "drop_reverse_path"},
		{"strict, no route", ReversePathStrict, unknown, wan, "drop_reverse_path"},
		{"strict, from inside", ReversePathStrict, client2Addr, wan, "drop_spoofed"},
		{"strict, not our port", ReversePathStrict, netip.MustParseAddr("198.18.0.7"), wan, "drop_reverse_path"},
		{"loose, not our port", ReversePathLoose, netip.MustParseAddr("198.18.0.7"), wan, ""},
		{"off, link-local", ReversePathOff, netip.MustParseAddr("169.254.1.1"), wan, "drop_martian_source"},
		{"off, broadcast", ReversePathOff, netip.MustParseAddr("255.255.255.255"), wan, "drop_martian_source"},
		{"off, loopback", ReversePathOff, netip.MustParseAddr("127.0.0.1"), wan, "drop_martian_source"},
		{"off, reserved", ReversePathOff, netip.MustParseAddr("250.1.1.1"), wan, "drop_martian_source"},
		{"off, to itself", ReversePathOff, poolAddr, wan, ""}, // another port: a way back by a router outside
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath(t, withRule(c.mode))
			twoWays(p)
			out := frames(t, p.send(c.in, build(t, wan, question(c.src))), lan)
			if passed := len(out) == 1; passed != (c.want == "") {
				t.Errorf("%d packets sent: %v", len(out), drops(p))
			}
			if c.want != "" && p.counterValue(c.want) != 1 {
				t.Errorf("dropped by %v, want %s", drops(p), c.want)
			}
		})
	}
}

// drops tells what was dropped so far.
func drops(p *path) map[string]uint64 {
	m := make(map[string]uint64)
	for r := range numDropReasons {
		if n := p.sum(func(c *counters) uint64 { return c.drops[r].Load() }); n > 0 {
			m[r.String()] = n
		}
	}
	return m
}

// A flow's packets have to come from where it says that their source is: from outside
// nobody speaks for a host inside, whoever it talks to. With strict, each has to come by
// the port that answers leave by.
func TestFlowsAreNotSpokenFor(t *testing.T) {
	away := netip.MustParseAddr("192.0.2.99")
	open := func(t *testing.T, mode ReversePath) *path {
		p := newPath(t, withRule(mode))
		twoWays(p)
		q := udp(7000, 53)
		p.send(lan, build(t, lan, q))
		q.dst = away
		p.send(lan, build(t, lan, q))
		q.dst = client2Addr
		p.send(lan, build(t, lan, q))
		return p
	}
	reply := func(src netip.Addr) spec { s := answer(53, 7000); s.src = src; return s }
	inner := spec{src: client2Addr, dst: clientAddr, sport: 53, dport: 7000}
	forged := spec{src: serverAddr, dst: serverAddr, payload: build(t, wan, spec{src: serverAddr, dst: clientAddr, sport: 53, dport: 7000})[14:],
		icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}}
	for _, c := range []struct {
		name string
		mode ReversePath
		in   int
		s    spec
		want string
	}{
		{"answer", ReversePathOff, wan, answer(53, 7000), ""},
		{"answer, strict", ReversePathStrict, wan, answer(53, 7000), ""},
		{"answer by the other port", ReversePathOff, wan, reply(away), ""},
		{"answer by the other port, strict", ReversePathStrict, wan, reply(away), "drop_reverse_path"},
		{"answer by its port, strict", ReversePathStrict, 2, reply(away), ""},
		{"as the client", ReversePathOff, wan, udp(7000, 53), "drop_spoofed"},
		{"as the client, strict", ReversePathStrict, wan, udp(7000, 53), "drop_spoofed"},
		{"between clients", ReversePathOff, wan, inner, "drop_spoofed"},
		{"between clients, from inside", ReversePathStrict, lan, inner, ""},
		{"error as the client", ReversePathOff, wan, forged, "drop_spoofed"},
		{"error", ReversePathStrict, wan, spec{src: serverAddr, dst: poolAddr, payload: translatedFrame(t, lan, udp(7000, 53))[14:],
			icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}}, ""},
		{"error with the source of a client", ReversePathOff, wan, spec{src: client2Addr, dst: poolAddr, payload: translatedFrame(t, lan, udp(7000, 53))[14:],
			icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}}, "drop_spoofed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := open(t, c.mode)
			out := p.send(c.in, build(t, c.in&1, c.s))
			if passed := len(out) == 1; passed != (c.want == "") || c.want != "" && p.counterValue(c.want) != 1 {
				t.Errorf("%d packets sent, dropped %v, want %q", len(out), drops(p), c.want)
			}
		})
	}
}

// When the way to a source moves to another port, its packets have to come by that.
func TestReversePathFollowsRoutes(t *testing.T) {
	p := newPath(t, withRule(ReversePathStrict))
	ask := spec{src: serverAddr, dst: poolAddr, sport: 4000, dport: 53}
	twoWays(p)
	if len(p.send(wan, build(t, wan, ask))) != 1 {
		t.Fatalf("dropped %v", drops(p))
	}
	ports, routes := testNetwork(nil)
	routes[0].Port = 2
	p.mirror.SetFixed(append(ports, fib.FixedPort{Number: 2, MAC: mac(wanMAC), MTU: 1500, Addrs: []netip.Prefix{prefix("192.0.2.1/24")}}), routes)
	if len(p.send(2, build(t, wan, ask))) != 1 {
		t.Errorf("by the new port: dropped %v", drops(p))
	}
	if len(p.send(wan, build(t, wan, ask))) != 0 || p.counterValue("drop_reverse_path") != 1 {
		t.Errorf("by the old port: dropped %v", drops(p))
	}
}

func TestBogons(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": false, "1.1.1.1": false, "100.63.255.255": false, "100.128.0.0": false, "172.15.255.255": false, "172.32.0.0": false,
		"192.167.1.1": false, "192.0.1.0": false, "198.17.255.255": false, "198.20.0.0": false, "203.0.114.0": false, "11.0.0.0": false,
		"10.0.0.0": true, "10.255.255.255": true, "172.16.0.0": true, "172.31.255.255": true, "192.168.0.0": true, "192.168.255.255": true,
		"100.64.0.0": true, "100.127.255.255": true, "192.0.0.255": true, "192.0.2.1": true, "198.51.100.7": true, "203.0.113.7": true,
		"198.18.0.0": true, "198.19.255.255": true, "192.88.99.1": true, "169.254.0.1": true, "240.0.0.0": true, "255.255.255.255": true,
		"0.1.2.3": true, "127.1.1.1": true, "224.0.0.1": true, "239.255.255.255": true,
		"2606:4700::1111": false, "2001:4860:4860::8888": false, "2001:db7:ffff::1": false, "2001:db9::1": false, "3ffe::1": false,
		"2001:db8::1": true, "2001:db8:ffff:ffff::": true, "3fff::1": true, "3fff:fff::1": true, "2001:2::1": true, "2001:2:1::1": false,
		"2001:10::1": true, "2001:1f:ffff::1": true, "2001:20::1": false, "fd00::1": true, "fc00::": true, "fec0::1": true, "fe80::1": true,
		"ff02::1": true, "::": true, "::1": true, "100::1": true, "4000::1": true, "5f00::1": true,
		"64:ff9b::808:808": false, "64:ff9b::a00:1": true, "64:ff9b:1::808:808": true,
	} {
		a := netip.MustParseAddr(text)
		if got := isBogon(packet.AddrOf(a), packet.FamilyOf(a)); got != want {
			t.Errorf("%s: bogon %v, want %v", text, got, want)
		}
	}
}

// Without the flag labs work, and with it inside addresses are not asked about.
func TestBogonsAreOfTheOutside(t *testing.T) {
	drop := func(o *Options) { o.DropBogons = true }
	inner := spec{src: clientAddr, dst: client2Addr, sport: 7000, dport: 53}
	if out := newPath(t, drop).send(lan, build(t, lan, inner)); len(out) != 1 || out[0].port != lan {
		t.Error("a private address inside was refused")
	}
	rule := []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:53")}
	for _, flag := range []bool{false, true} {
		p := newPath(t, func(o *Options) { o.DropBogons, o.NAT.DNAT = flag, rule })
		out := p.send(wan, build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 7000, dport: 53}))
		if passed := len(out) == 1; passed == flag || p.counterValue("drop_bogon") == 0 == flag {
			t.Errorf("flag %v: %d packets sent, dropped %v", flag, len(out), drops(p))
		}
	}
}

// Nor are flows that were announced, from the burst on that brings their first packet.
func TestAnnouncedFlowsAreNotSpokenFor(t *testing.T) {
	p := newPath(t, withSIP(t))
	phone, server, media := at(clientAddr, 5060), at(serverAddr, 5060), at(clientAddr, 20000)
	_, text := p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", media)
	first := build(t, wan, l4(false, at(serverAddr, 30000), mediaIn(t, text), layers.TCP{}))
	spoofed := build(t, wan, l4(false, media, at(serverAddr, 30000), layers.TCP{}))
	if out := p.send(wan, first, spoofed); len(out) != 1 || out[0].port != lan {
		t.Errorf("%d packets left, expected the first", len(out))
	}
	if n := p.counterValue("drop_spoofed"); n != 1 {
		t.Errorf("%d packets dropped as spoofed, want 1", n)
	}
}

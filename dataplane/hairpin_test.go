package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Two hosts inside meet by the outside address of a rule (RFC 4787 REQ-9, RFC 5382
// REQ-8): both ends of a flow are translated, and both of its directions come from inside.

var hairpinRules = []nat.DNATRule{mustRule("tcp:198.51.100.77:80=10.1.2.4:8080"), mustRule("udp:198.51.100.77:53=10.1.2.4:53")}

// turn sends one packet in from inside and returns the endpoints that it left with, to
// the inside.
func (p *path) turn(tcp bool, src, dst netip.AddrPort, flags layers.TCP) [2]netip.AddrPort {
	p.t.Helper()
	out := p.send(lan, build(p.t, lan, l4(tcp, src, dst, flags)))
	if len(out) != 1 || out[0].port != lan {
		p.t.Fatalf("%s > %s: %d packets left", src, dst, len(out))
	}
	return ends(p.t, out[0].frame)
}

// hairpin sends a question and its answer, and returns the question as it left.
func (p *path) hairpin(tcp bool, src, dst netip.AddrPort) [2]netip.AddrPort {
	p.t.Helper()
	question := p.turn(tcp, src, dst, layers.TCP{SYN: true, Seq: 1})
	answer := p.turn(tcp, question[1], question[0], layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2})
	if answer != [2]netip.AddrPort{dst, src} {
		p.t.Errorf("%s > %s was answered by %s > %s", src, dst, answer[0], answer[1])
	}
	return question
}

func TestSpreadHairpin(t *testing.T) {
	for name, tt := range map[string]struct {
		nat  nat.Config
		seen netip.Addr // what the server sees
	}{
		"pool":       {nat.Config{SNAT: []nat.Pool{mustPool("198.51.100.32")}}, poolAddr},
		"masquerade": {nat.Config{Masquerade: true}, netip.MustParseAddr("198.51.100.77")},
		"no sources": {nat.Config{}, netip.MustParseAddr("198.51.100.77")},
	} {
		t.Run(name, func(t *testing.T) {
			eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
				p := open(func(o *Options) { o.NAT = tt.nat; o.NAT.DNAT = hairpinRules })
				for _, port := range somePorts {
					for range 2 { // the second time of the same flows
						for i, rule := range []string{"198.51.100.77:80", "198.51.100.77:53"} {
							q := p.hairpin(i == 0, at(clientAddr, port), netip.MustParseAddrPort(rule))
							if to := hairpinRules[i]; q[0].Addr() != tt.seen || q[1] != at(to.ToAddr, to.ToPort) {
								t.Errorf("left as %s > %s", q[0], q[1])
							}
						}
					}
				}
				p.checkFlows(2 * len(somePorts))
				p.checkNoStrays()
			})
		})
	}
}

// Where sources are masqueraded, a port that is kept at the rule's address may be another
// rule's own.
func TestHairpinLeavesRulesAlone(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) { o.NAT = nat.Config{Masquerade: true, DNAT: hairpinRules} })
		q := p.hairpin(false, at(clientAddr, 53), netip.MustParseAddrPort("198.51.100.77:53"))
		if q[0].Port() == 53 {
			t.Errorf("left from %s, which is the rule's", q[0])
		}
	})
}

// Two hosts behind rules for the address and port that they have outside anyway, as
// servers of SIP or DNS, see each other as all others do, whoever asks first.
func TestSpreadHairpinBetweenServers(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		pools := []nat.Pool{mustPool("198.51.100.32-198.51.100.39")}
		p := open(func(o *Options) { o.NAT.SNAT = pools })
		outside := func(host netip.Addr) netip.Addr {
			return p.pass(lan, false, at(host, 9), at(serverAddr, 9), layers.TCP{})[0].Addr()
		}
		outsideA, outsideB := outside(clientAddr), outside(client2Addr)
		for _, port := range somePorts {
			p := open(func(o *Options) {
				o.NAT = nat.Config{SNAT: pools, DNAT: []nat.DNATRule{
					{Proto: packet.ProtoUDP, Addr: outsideA, Port: port, ToAddr: clientAddr, ToPort: port},
					{Proto: packet.ProtoUDP, Addr: outsideB, Port: 5060, ToAddr: client2Addr, ToPort: 5060}}}
			})
			for range 2 {
				for _, x := range []struct{ from, asked, seen, to netip.AddrPort }{
					{at(clientAddr, port), at(outsideB, 5060), at(outsideA, port), at(client2Addr, 5060)},
					{at(client2Addr, 5060), at(outsideA, port), at(outsideB, 5060), at(clientAddr, port)},
				} {
					if q := p.turn(false, x.from, x.asked, layers.TCP{}); q != [2]netip.AddrPort{x.seen, x.to} {
						t.Errorf("%s > %s left as %s > %s", x.from, x.asked, q[0], q[1])
					}
				}
			}
			p.checkFlows(1)
			if p.path.steering.ByRSS == 0 { // both directions have one owner
				p.checkNoStrays()
			}
			p.checkStraysEnd()
		}
	})
}

func TestSpreadHairpinIPv6(t *testing.T) {
	server := netip.MustParseAddr("fd00:1:2::4")
	for _, pools := range [][]nat.Pool{nil, {mustPool("2001:db8:32::1")}} {
		eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
			p := open(func(o *Options) {
				o.NAT = nat.Config{SNAT: pools, Masquerade: pools == nil, DNAT: []nat.DNATRule{mustRule("tcp:[2001:db8:113::99]:80=[fd00:1:2::4]:80")}}
			})
			p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) {
				routes[len(routes)-1] = fib.FixedRoute{Dst: netip.PrefixFrom(server, 128), Port: lan, Gateway: server, MAC: mac(clientMAC)}
			})
			for _, port := range somePorts {
				p.hairpin(true, at(client6Addr, port), netip.MustParseAddrPort("[2001:db8:113::99]:80"))
			}
			p.checkFlows(len(somePorts))
			p.checkNoStrays()
		})
	}
}

// Errors about hairpinned packets, too (RFC 5508 REQ-7): of routers between either host
// and the gateway.
func TestSpreadHairpinErrors(t *testing.T) {
	router := netip.MustParseAddr("10.9.9.9")
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) { o.NAT.DNAT = hairpinRules })
		for _, port := range somePorts {
			client, rule := at(clientAddr, port), netip.MustParseAddrPort("198.51.100.77:80")
			there := p.send(lan, build(t, lan, l4(true, client, rule, layers.TCP{SYN: true, Seq: 1})))[0].frame
			seen := ends(t, there)
			back := p.send(lan, build(t, lan, l4(true, seen[1], seen[0], layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2})))[0].frame
			for _, e := range []struct {
				quoted               []byte
				src, dst             netip.Addr     // of the error as it leaves
				quotedSrc, quotedDst netip.AddrPort // as its receiver sent it
			}{
				{there, rule.Addr(), clientAddr, client, rule},
				{back, poolAddr, client2Addr, seen[1], seen[0]},
			} {
				out := p.send(lan, errorAbout(t, lan, router, sourceOf(e.quoted), e.quoted[packet.EthernetLen:][:28], false))
				if len(out) != 1 || out[0].port != lan {
					t.Fatalf("%d packets left", len(out))
				}
				quote, src, dst := quoteOf(t, out[0].frame, 28)
				if src != e.src || dst != e.dst {
					t.Errorf("error left as %s > %s, want %s > %s", src, dst, e.src, e.dst)
				}
				if got, want := innerEnds(quote), [2]netip.AddrPort{e.quotedSrc, e.quotedDst}; got != want {
					t.Errorf("error quotes %s, want %s", got, want)
				}
			}
		}
		p.checkFlows(len(somePorts))
	})
}

// innerEnds returns the endpoints of an IPv4 packet without options that an error quotes.
func innerEnds(quote []byte) [2]netip.AddrPort {
	ip := packet.IPv4Header(quote)
	port := func(i int) uint16 { return uint16(ip[i])<<8 | uint16(ip[i+1]) }
	return [2]netip.AddrPort{at(ip.Src().Netip(packet.IPv4), port(20)), at(ip.Dst().Netip(packet.IPv4), port(22))}
}

// Nobody outside speaks for a host inside: not in a hairpinned flow either.
func TestHairpinIsNotSpokenFor(t *testing.T) {
	p := newPath(t, func(o *Options) { o.NAT.DNAT = hairpinRules })
	client, rule := at(clientAddr, 5000), netip.MustParseAddrPort("198.51.100.77:80")
	seen := p.hairpin(true, client, rule)
	for _, s := range [][2]netip.AddrPort{{client, rule}, {seen[1], seen[0]}} {
		if out := p.send(wan, build(t, wan, l4(true, s[0], s[1], layers.TCP{ACK: true, Seq: 2, Ack: 10}))); len(out) != 0 {
			t.Errorf("%s > %s from outside passed", s[0], s[1])
		}
	}
	if n := p.counterValue("drop_spoofed"); n != 2 {
		t.Errorf("%d packets dropped, want 2", n)
	}
}

// hairpinFTP opens a control connection from a client inside to a server inside and
// returns what sends on it: a segment of text by either end, as the other gets it.
func hairpinFTP(p *path, port uint16) (client, server func(text string) string) {
	p.t.Helper()
	from, rule := at(clientAddr, port), netip.MustParseAddrPort("198.51.100.77:21")
	seen := p.hairpin(true, from, rule)
	p.turn(true, from, rule, layers.TCP{ACK: true, Seq: 2, Ack: 10})
	seq := [2]uint32{2, 10}
	say := func(who int, src, dst netip.AddrPort, text string) string {
		p.t.Helper()
		s := l4(true, src, dst, layers.TCP{ACK: true, PSH: true, Seq: seq[who], Ack: seq[1-who]})
		s.payload = []byte(text)
		out := p.check(p.send(lan, build(p.t, lan, s)), lan).Layer(layers.LayerTypeTCP).(*layers.TCP)
		seq[who] += uint32(len(out.Payload)) // the ends see other numbers: the shift is the gateway's
		return string(out.Payload)
	}
	client = func(text string) string { p.t.Helper(); return say(0, from, rule, text) }
	server = func(text string) string { p.t.Helper(); return say(1, seen[1], seen[0], text) }
	server("220 hi\r\n")
	client("USER x\r\n")
	return client, server
}

func openFTPHairpin(open func(func(*Options)) *path) *path {
	return open(func(o *Options) { o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.77:21=10.1.2.4:21")} })
}

func TestSpreadHairpinFTPActive(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, port := range somePorts {
			p := openFTPHairpin(open)
			client, _ := hairpinFTP(p, port)
			var high, low int
			out := client("PORT 10,1,2,3,25,0\r\n")
			if _, err := fmt.Sscanf(out, "PORT 198,51,100,32,%d,%d", &high, &low); err != nil {
				t.Fatalf("command arrived as %q", out)
			}
			for range 2 {
				q := p.hairpin(true, at(client2Addr, 20), at(poolAddr, uint16(high<<8|low)))
				if q[0].Addr() != netip.MustParseAddr("198.51.100.77") || q[1] != at(clientAddr, 6400) {
					t.Errorf("data connection arrived as %s > %s", q[0], q[1])
				}
			}
			p.checkFlows(2)
			p.checkStraysEnd()
		}
	})
}

func TestSpreadHairpinFTPPassive(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, port := range somePorts {
			p := openFTPHairpin(open)
			_, server := hairpinFTP(p, 40000)
			var high, low int
			out := server("227 Entering Passive Mode (10,1,2,4,100,0).\r\n")
			if _, err := fmt.Sscanf(strings.TrimSpace(out), "227 Entering Passive Mode (198,51,100,77,%d,%d).", &high, &low); err != nil {
				t.Fatalf("answer arrived as %q", out)
			}
			for range 2 {
				q := p.hairpin(true, at(clientAddr, port), netip.AddrPortFrom(netip.MustParseAddr("198.51.100.77"), uint16(high<<8|low)))
				if q[0].Addr() != poolAddr || q[1] != at(client2Addr, 25600) {
					t.Errorf("data connection arrived as %s > %s", q[0], q[1])
				}
			}
			p.checkFlows(2)
			p.checkStraysEnd()
		}
	})
}

// A rule's address is a destination inside, however it is routed and whatever the
// Internet thinks of it.
func TestHairpinByAnyAddress(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) { o.DropBogons, o.NAT.DNAT = true, hairpinRules })
		for _, route := range []fib.FixedRoute{
			{Dst: prefix("198.51.100.0/24"), Port: wan, Gateway: serverAddr, MAC: mac(serverMAC)},
			{Dst: prefix("198.51.100.0/24"), Port: lan, Gateway: clientAddr, MAC: mac(clientMAC)},
			{Dst: prefix("198.51.100.0/24"), Blackhole: true},
		} {
			p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) { routes[len(routes)-1] = route })
			for i, rule := range []string{"198.51.100.77:80", "198.51.100.77:53"} {
				for _, port := range somePorts {
					p.hairpin(i == 0, at(clientAddr, port), netip.MustParseAddrPort(rule))
				}
			}
			p.checkFlows(2 * len(somePorts))
			p.checkStraysEnd()
		}
	})
}

// A hairpinned flow goes on after a restart, also with another number of workers.
func TestHairpinIsRestored(t *testing.T) {
	for _, cfg := range []nat.Config{{SNAT: []nat.Pool{mustPool("198.51.100.32")}}, {Masquerade: true}, {}} {
		cfg.DNAT = hairpinRules
		eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
			rules := func(o *Options) { o.NAT = cfg }
			before := newPath(t, rules)
			client, rule := at(clientAddr, 5000), netip.MustParseAddrPort("198.51.100.77:80")
			seen := before.hairpin(true, client, rule)
			p := open(rules)
			if sum := p.restore(before.savedState(), 0); sum.Flows != 1 {
				t.Fatalf("restored: %+v", sum)
			}
			for range 2 {
				if q := p.turn(true, client, rule, layers.TCP{ACK: true, Seq: 2, Ack: 10}); q != seen {
					t.Errorf("left as %s > %s, expected %s > %s", q[0], q[1], seen[0], seen[1])
				}
				p.turn(true, seen[1], seen[0], layers.TCP{ACK: true, Seq: 10, Ack: 2})
			}
			p.checkFlows(1)
		})
	}
}

// The source of a hairpinned flow is not that of a way out: while masquerading, too, the
// flow follows its host to another port inside.
func TestHairpinFollowsRoutes(t *testing.T) {
	p := newPath(t, func(o *Options) {
		o.Ports = append(o.Ports, PortOptions{"lan2", nat.RealmInternal})
		o.NAT = nat.Config{Masquerade: true, DNAT: hairpinRules}
	})
	client, rule := at(clientAddr, 5000), netip.MustParseAddrPort("198.51.100.77:80")
	move := func(to uint16) {
		ports, routes := testNetwork(nil)
		ports = append(ports, fib.FixedPort{Number: 2, MAC: mac(lanMAC), MTU: 1500, Addrs: []netip.Prefix{prefix("10.1.9.1/24")}})
		for i := range routes {
			if routes[i].Gateway == client2Addr {
				routes[i].Port = to
			}
		}
		p.mirror.SetFixed(ports, routes)
	}
	move(lan)
	p.hairpin(true, client, rule)
	move(2)
	out := p.send(lan, build(t, lan, l4(true, client, rule, layers.TCP{ACK: true, Seq: 2, Ack: 10})))
	if len(out) != 1 || out[0].port != 2 {
		t.Fatalf("%d packets left, expected one by the other port", len(out))
	}
	p.checkFlows(1)
}

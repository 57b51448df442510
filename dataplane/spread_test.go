package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Whatever queue a packet comes to, and however its owner is found, the result
// is the same. Each test opens several flows, so that all workers get some.

// somePorts are client ports of several blocks.
var somePorts = []uint16{1024, 1100, 5000, 7000, 7104, 20000, 40000, 65535}

// l4 returns a packet of either protocol with the given endpoints.
func l4(tcp bool, src, dst netip.AddrPort, flags layers.TCP) spec {
	s := spec{src: src.Addr(), dst: dst.Addr(), sport: src.Port(), dport: dst.Port()}
	if tcp {
		s.tcp = &flags
	} else {
		s.payload = []byte("hello")
	}
	return s
}

// exchange sends a question in by one port and its answer, made from what left
// the gateway, in by the other; it returns both as they left.
func (p *path) exchange(from int, tcp bool, src, dst netip.AddrPort) (question, answer [2]netip.AddrPort) {
	p.t.Helper()
	question = p.pass(from, tcp, src, dst, layers.TCP{SYN: true, Seq: 1})
	answer = p.pass(1-from, tcp, question[1], question[0], layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2})
	if answer != [2]netip.AddrPort{dst, src} {
		p.t.Errorf("%s > %s was answered by %s > %s", src, dst, answer[0], answer[1])
	}
	return question, answer
}

// pass sends one packet through and returns the endpoints that it left with.
func (p *path) pass(from int, tcp bool, src, dst netip.AddrPort, flags layers.TCP) [2]netip.AddrPort {
	p.t.Helper()
	out := p.send(from, build(p.t, from, l4(tcp, src, dst, flags)))
	if len(out) != 1 || out[0].port != 1-from {
		p.t.Fatalf("%s > %s from port %d: %d packets left", src, dst, from, len(out))
	}
	return ends(p.t, out[0].frame)
}

// ends returns source and destination of a TCP or UDP frame.
func ends(t testing.TB, frame []byte) [2]netip.AddrPort {
	t.Helper()
	pk := decode(t, frame)
	flow, ports := pk.NetworkLayer().NetworkFlow(), pk.TransportLayer().TransportFlow()
	end := func(a, port []byte) netip.AddrPort {
		addr, _ := netip.AddrFromSlice(a)
		return netip.AddrPortFrom(addr, uint16(port[0])<<8|uint16(port[1]))
	}
	return [2]netip.AddrPort{end(flow.Src().Raw(), ports.Src().Raw()), end(flow.Dst().Raw(), ports.Dst().Raw())}
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// checkFlows compares the number of live flows. Nobody may sleep on a packet
// that was handed over.
func (p *path) checkFlows(flows int) {
	p.t.Helper()
	if n := p.counterValue("flows"); n != uint64(flows) {
		p.t.Errorf("%d flows, want %d", n, flows)
	}
	for _, w := range p.workers {
		if w.edge.wake != 0 {
			p.t.Errorf("worker %d did not wake the workers %b", w.id, w.edge.wake)
		}
	}
}

// checkNoStrays checks that the owner of all flows was found by rule.
func (p *path) checkNoStrays() {
	p.t.Helper()
	if n := p.path.strays.Len(); n != 0 {
		p.t.Errorf("%d strays, want none", n)
	}
}

func TestSpreadSNAT(t *testing.T) {
	for _, cfg := range []nat.Config{{SNAT: []nat.Pool{mustPool("198.51.100.32-198.51.100.33")}}, {Masquerade: true}} {
		eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
			p := open(func(o *Options) { o.NAT = cfg })
			for _, port := range somePorts {
				for _, tcp := range []bool{true, false} {
					p.exchange(lan, tcp, at(clientAddr, port), at(serverAddr, 80))
					p.exchange(lan, tcp, at(clientAddr, port), at(serverAddr, 80)) // of the same flow
				}
			}
			p.checkFlows(2 * len(somePorts))
			p.checkNoStrays()
		})
	}
}

func TestSpreadNAT66(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) { o.NAT.SNAT = []nat.Pool{mustPool("2001:db8:32::1")} })
		for _, port := range somePorts {
			p.exchange(lan, true, at(client6Addr, port), at(server6Addr, 80))
		}
		p.checkFlows(len(somePorts))
	})
}

// Two rules may lead to one server, from one address or two.
func TestSpreadDNAT(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) {
			o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.32:80=10.1.2.3:8080"),
				mustRule("tcp:198.51.100.33:80=10.1.2.3:8080"), mustRule("udp:198.51.100.33:53=10.1.2.3:53")}
		})
		for _, port := range somePorts {
			for i, rule := range []string{"198.51.100.32:80", "198.51.100.33:80", "198.51.100.33:53"} {
				p.exchange(wan, i < 2, at(serverAddr, port+uint16(i)), netip.MustParseAddrPort(rule))
			}
		}
		p.checkFlows(3 * len(somePorts))
		p.checkNoStrays()
	})
}

func TestSpreadServerBehindRuleOpensConnections(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) {
			o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:5060=10.1.2.3:5060"), mustRule("udp:[2001:db8:113::99]:53=[fd00:1:2::3]:53")}
		})
		for _, port := range somePorts {
			q, _ := p.exchange(lan, false, at(clientAddr, 5060), at(serverAddr, port))
			if q[0] != at(poolAddr, 5060) {
				t.Errorf("left from %s, want the rule's address and port", q[0])
			}
			p.exchange(lan, false, at(client6Addr, 53), at(server6Addr, port)) // not translated
		}
		p.checkFlows(2 * len(somePorts))
		p.checkNoStrays()
	})
}

func TestSpreadUntranslated(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(nil)
		for _, port := range somePorts {
			p.exchange(lan, true, at(client6Addr, port), at(server6Addr, 443))
			p.exchange(lan, false, at(client6Addr, port), at(server6Addr, 443))
		}
		p.checkFlows(2 * len(somePorts))
		p.checkNoStrays()
	})
}

func TestSpreadBetweenInternalHosts(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(nil)
		for _, port := range somePorts {
			for _, tcp := range []bool{true, false} {
				for range 2 {
					for _, pk := range []spec{
						l4(tcp, at(clientAddr, port), at(client2Addr, 80), layers.TCP{SYN: true, Seq: 1}),
						l4(tcp, at(client2Addr, 80), at(clientAddr, port), layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2}),
					} {
						if got := ends(t, p.send(lan, build(t, lan, pk))[0].frame); got[0].Addr() != pk.src || got[1].Port() != pk.dport {
							t.Errorf("left as %s > %s", got[0], got[1])
						}
					}
				}
			}
		}
		p.checkFlows(2 * len(somePorts))
		p.checkNoStrays()
	})
}

func TestSpreadPing(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(nil)
		for _, id := range somePorts {
			for range 2 {
				echo := func(from int, src, dst netip.Addr, kind uint8) *layers.IPv4 {
					s := spec{src: src, dst: dst, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id}}
					return p.check(p.send(from, build(t, from, s)), 1-from).NetworkLayer().(*layers.IPv4)
				}
				echo(lan, clientAddr, serverAddr, 8)
				if ip := echo(wan, serverAddr, poolAddr, 0); !ip.DstIP.Equal(clientAddr.AsSlice()) {
					t.Errorf("echo reply went to %s", ip.DstIP)
				}
			}
		}
		p.checkFlows(len(somePorts))
	})
}

// An error comes from a router that neither end knows, about a packet in either
// direction, and is spread by other addresses than its flow.
func TestSpreadICMPErrors(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) { o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.32:80=10.1.2.3:8080")} })
		fail := func(from int, quoted sent, src, want netip.Addr) {
			t.Helper()
			ip := packet.IPv4Header(quoted.frame[packet.EthernetLen:])
			s := spec{src: src, dst: ip.Src().Netip(packet.IPv4), payload: ip, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}}
			out := p.check(p.send(from, build(t, from, s)), 1-from)
			if got := out.NetworkLayer().(*layers.IPv4); !got.DstIP.Equal(want.AsSlice()) {
				t.Errorf("error went to %s, want %s", got.DstIP, want)
			}
		}
		outside, inside := netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("10.9.9.9")
		for _, port := range somePorts {
			syn := layers.TCP{SYN: true, Seq: 1}
			for _, tcp := range []bool{true, false} {
				out := p.send(lan, build(t, lan, l4(tcp, at(clientAddr, port), at(serverAddr, 9), syn)))
				fail(wan, out[0], outside, clientAddr)
			}
			in := p.send(wan, build(t, wan, l4(true, at(serverAddr, port), at(poolAddr, 80), syn)))
			fail(lan, in[0], inside, serverAddr)
		}
	})
}

// What begins outside and was not asked for stays outside, on every queue.
func TestSpreadUnasked(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(nil)
		p.exchange(lan, false, at(clientAddr, 7000), at(serverAddr, 53))
		for i, port := range somePorts {
			if out := p.send(wan, build(t, wan, l4(i%2 == 0, at(serverAddr, 54), at(poolAddr, port), layers.TCP{SYN: true}))); len(out) != 0 {
				t.Errorf("port %d: forwarded", port)
			}
		}
		if n := p.counterValue("drop_external_new"); n != uint64(len(somePorts)) {
			t.Errorf("%d packets dropped, want %d", n, len(somePorts))
		}
	})
}

// The server of an active FTP session connects to the announced port: the
// expectation is found, and the data flows both ways, whatever its source port.
func TestSpreadFTPActive(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, source := range []uint16{20, 1024, 33000, 50001, 60002} {
			s := newFTPSessionOn(t, open(nil))
			out := s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
			var a, b, c, d, high, low int
			if _, err := fmt.Sscanf(string(out.Payload), "PORT %d,%d,%d,%d,%d,%d", &a, &b, &c, &d, &high, &low); err != nil {
				t.Fatalf("command left as %q", out.Payload)
			}
			announced := at(poolAddr, uint16(high<<8|low))
			for range 2 {
				q, _ := s.exchange(wan, true, at(serverAddr, source), announced)
				if q[1] != at(clientAddr, 6400) {
					t.Errorf("data connection arrived at %s", q[1])
				}
			}
			s.checkFlows(2)
			if n := s.Expectations().Len(); n != 0 {
				t.Errorf("%d expectations after the data connection", n)
			}
			s.checkStraysEnd()
		}
	})
}

// The client of a passive session connects to the port that the server named.
func TestSpreadFTPPassive(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, port := range somePorts {
			s := newFTPSessionOn(t, open(nil))
			s.server(layers.TCP{ACK: true, PSH: true, Seq: 508, Ack: 108}, "227 Entering Passive Mode (203,0,113,47,100,0).\r\n")
			if n := s.Expectations().Len(); n != 1 {
				t.Fatalf("%d expectations, want 1", n)
			}
			for range 2 {
				s.exchange(lan, true, at(clientAddr, port), at(serverAddr, 25600))
			}
			if n := s.Expectations().Len(); n != 0 {
				t.Errorf("%d expectations after the data connection", n)
			}
			s.checkFlows(2)
			s.checkStraysEnd()
		}
	})
}

// A server behind a DNAT rule announces a port of its own.
func TestSpreadFTPServerBehindRule(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, port := range somePorts {
			p := open(func(o *Options) { o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.77:21=10.1.2.3:21")} })
			outside := netip.MustParseAddrPort("198.51.100.77:21")
			remote := at(serverAddr, 40000)
			p.exchange(wan, true, remote, outside)
			p.pass(wan, true, remote, outside, layers.TCP{ACK: true, Seq: 2, Ack: 10})
			pasv := spec{src: clientAddr, dst: serverAddr, sport: 21, dport: 40000,
				tcp: &layers.TCP{ACK: true, PSH: true, Seq: 10, Ack: 2}, payload: []byte("220-hi\r\n220 hi\r\n227 Entering Passive Mode (10,1,2,3,100,0).\r\n")}
			out := p.check(p.send(lan, build(t, lan, pasv)), wan).Layer(layers.LayerTypeTCP).(*layers.TCP)
			var a, b, c, d, high, low int
			if _, err := fmt.Sscanf(strings.TrimPrefix(string(out.Payload), "220-hi\r\n220 hi\r\n"), "227 Entering Passive Mode (%d,%d,%d,%d,%d,%d).", &a, &b, &c, &d, &high, &low); err != nil {
				t.Fatalf("answer left as %q", out.Payload)
			}
			announced := at(outside.Addr(), uint16(high<<8|low))
			for range 2 {
				q, _ := p.exchange(wan, true, at(serverAddr, port), announced)
				if q[1] != at(clientAddr, 25600) {
					t.Errorf("data connection arrived at %s", q[1])
				}
			}
			p.checkFlows(2)
			p.checkStraysEnd()
		}
	})
}

// checkStraysEnd ends all flows: nothing may be left of where they were.
func (p *path) checkStraysEnd() {
	p.t.Helper()
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			if w.flows.table.Gen(idx)&1 == 0 {
				w.removeFlow(idx, 0)
			}
		}
	}
	if n := p.path.strays.Len(); n != 0 {
		p.t.Errorf("%d strays after all flows ended", n)
	}
}

package dataplane

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// provocation makes a gateway drop a packet for one reason.
type provocation struct {
	options func(*Options)
	do      func(*path)
}

func mustRule(s string) nat.DNATRule {
	r, err := nat.ParseDNAT(s)
	if err != nil {
		panic(err)
	}
	return r
}

func mustPool(s string) nat.Pool {
	p, err := nat.ParseSNAT(s)
	if err != nil {
		panic(err)
	}
	return p
}

// sendOne provokes by a single packet from the client, changed after it was
// built.
func sendOne(s spec, change func(frame []byte) []byte) provocation {
	return provocation{do: func(p *path) {
		frame := build(p.t, lan, s)
		if change != nil {
			frame = change(frame)
		}
		p.send(lan, frame)
	}}
}

func to(dst string) spec {
	s := udp(7000, 53)
	s.dst = netip.MustParseAddr(dst)
	return s
}

// provocations has one entry for each reason that a packet can meet.
var provocations = map[DropReason]provocation{
	DropMalformed: sendOne(udp(7000, 53), func(f []byte) []byte { f[14] = 0x42; return f }),
	DropTruncated: sendOne(udp(7000, 53), func(f []byte) []byte { return f[:30] }),
	DropNotIP:     sendOne(udp(7000, 53), func(f []byte) []byte { f[12], f[13] = 0x88, 0xcc; return f }),
	DropExtHeaders: sendOne(spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2, payload: make([]byte, 128)},
		func(f []byte) []byte { // the payload becomes a chain of destination options
			f[20] = 60
			for i := 54; i+8 <= len(f); i += 8 {
				f[i], f[i+1] = 60, 0
			}
			return f
		}),
	DropFragmentBad: {do: func(p *path) {
		whole := build(p.t, lan, long(udp(7000, 53), 3000))
		p.send(lan, cut(whole, 1, 0, 100, true))
	}},
	DropFragmentDuplicate: {do: func(p *path) {
		pieces := split(build(p.t, lan, long(udp(7000, 53), 3000)), 1, 1200)
		p.send(lan, pieces[0], pieces[0], pieces[1], pieces[2])
	}},
	DropFragmentOverlap: {do: func(p *path) {
		whole := build(p.t, lan, long(udp(7000, 53), 3000))
		p.send(lan, cut(whole, 1, 0, 800, true), cut(whole, 1, 792, 1600, true))
	}},
	DropFragmentPair: {do: func(p *path) {
		for id := range uint32(asideFrames/2 + 1) {
			p.send(lan, split(build(p.t, lan, long(udp(7000, 53), 1000)), id, 1000)[0])
		}
	}},
	DropFragmentFull: {do: func(p *path) {
		for id := range uint32(maxDatagrams + 1) {
			s := long(udp(7000, 53), 1000)
			s.dst = netip.AddrFrom4([4]byte{203, 0, 113, byte(id)})
			p.send(lan, split(build(p.t, lan, s), id, 1000)[0])
		}
	}},
	DropFragmentTimeout: {do: func(p *path) {
		p.send(lan, split(build(p.t, lan, long(udp(7000, 53), 1000)), 1, 1000)[0])
		p.advance(31 * time.Second)
	}},
	DropSourceRoute: sendOne(spec{src: client6Addr, dst: server6Addr, proto: 43, payload: []byte{17, 0, 0, 1, 0, 0, 0, 0}}, nil),
	DropIPChecksum:  sendOne(udp(7000, 53), func(f []byte) []byte { f[24] ^= 1; return f }),
	DropLinkControl: sendOne(spec{src: client6Addr, dst: server6Addr, payload: make([]byte, 20),
		icmp6: &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}}, nil),
	DropInvalid: sendOne(spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{FIN: true, URG: true, PSH: true}}, nil),
	DropICMPUnmatched: sendOne(spec{src: clientAddr, dst: serverAddr,
		icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, payload: []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0,
			203, 0, 113, 47, 10, 1, 2, 3, 0, 1, 0, 2, 0, 8, 0, 0}}, nil),
	DropExternalNew:    {do: func(p *path) { p.send(wan, build(p.t, wan, answer(53, 7000))) }},
	DropTTLExpired:     sendOne(func() spec { s := udp(7000, 53); s.ttl = 1; return s }(), nil),
	DropNoRoute:        sendOne(to("8.8.8.8"), nil),
	DropRouteForbidden: sendOne(to("192.0.2.1"), nil),
	DropNotOurPort:     sendOne(to("198.18.0.7"), nil),
	DropLocalDst: {
		options: func(o *Options) { o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.1:53")} },
		do:      func(p *path) { p.send(wan, build(p.t, wan, answer(7000, 53))) },
	},
	DropNATExhausted: {
		options: func(o *Options) { o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32:5000-5001")} },
		do: func(p *path) {
			for port := range uint16(3) {
				p.send(lan, build(p.t, lan, udp(7000+port, 53)))
			}
		},
	},
	DropNATClash: {do: func(p *path) {
		s := spec{src: clientAddr, dst: serverAddr, proto: 47, payload: make([]byte, 20)}
		p.send(lan, build(p.t, lan, s))
		s.src = client2Addr
		p.send(lan, build(p.t, lan, s))
	}},
	DropHostFlows: {
		options: func(o *Options) { o.MaxFlowsPerHost = 2 },
		do: func(p *path) {
			for port := range uint16(3) {
				p.send(lan, build(p.t, lan, udp(7000+port, 53)))
			}
		},
	},
	DropHostRate: {
		options: func(o *Options) { o.NewFlowsPerHost = 2 },
		do: func(p *path) {
			for port := range uint16(6) { // in two seconds at most
				p.send(lan, build(p.t, lan, udp(7000+port, 53)))
			}
		},
	},
	DropTableFull: {
		options: func(o *Options) { o.MaxFlows = 1 },
		do: func(p *path) { // an assured flow is never evicted
			p.send(lan, build(p.t, lan, udp(7000, 53)))
			p.send(wan, build(p.t, wan, answer(53, 7000)))
			p.Advance(3 * time.Second)
			p.send(lan, build(p.t, lan, udp(7000, 53)))
			p.send(lan, build(p.t, lan, udp(7001, 53)))
		},
	},
	DropHelper: {do: func(p *path) {
		tcp := func(from int, src, dst netip.Addr, sport, dport uint16, flags layers.TCP, text string) {
			p.send(from, build(p.t, from, spec{src: src, dst: dst, sport: sport, dport: dport, tcp: &flags, payload: []byte(text)}))
		}
		tcp(lan, clientAddr, serverAddr, 40000, 21, layers.TCP{SYN: true, Seq: 99}, "")
		tcp(wan, serverAddr, poolAddr, 21, 40000, layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 100}, "")
		tcp(lan, clientAddr, serverAddr, 40000, 21, layers.TCP{ACK: true, Seq: 100, Ack: 500}, "")
		tcp(lan, clientAddr, serverAddr, 40000, 21, layers.TCP{ACK: true, PSH: true, Seq: 100, Ack: 500}, "PORT 10,1,2")
	}},
	DropTooBig: sendOne(func() spec { s := udp(7000, 53); s.payload = make([]byte, 1450); return s }(), nil),
	DropNeighbourPending: {do: func(p *path) {
		for i := range uint16(maxHeldPerIP + 1) {
			s := to("203.0.113.99")
			s.sport = 2000 + i
			p.send(lan, build(p.t, lan, s))
		}
	}},
	DropNeighbourFailed: {do: func(p *path) {
		p.send(lan, build(p.t, lan, to("203.0.113.99")))
		p.advance(4 * time.Second)
	}},
	DropTXRingFull: {
		options: func(o *Options) { o.RingSize = 64 },
		do: func(p *path) { // nobody takes the packets off the wire
			for i := range uint16(65) {
				p.deliver(lan, 0, build(p.t, lan, udp(2000+i, 53)))
				p.Burst(0)
			}
		},
	},
	DropICMPRedirect: {do: func(p *path) {
		request := p.send(lan, build(p.t, lan, udp(7000, 9)))
		p.send(wan, build(p.t, wan, spec{src: serverAddr, dst: poolAddr, payload: request[0].frame[14:],
			icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(5, 1)}}))
	}},
	DropMartianSource: sendOne(spec{src: lanAddr, dst: serverAddr, sport: 1, dport: 2}, nil),
	DropLand:          sendOne(spec{src: clientAddr, dst: clientAddr, sport: 139, dport: 139, tcp: &layers.TCP{SYN: true}}, nil),
	DropSpoofed: {do: func(p *path) {
		p.send(lan, build(p.t, lan, udp(7000, 53)))
		p.send(wan, build(p.t, wan, udp(7000, 53))) // as if the client had sent it
	}},
	DropReversePath: {
		options: func(o *Options) { o.ReversePath = ReversePathStrict },
		do:      func(p *path) { p.send(lan, build(p.t, lan, answer(7000, 53))) },
	},
	DropBogon: {
		options: func(o *Options) { o.DropBogons = true },
		do:      func(p *path) { p.send(lan, build(p.t, lan, udp(7000, 53))) },
	},
	DropNATNoAddress: {
		options: func(o *Options) { o.NAT = nat.Config{Masquerade: true} },
		do: func(p *path) {
			p.rewire(func(ports []fib.FixedPort, _ []fib.FixedRoute) { ports[wan].Addrs = nil })
			p.send(lan, build(p.t, lan, udp(7000, 53)))
		},
	},
	DropRouteMoved: {do: func(p *path) {
		p.send(lan, build(p.t, lan, udp(7000, 53)))
		p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) { routes[0].Port, routes[0].MAC = lan, mac(clientMAC) })
		p.send(lan, build(p.t, lan, udp(7000, 53)))
	}},
	DropLinkDown: {do: func(p *path) {
		p.rewire(func(ports []fib.FixedPort, _ []fib.FixedRoute) { ports[wan].Down = true })
		p.send(lan, build(p.t, lan, udp(7000, 53)))
	}},
	DropPuntFailed: {do: func(p *path) { p.send(wan, build(p.t, wan, spec{src: serverAddr, dst: wanAddr, sport: 1, dport: 2})) }},
	DropStraysFull: {
		options: func(o *Options) {
			o.Queues = 4
			tellRSS(o, &[2]*nic{newNIC(11, 4), newNIC(12, 4)})
		},
		do: func(p *path) {
			p.path.strays = flowtable.NewStrays(1)
			p.queue = asTold(p, &[2]*nic{newNIC(11, 4), newNIC(12, 4)}, 4)
			for port := uint16(20); p.counterValue("drop_strays_full") == 0 && port < 60; port++ {
				p.announce(port)
				p.send(wan, build(p.t, wan, spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6400 + port, tcp: &layers.TCP{SYN: true}}))
			}
			if n := p.counterValue("flows"); n != p.counterValue("flows_new")-p.counterValue("flows_ended") {
				p.t.Errorf("%d flows in the table", n)
			}
		},
	},
	DropHandoverFull: {
		options: func(o *Options) { o.Queues, o.RingSize = 2, 64 },
		do: func(p *path) {
			for range 3 * 64 { // 7040 belongs to worker 0, 7104 to worker 1
				p.deliver(lan, 0, build(p.t, lan, udp(7104, 53)))
				p.Burst(0)
			}
		},
	},
}

// announce expects a connection from the server to the client.
func (p *path) announce(port uint16) {
	p.t.Helper()
	e := flowtable.Expectation{
		Tuple: flowtable.Tuple{Src: packet.AddrOf(serverAddr), Dst: packet.AddrOf(poolAddr), DstPort: 6400 + port,
			Proto: packet.ProtoTCP, Family: packet.IPv4},
		MasterOrig: flowtable.Tuple{Src: packet.AddrOf(clientAddr), Dst: packet.AddrOf(serverAddr)},
		SavedAddr:  packet.AddrOf(clientAddr), SavedPort: 6400 + port, Deadline: p.Now() + 100,
	}
	if p.Expectations().Add(&e) != flowtable.AddOK {
		p.t.Fatal("the expectation was not taken")
	}
}

// Every reason must be provoked by its own test, counted once or more, and
// leave all other drop counters alone.
func TestEveryDropReasonIsProvokedAndCounted(t *testing.T) {
	for r := DropUnspecified + 1; r < numDropReasons; r++ {
		t.Run(r.String(), func(t *testing.T) {
			pv, ok := provocations[r]
			if !ok {
				t.Fatal("no test provokes this reason")
			}
			p := newPath(t, pv.options)
			pv.do(p)
			for other := range numDropReasons {
				n := p.counterValue(other.String())
				if other == r && n == 0 {
					t.Error("not counted")
				}
				if other != r && n != 0 {
					t.Errorf("%s counted %d packets too", other, n)
				}
			}
		})
	}
}

// Operators find every counter explained, and no counter that is gone.
func TestEveryCounterIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/counters.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			documented[name] = true
		}
	}
	p := newPath(t, nil)
	var names []string
	for _, c := range p.WorkerStats()[0].Counters {
		names = append(names, c.Name)
	}
	for _, c := range p.SharedStats() {
		names = append(names, c.Name)
	}
	for d := range xsk.Decisions {
		names = append(names, d.String())
	}
	for _, n := range names {
		if !documented[n] {
			t.Errorf("counter %s has no row in docs/counters.md", n)
		}
		delete(documented, n)
	}
	for n := range documented {
		t.Errorf("docs/counters.md explains %s, which does not exist", n)
	}
}

// The packet path allocates nothing, neither for packets that pass nor for
// those that are dropped, for whatever reason.
func TestPathDoesNotAllocate(t *testing.T) {
	p := newPath(t, nil)
	cases := map[string][]byte{
		"hit":           build(t, lan, udp(7000, 53)),
		"malformed":     append([]byte(nil), build(t, lan, udp(7000, 53))...),
		"no route":      build(t, lan, to("8.8.8.8")),
		"invalid":       build(t, lan, spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{FIN: true}}),
		"ttl":           build(t, lan, func() spec { s := udp(7000, 53); s.ttl = 1; return s }()),
		"icmp error":    build(t, lan, spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, payload: make([]byte, 28)}),
		"ipv6":          build(t, lan, spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2}),
		"too big":       build(t, lan, func() spec { s := udp(7000, 53); s.payload = make([]byte, 1450); return s }()),
		"ftp handshake": build(t, lan, spec{src: clientAddr, dst: serverAddr, sport: 40000, dport: 21, tcp: &layers.TCP{SYN: true}}),
	}
	cases["malformed"][14] = 0x42
	for name, frame := range cases {
		t.Run(name, func(t *testing.T) { p.checkNoAllocs(t, func(int) []byte { return frame }) })
	}
	t.Run("new flows and expiry", func(t *testing.T) {
		frame := build(t, lan, udp(7000, 53))
		p.checkNoAllocs(t, func(i int) []byte {
			binary.BigEndian.PutUint16(frame[34:], uint16(1024+i%60000))
			frame[40], frame[41] = 0, 0 // no UDP checksum
			if i%500 == 0 {
				p.Advance(40 * time.Second)
			}
			return frame
		})
	})
}

// checkNoAllocs sends 2,000 packets inside the measured function, because
// AllocsPerRun rounds its average down.
func (p *path) checkNoAllocs(t *testing.T, next func(i int) []byte) {
	t.Helper()
	i := 0
	send := func() {
		for range 2000 {
			if p.Wires[lan][0].Deliver(next(i)) != 1 {
				t.Fatal("the wire is full")
			}
			i++
			p.Burst(0)
			p.drain()
		}
	}
	send() // counters, rings and tables are warm
	if n := testing.AllocsPerRun(1, send); n != 0 {
		t.Errorf("%v allocations in 2000 packets", n)
	}
}

// drain takes everything off the wires without looking at it.
func (p *path) drain() {
	for _, wires := range p.Wires {
		for _, w := range wires {
			n := w.Collect(p.descs[:])
			w.Complete(p.descs[:n])
		}
	}
}

func ExampleDropReason() {
	fmt.Println(DropNoRoute)
	// Output: drop_no_route
}

package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Where the NIC's spreading is mirrored, question and answer of every source
// translated flow come to one worker, all workers get their share, and no
// reply tuple is given out twice.
func TestRSSHandsNothingOver(t *testing.T) {
	const flows = 4000
	for _, queues := range []int{1, 2, 4, 8, 16} {
		for _, tcp := range []bool{true, false} {
			t.Run(fmt.Sprintf("queues=%d/tcp=%v", queues, tcp), func(t *testing.T) {
				p := openRSS(t, queues, func(o *Options) { o.MaxFlows = 2 * flows })
				p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) {
					routes[0].Dst, routes[1].Dst = prefix("203.0.0.0/8"), prefix("10.1.0.0/16")
				})
				opened, replies := make(map[[2]netip.AddrPort]bool), make(map[[2]netip.AddrPort]bool)
				rng := rand.New(rand.NewPCG(5, 6))
				for len(replies) < flows { // few servers and ports, so that ports clash
					src := at(netip.AddrFrom4([4]byte{10, 1, 7, byte(rng.IntN(100))}), uint16(2000+rng.IntN(500)))
					dst := at(netip.AddrFrom4([4]byte{203, 1, 0, byte(rng.IntN(10))}), 80)
					if opened[[2]netip.AddrPort{src, dst}] {
						continue
					}
					opened[[2]netip.AddrPort{src, dst}] = true
					q, _ := p.exchange(lan, tcp, src, dst)
					if replies[q] {
						t.Fatalf("%s > %s leaves as %s, like another flow", src, dst, q[0])
					}
					replies[q] = true
				}
				p.checkFlows(flows)
				if n := p.counterValue("handed_over"); n != 0 {
					t.Errorf("%d packets handed over, want 0", n)
				}
				if n := p.counterValue("received"); n != 2*flows {
					t.Errorf("%d packets received, want %d", n, 2*flows)
				}
				p.checkBalance(flows, 1.35)
			})
		}
	}
}

// checkBalance bounds the share of the busiest worker, in shares.
func (p *path) checkBalance(flows int, bound float64) {
	p.t.Helper()
	var each []int
	for _, w := range p.workers {
		each = append(each, w.flows.table.Len())
	}
	share := float64(slices.Max(each)) * float64(len(each)) / float64(flows)
	p.t.Logf("flows of each worker %v, the busiest has %.2f shares", each, share)
	if share > bound {
		p.t.Errorf("the busiest worker has %.2f shares, want at most %.2f", share, bound)
	}
}

// By port number the same traffic is handed over, and works.
func TestPortsHandOverByChance(t *testing.T) {
	s := spread{"", 4, tellNothing, asTold}
	p := s.open(t, nil)
	for i := range uint16(500) {
		p.exchange(lan, false, at(clientAddr, 2000+i*64), at(serverAddr, 80))
	}
	p.checkFlows(500)
	if n := p.counterValue("handed_over"); n < 650 || n > 850 {
		t.Errorf("%d of 1000 packets handed over, want about 3 of 4", n)
	}
	p.checkBalance(500, 1.1)
}

// A client that the gateway masquerades keeps its port if answers to it come
// to the flow's worker, which one worker alone always grants.
func TestRSSKeepsPortsThatFit(t *testing.T) {
	for _, queues := range []int{1, 2, 8} {
		p := openRSS(t, queues, nil)
		kept := 0
		const flows = 400
		for i := range uint16(flows) {
			if q, _ := p.exchange(lan, true, at(clientAddr, 2000+i), at(serverAddr, 80)); q[0].Port() == 2000+i {
				kept++
			}
		}
		if want := flows / queues; kept < want*3/4 || kept > want*5/4 {
			t.Errorf("%d queues: %d of %d ports kept, want about %d", queues, kept, flows, want)
		}
	}
}

// An explicit range of ports is kept to, however few of them fit.
func TestRSSKeepsToTheRange(t *testing.T) {
	p := openRSS(t, 4, func(o *Options) { o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32:5000-5255")} })
	seen := make(map[uint16]bool)
	for i := range uint16(256) {
		out := p.send(lan, build(t, lan, l4(true, at(clientAddr, 5000+i), at(serverAddr, 80), layers.TCP{SYN: true})))
		if len(out) == 0 {
			continue
		}
		port := ends(t, out[0].frame)[0].Port()
		if port < 5000 || port > 5255 || seen[port] {
			t.Errorf("port %d is out of the range or given out twice", port)
		}
		seen[port] = true
	}
	if exhausted := p.counterValue("drop_nat_exhausted"); len(seen)+int(exhausted) != 256 || len(seen) < 200 {
		t.Errorf("%d ports given out, %d flows refused, of 256 ports and flows", len(seen), exhausted)
	}
}

// Privileged ports stay privileged while there are any that fit.
func TestRSSKeepsTheClass(t *testing.T) {
	p := openRSS(t, 4, nil)
	for i := range uint16(60) {
		q, _ := p.exchange(lan, true, at(clientAddr, 400+i), at(serverAddr, 80))
		if q[0].Port() > 511 {
			t.Errorf("port %d became %d", 400+i, q[0].Port())
		}
	}
}

func TestRSSPathDoesNotAllocate(t *testing.T) {
	p := openRSS(t, 4, nil)
	send := func(name string, frame []byte, change func(i int)) {
		t.Run(name, func(t *testing.T) {
			i := 0
			round := func() {
				for range 2000 {
					if change(i); p.Wires[lan][0].Deliver(frame) != 1 {
						t.Fatal("the wire is full")
					}
					i++
					for w := range p.workers {
						p.Burst(w)
					}
					p.drain()
				}
			}
			round()
			if n := testing.AllocsPerRun(1, round); n != 0 {
				t.Errorf("%v allocations in 2000 packets", n)
			}
		})
	}
	frame := build(t, lan, udp(7000, 53))
	send("new flows, own and others'", frame, func(i int) {
		binary.BigEndian.PutUint16(frame[34:], uint16(1024+i%60000))
		frame[40], frame[41] = 0, 0 // no UDP checksum
		if i%500 == 0 {
			p.Advance(40 * time.Second)
		}
	})
	send("untranslated", build(t, lan, spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2}), func(int) {})
}

// steeringPorts are two ports that can be mirrored.
func steeringPorts(queues int) []SteeringPort {
	a, b := newNIC(1, queues), newNIC(2, queues)
	return []SteeringPort{{"in", nat.RealmInternal, queues, a.tell()}, {"out", nat.RealmExternal, queues, b.tell()}}
}

func TestPlanSteering(t *testing.T) {
	third := func(p []SteeringPort, name string, seed uint64) []SteeringPort {
		return append(p, SteeringPort{name, nat.RealmExternal, 4, newNIC(seed, 4).tell()})
	}
	for _, c := range []struct {
		name   string
		change func(p []SteeringPort) []SteeringPort
		by     nat.Protocols
		note   string // start of the first note
	}{
		{"all known", nil, nat.AllProtocols, ""},
		{"another port that spreads alike", func(p []SteeringPort) []SteeringPort { return third(p, "out2", 2) }, nat.AllProtocols, ""},
		{"a longer table that spreads alike", func(p []SteeringPort) []SteeringPort {
			p = third(p, "out2", 2)
			p[2].RSS.Table = append(p[2].RSS.Table, p[2].RSS.Table...)
			return p
		}, nat.AllProtocols, ""},
		{"no key", func(p []SteeringPort) []SteeringPort { p[0].RSS.Key = nil; return p }, 0,
			"in does not tell its RSS key and table: "},
		{"short key", func(p []SteeringPort) []SteeringPort { p[0].RSS.Key = p[0].RSS.Key[:16]; return p }, 0,
			"in has an RSS key of 16 bytes, 40 are needed: "},
		{"another function", func(p []SteeringPort) []SteeringPort { p[1].RSS.Function = "xor"; return p }, 0,
			`out hashes by "xor", not toeplitz: ethtool -X out hfunc toeplitz`},
		{"symmetric", func(p []SteeringPort) []SteeringPort { p[1].RSS.Symmetric = true; return p }, 0,
			"out combines addresses and ports before it hashes them: ethtool -X out xfrm none"},
		{"odd table", func(p []SteeringPort) []SteeringPort { p[1].RSS.Table = p[1].RSS.Table[:100]; return p }, 0,
			"out has an RSS table of 100 entries, no power of two: "},
		{"queue that is not there", func(p []SteeringPort) []SteeringPort { p[0].RSS.Table[5] = 4; return p }, 0,
			"in leads packets to queue 4 of 4: ethtool -X in equal 4"},
		{"addresses only", func(p []SteeringPort) []SteeringPort { p[1].RSS.Fields[1] = "sd"; return p }, nat.AllProtocols &^ nat.UDP4,
			"out hashes sd of udp4, not sdfn: ethtool -N out rx-flow-hash udp4 sdfn"},
		{"more than addresses and ports", func(p []SteeringPort) []SteeringPort { p[0].RSS.Fields[2] = "vsdfn"; return p }, nat.AllProtocols &^ nat.TCP6,
			"in hashes vsdfn of tcp6, not sdfn: ethtool -N in rx-flow-hash tcp6 sdfn"},
		{"fields not told", func(p []SteeringPort) []SteeringPort { p[0].RSS.Fields[3] = ""; return p }, nat.AllProtocols &^ nat.UDP6,
			"in does not tell what it hashes of udp6: "},
		{"another key on one side", func(p []SteeringPort) []SteeringPort { return third(p, "out2", 3) }, 0,
			"out2 has another RSS key than out on the same side: ethtool -X out2 hkey "},
		{"another table on one side", func(p []SteeringPort) []SteeringPort {
			p = third(p, "out2", 2)
			p[2].RSS.Table[0] = 3
			return p
		}, 0, "out2 has another RSS table than out on the same side: ethtool -X out2 equal 4"},
		{"a worker without answers", func(p []SteeringPort) []SteeringPort {
			for i := range p[1].RSS.Table {
				p[1].RSS.Table[i] = i % 2
			}
			return p
		}, 0, "out leaves worker 2 without packets, to which in leads some: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			ports := steeringPorts(4)
			if c.change != nil {
				ports = c.change(ports)
			}
			s, notes, err := PlanSteering(SteeringAuto, ports, 4)
			if err != nil {
				t.Fatal(err)
			}
			if s.ByRSS != c.by {
				t.Errorf("by RSS %04b, want %04b", s.ByRSS, c.by)
			}
			got := ""
			if len(notes) > 0 {
				got = notes[0].Port + " " + notes[0].Text + ": " + notes[0].Todo
			}
			if !strings.HasPrefix(got, c.note) || (got == "") != (c.note == "") {
				t.Errorf("noted %q, want %q", got, c.note)
			}
			_, _, err = PlanSteering(SteeringRSS, ports, 4)
			if refused := errors.Is(err, ErrSteering); refused != (c.note != "") || err != nil && !refused {
				t.Errorf("with --steering rss: %v", err)
			}
			if s, notes, err := PlanSteering(SteeringPorts, ports, 4); err != nil || s.ByRSS != 0 || notes != nil {
				t.Errorf("with --steering ports: %v %v %v", s, notes, err)
			}
			if s, notes, err := PlanSteering(SteeringRSS, ports, 1); err != nil || s.ByRSS != 0 || notes != nil {
				t.Errorf("with one worker: %v %v %v", s, notes, err)
			}
		})
	}
}

// A packet may be on its way to the worker of a flow that ends just then. The
// flow that it starts there is found by what follows it.
func TestPacketForAFlowThatHasEnded(t *testing.T) {
	p := openRSS(t, 4, nil)
	frame := build(t, lan, udp(7000, 53))
	natural := p.queue(lan, frame)
	tuple := flowtable.Tuple{Src: packet.AddrOf(clientAddr), Dst: packet.AddrOf(serverAddr), SrcPort: 7000, DstPort: 53,
		Proto: packet.ProtoUDP, Family: packet.IPv4}
	other := (natural + 1) % 4
	p.path.strays.Add(&tuple, other)
	p.deliver(lan, natural, frame)
	p.Burst(natural) // hands it over
	p.path.strays.Remove(&tuple, other)
	p.check(p.run(), wan)
	p.exchange(lan, false, at(clientAddr, 7000), at(serverAddr, 53))
	p.checkFlows(1)
	p.checkStraysEnd()
}

// A flow that one of its directions cannot be noted of leaves the other one not
// noted either.
func TestRefusedStrayLeavesNothing(t *testing.T) {
	for other := range 4 {
		p := openRSS(t, 4, nil)
		p.announce(1)
		p.path.strays = flowtable.NewStrays(1)
		frame := build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6401, tcp: &layers.TCP{SYN: true}})
		natural := p.queue(wan, frame)
		if other == natural {
			continue
		}
		tuple := flowtable.Tuple{Src: packet.AddrOf(serverAddr), Dst: packet.AddrOf(poolAddr), SrcPort: 20, DstPort: 6401,
			Proto: packet.ProtoTCP, Family: packet.IPv4}
		p.path.strays.Add(&tuple, other)
		p.deliver(wan, natural, frame)
		p.Burst(natural) // hands it over
		p.path.strays.Remove(&tuple, other)
		if refused := len(p.run()) == 0; refused != (p.counterValue("drop_strays_full") == 1) {
			t.Errorf("worker %d: forwarded %v and counted %d", other, !refused, p.counterValue("drop_strays_full"))
		}
		p.checkStraysEnd()
	}
}

// What comes to a queue that RSS does not say is told apart from what the rules
// lead elsewhere.
func TestMismatchIsCounted(t *testing.T) {
	p := openRSS(t, 4, func(o *Options) { o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.32:80=10.1.2.3:8080")} })
	for i := range uint16(40) {
		p.exchange(lan, true, at(clientAddr, 2000+i), at(serverAddr, 80))
		p.exchange(wan, true, at(serverAddr, 2000+i), at(poolAddr, 80))
	}
	if n, handed := p.counterValue("rss_mismatch"), p.counterValue("handed_over"); n != 0 || handed < 15 {
		t.Errorf("%d mismatches in %d packets handed over, want none in about 30", n, handed)
	}
	told := p.queue
	p.queue = func(port int, frame []byte) int { return (told(port, frame) + 1) % 4 }
	for i := range uint16(40) {
		p.exchange(lan, true, at(clientAddr, 3000+i), at(serverAddr, 80))
	}
	if n := p.counterValue("rss_mismatch"); n != 80 {
		t.Errorf("%d mismatches, want 80", n)
	}
}

// By RSS a port fits one destination: nothing is recorded that another flow of
// the source could use.
func TestRSSRecordsNoMappings(t *testing.T) {
	p := openRSS(t, 4, nil)
	for i := range uint16(100) {
		p.exchange(lan, false, at(clientAddr, 7000), at(serverAddr, 100+i))
	}
	p.checkFlows(100)
	if n := p.counterValue("nat_mappings"); n != 0 {
		t.Errorf("%d mappings, want none", n)
	}
	if n := p.counterValue("handed_over"); n != 0 {
		t.Errorf("%d packets handed over, want none", n)
	}
}

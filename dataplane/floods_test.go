package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// assuredFlows are opened before a flood.
const assuredFlows = 200

// openAssured opens flows of UDP and TCP that are never evicted.
func openAssured(t *testing.T, p *path) {
	t.Helper()
	for round := range 2 {
		for i := range uint16(assuredFlows / 2) {
			p.exchange(lan, false, at(clientAddr, 2000+i), at(serverAddr, 53))
		}
		if round == 0 {
			p.advance(3 * time.Second) // then it is a stream
		}
	}
	for i := range uint16(assuredFlows / 2) {
		src, dst := at(client2Addr, 3000+i), at(serverAddr, 80)
		p.exchange(lan, true, src, dst)
		p.pass(lan, true, src, dst, layers.TCP{ACK: true, Seq: 2, Ack: 10})
	}
}

// checkAssured sends a packet each way through all of them.
func checkAssured(t *testing.T, p *path) {
	t.Helper()
	before := p.counterValue("flows_new")
	for i := range uint16(assuredFlows / 2) {
		p.exchange(lan, false, at(clientAddr, 2000+i), at(serverAddr, 53))
		src, dst := at(client2Addr, 3000+i), at(serverAddr, 80)
		q := p.pass(lan, true, src, dst, layers.TCP{ACK: true, Seq: 2, Ack: 10})
		p.pass(wan, true, q[1], q[0], layers.TCP{ACK: true, Seq: 10, Ack: 2})
	}
	if n := p.counterValue("flows_new") - before; n != 0 {
		t.Errorf("%d of the assured flows had ended", n)
	}
}

// A flood that fills the table, of whatever is cheap to send, ends no assured flow, takes
// no memory, and is over as soon as it ends.
func TestFloodsSpareAssuredFlows(t *testing.T) {
	anywhere := func() netip.Addr {
		return netip.AddrFrom4([4]byte{20, byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	}
	port := func() uint16 { return uint16(rand.Uint32()) | 1024 } // none with a helper, which takes memory once
	floods := map[string]func(t *testing.T) (int, []byte){
		"syn": func(t *testing.T) (int, []byte) {
			return lan, build(t, lan, spec{src: clientAddr, dst: anywhere(), sport: port(), dport: port(), tcp: &layers.TCP{SYN: true, Seq: rand.Uint32()}})
		},
		"syn from outside to a service": func(t *testing.T) (int, []byte) {
			return wan, build(t, wan, spec{src: anywhere(), dst: poolAddr, sport: port(), dport: 80, tcp: &layers.TCP{SYN: true, Seq: rand.Uint32()}})
		},
		"random udp": func(t *testing.T) (int, []byte) {
			return lan, build(t, lan, spec{src: clientAddr, dst: anywhere(), sport: port(), dport: port()})
		},
		"random udp from outside": func(t *testing.T) (int, []byte) {
			return wan, build(t, wan, spec{src: anywhere(), dst: poolAddr, sport: port(), dport: port()})
		},
		"fragments": func(t *testing.T) (int, []byte) {
			s := long(spec{src: anywhere(), dst: poolAddr, sport: port(), dport: port()}, 600)
			return wan, split(build(t, wan, s), rand.Uint32(), 304)[rand.IntN(2)]
		},
		"ping": func(t *testing.T) (int, []byte) {
			return lan, build(t, lan, spec{src: clientAddr, dst: anywhere(), icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: port()}})
		},
		"dead ends": func(t *testing.T) (int, []byte) { // the gateway has to answer
			s := spec{src: clientAddr, dst: anywhere(), sport: port(), dport: port(), ttl: 1}
			return lan, build(t, lan, s)
		},
		"unknown neighbours": func(t *testing.T) (int, []byte) {
			dst := netip.AddrFrom4([4]byte{203, 0, 113, byte(100 + rand.IntN(100))})
			return lan, build(t, lan, spec{src: clientAddr, dst: dst, sport: port(), dport: port()})
		},
		"errors": func(t *testing.T) (int, []byte) {
			quote := translatedFrame(t, lan, udp(2000+uint16(rand.IntN(2*assuredFlows)), 53))[14:]
			return wan, build(t, wan, spec{src: anywhere(), dst: poolAddr, payload: quote, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}})
		},
	}
	for name, flood := range floods {
		for workers := 1; workers <= 2; workers++ {
			t.Run(fmt.Sprintf("%s/workers=%d", name, workers), func(t *testing.T) {
				p := newPath(t, func(o *Options) {
					o.Queues, o.MaxFlows = workers, 1024
					o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.32:80=10.1.2.3:8080")}
				})
				p.mirror.SetFixed(siegeNetwork())
				p.queue = func(int, []byte) int { return rand.IntN(workers) }
				openAssured(t, p)
				var bytes [2]uint64 // when the table is full, and after as much again
				for i := range bytes {
					for range 4000 {
						from, frame := flood(t)
						p.send(from, frame)
					}
					bytes[i] = memoryOf(p)
				}
				checkAssured(t, p)
				// What was taken at start is counted as it is touched: a few mappings more.
				if bytes[1] > bytes[0]+bytes[0]/20 {
					t.Errorf("%d bytes, then %d", bytes[0], bytes[1])
				}
				if n := p.counterValue("flows"); n > 1024 {
					t.Errorf("%d flows, at most 1024 are allowed", n)
				}
				p.advance(125 * time.Second) // SYN_SENT lives for 120
				checkPassing(t, p)
				p.checkLedger(t, 0)
			})
		}
	}
}

// checkPassing opens a few new flows.
func checkPassing(t *testing.T, p *path) {
	t.Helper()
	for i := range uint16(50) {
		p.exchange(lan, i%2 == 0, at(clientAddr, 50000+i), at(serverAddr, 443))
	}
}

// A table full of assured flows refuses new ones, counted, and serves those it has.
func TestTableFullOfAssuredFlows(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlows = assuredFlows })
	openAssured(t, p)
	for i := range uint16(1000) {
		p.send(lan, build(t, lan, udp(10000+i, 53)))
	}
	if full, early := p.counterValue("drop_table_full"), p.counterValue("early_drop"); full != 1000 || early != 0 {
		t.Errorf("%d refused, %d evicted, want 1000 and 0", full, early)
	}
	checkAssured(t, p)
}

// An ICMP flood makes the gateway send no more errors than it may, and no error about
// an error (RFC 1812 §4.3.2.7, §4.3.2.8).
func TestErrorsAreNotAmplified(t *testing.T) {
	p := newPath(t, nil)
	sent, began := 0, p.Now()
	s := udp(7000, 53)
	s.ttl = 1
	for range 5000 {
		sent += len(p.send(lan, build(t, lan, s)))
	}
	if most := errorBurst + int(p.Now()-began+1)*errorRate/flowtable.TicksPerSecond; sent == 0 || sent > most {
		t.Errorf("%d errors sent, want at most %d", sent, most)
	}
	e := spec{src: clientAddr, dst: serverAddr, ttl: 1, payload: build(t, lan, udp(7000, 53))[14:], icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}}
	if out := p.send(lan, build(t, lan, e)); len(out) != 0 {
		t.Errorf("an error was answered: %x", out[0].frame)
	}
}

// Neither is the path slower for what an attacker makes it do: nothing is allocated.
func TestFloodsDoNotAllocate(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlows = 512 })
	p.mirror.SetFixed(siegeNetwork())
	syn := build(t, lan, spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 80, tcp: &layers.TCP{SYN: true}})
	p.checkNoAllocs(t, func(int) []byte { // a full table, and evictions
		binary.BigEndian.PutUint16(syn[34:], uint16(rand.Uint32())|1)
		sumTCPFrame(syn)
		return syn
	})
	if p.counterValue("early_drop") == 0 {
		t.Error("the table was never full")
	}
}

// sumTCPFrame writes the checksum of a TCP segment over IPv4.
func sumTCPFrame(frame []byte) {
	ip := packet.IPv4Header(frame[14:])
	l4 := frame[34:][:int(ip.TotalLen())-20]
	l4[16], l4[17] = 0, 0
	sum := packet.Fold(packet.Sum(l4, packet.PseudoSum(packet.IPv4, ip.Src(), ip.Dst(), packet.ProtoTCP, len(l4))))
	binary.BigEndian.PutUint16(l4[16:], sum)
}

// However full a queue is, the next one is served in the same round, and so are the
// timers: a flow whose time is over ends.
func TestNoQueueStarvesAnother(t *testing.T) {
	p := newPath(t, nil)
	p.exchange(lan, false, at(clientAddr, 7000), at(serverAddr, 53))
	flood := build(t, lan, udp(9000, 9))
	for range 200 {
		p.deliver(lan, 0, flood)
	}
	p.deliver(wan, 0, build(t, wan, answer(53, 7000)))
	p.Burst(0)
	if out := p.collect(); len(out) != BurstSize+1 || out[0].port != lan {
		t.Errorf("%d packets left in one round, want %d, the answer among them", len(out), BurstSize+1)
	}
	for range 40 * flowtable.TicksPerSecond {
		p.Advance(time.Second / flowtable.TicksPerSecond)
		p.deliver(lan, 0, flood)
		p.Burst(0)
		p.collect()
	}
	if n := p.counterValue("flows"); n != 1 {
		t.Errorf("%d flows, want only that of the flood", n)
	}
}

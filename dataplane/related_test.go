package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// extension is an RFC 4884 structure: version 2, its checksum and one object.
var extension = []byte{0x20, 0, 0, 0, 0, 8, 1, 1, 0xca, 0xfe, 0xba, 0xbe}

// errorAbout builds an ICMP error from one host to another that quotes n bytes of a
// packet and, if asked for, an extension behind them.
func errorAbout(t *testing.T, from int, src, dst netip.Addr, quoted []byte, extended bool) []byte {
	t.Helper()
	payload := quoted
	if extended { // the quote is padded and its length told (RFC 4884 §5)
		payload = slices.Concat(quoted, make([]byte, 128-len(quoted)), extension)
	}
	if src.Is4() {
		m := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 10)}
		if extended {
			m.Id = 128 / 4
		}
		return build(t, from, spec{src: src, dst: dst, icmp: m, payload: payload})
	}
	head := make([]byte, 4)
	if extended {
		head[0] = 128 / 8
	}
	return build(t, from, spec{src: src, dst: dst, icmp6: &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 3)}, payload: slices.Concat(head, payload)})
}

// quoteOf returns what an error that the gateway sent on quotes, and its addresses. Its
// checksums are right, but for that of a quoted SCTP packet.
func quoteOf(t *testing.T, frame []byte, n int) (quote []byte, src, dst netip.Addr) {
	t.Helper()
	decode(t, frame)
	var h packet.Headers
	packet.Parse(frame, &h)
	if h.Family == packet.IPv4 {
		ip := packet.IPv4Header(frame[h.L3:])
		src, dst = ip.Src().Netip(packet.IPv4), ip.Dst().Netip(packet.IPv4)
	} else {
		ip := packet.IPv6Header(frame[h.L3:])
		src, dst = ip.Src().Netip(packet.IPv6), ip.Dst().Netip(packet.IPv6)
	}
	return frame[h.Payload : int(h.Payload)+n], src, dst
}

// Errors about packets of all kinds, sent by either side, quoting eight bytes of the
// transport header, all of it, or with an extension behind: they arrive where the
// packet came from, quoting it as it was there, and leave the flow as it is.
func TestErrorsAboutAllKinds(t *testing.T) {
	kinds := exchanges(40)
	kinds["tcp"] = exchange{
		spec{src: clientAddr, dst: serverAddr, sport: 7000, dport: 80, tcp: &layers.TCP{SYN: true, Seq: 1}},
		spec{src: serverAddr, dst: poolAddr, sport: 80, dport: 7000, tcp: &layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2}},
	}
	dnat := exchange{udp(5353, 4000), spec{src: serverAddr, dst: poolAddr, sport: 4000, dport: 53}}
	for name, x := range kinds {
		t.Run(name, func(t *testing.T) { checkErrors(t, x, natBoth, lan) })
	}
	t.Run("dnat", func(t *testing.T) {
		checkErrors(t, dnat, func(o *Options) {
			o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:5353")}
		}, wan)
	})
}

// checkErrors makes a flow from one side and sends errors about the packets of both
// directions.
func checkErrors(t *testing.T, x exchange, options func(*Options), first int) {
	for workers := 1; workers <= 2; workers++ {
		p := newPath(t, func(o *Options) { options(o); o.Queues = workers })
		p.queue = func(port int, _ []byte) int { return port % workers }
		sent := [2][]byte{lan: build(t, lan, x.question), wan: build(t, wan, x.answer)}
		var arrived [2][]byte // by the side that sent it
		for _, from := range []int{first, 1 - first} {
			out := frames(t, p.send(from, sent[from]), 1-from)
			if len(out) != 1 {
				t.Fatalf("%d packets sent", len(out))
			}
			arrived[from] = out[0]
		}
		seen := p.lastSeen()
		p.Advance(5 * time.Second)
		for from, frame := range arrived {
			head := headerLen(frame)
			for _, n := range []int{head + 8, ipLen(frame)} {
				for _, extended := range []bool{false, true} {
					what := fmt.Sprintf("workers=%d, about a packet from %d, %d bytes, extended %v", workers, from, n, extended)
					reporter := x.question.dst // as the side of the error knows it
					if from == wan {
						reporter = x.question.src
					}
					to := sourceOf(frame)
					out := frames(t, p.send(1-from, errorAbout(t, 1-from, reporter, to, frame[14:14+n], extended)), from)
					if len(out) != 1 {
						t.Fatalf("%s: %d packets sent", what, len(out))
					}
					quote, src, dst := quoteOf(t, out[0], n)
					want := slices.Clone(sent[from][14 : 14+n])
					age(want)
					if string(quote) != string(want) {
						t.Errorf("%s: quotes\n%x, want\n%x", what, quote, want)
					}
					if dst != sourceOf(sent[from]) || src != destinationOf(sent[from]) {
						t.Errorf("%s: from %s to %s", what, src, dst)
					}
					if tail := out[0][len(out[0])-len(extension):]; extended && string(tail) != string(extension) {
						t.Errorf("%s: the extension is %x now", what, tail)
					}
				}
			}
		}
		if now := p.lastSeen(); now != seen {
			t.Errorf("workers=%d: an error renewed the flow", workers)
		}
	}
}

// age lowers the TTL of an IP packet by one.
func age(b []byte) {
	if b[0]>>4 == 4 {
		packet.IPv4Header(b).DecrementTTL()
	} else {
		packet.IPv6Header(b).DecrementHopLimit()
	}
}

func sourceOf(frame []byte) netip.Addr {
	if frame[12] == 0x86 {
		return packet.IPv6Header(frame[14:]).Src().Netip(packet.IPv6)
	}
	return packet.IPv4Header(frame[14:]).Src().Netip(packet.IPv4)
}

func destinationOf(frame []byte) netip.Addr {
	if frame[12] == 0x86 {
		return packet.IPv6Header(frame[14:]).Dst().Netip(packet.IPv6)
	}
	return packet.IPv4Header(frame[14:]).Dst().Netip(packet.IPv4)
}

// lastSeen adds up when the flows were last seen.
func (p *path) lastSeen() uint64 {
	n := uint64(0)
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			n += uint64(w.flows.table.Flow(idx).LastSeen)
		}
	}
	return n
}

// An error about a later fragment, or with another family's packet in it, fits no flow.
func TestErrorsThatFitNothing(t *testing.T) {
	p := newPath(t, natBoth)
	whole := frames(t, p.send(lan, build(t, lan, long(udp(7000, 53), 1000))), wan)[0]
	later := split(whole, 1, 504)[1]
	six := frames(t, p.send(lan, build(t, lan, spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53})), wan)[0]
	p.send(wan, errorAbout(t, wan, serverAddr, poolAddr, later[14:62], false), errorAbout(t, wan, serverAddr, poolAddr, six[14:62], false))
	if n := p.counterValue("drop_icmp_unmatched"); n != 2 {
		t.Errorf("drop_icmp_unmatched is %d, want 2", n)
	}
}

package dataplane

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/packet"
)

// spoilt is a packet that conntrack calls INVALID before it looks for a flow.
type spoilt struct {
	cause  string // its counter
	from   spec
	change func(f []byte)
}

// transportAt is where the transport header of a frame without options begins.
func transportAt(f []byte) int {
	if f[12] == 0x86 {
		return 54
	}
	return 34
}

// flip changes a byte of the transport header that is no length.
func flip(f []byte) { f[transportAt(f)+7] ^= 0x10 }

// shorten takes n bytes off the end of an IPv4 packet, as its sender might have.
func shorten(n int) func(f []byte) {
	return func(f []byte) {
		ip := packet.IPv4Header(f[14:])
		ip.SetTotalLen(ip.TotalLen() - uint16(n))
	}
}

// udpLength writes the length field of a UDP packet.
func udpLength(v uint16) func(f []byte) {
	return func(f []byte) { binary.BigEndian.PutUint16(f[transportAt(f)+4:], v) }
}

func tcpOffset(words uint8) func(f []byte) {
	return func(f []byte) { f[transportAt(f)+12] = words << 4 }
}

var spoiltPackets = map[string]spoilt{
	"udp checksum":          {"invalid_checksum", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, payload: []byte("text")}, flip},
	"tcp checksum":          {"invalid_checksum", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}, payload: []byte("text")}, flip},
	"icmp checksum":         {"invalid_checksum", spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, payload: []byte("text")}, flip},
	"icmp error's checksum": {"invalid_checksum", spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, payload: make([]byte, 28)}, flip},
	"sctp checksum":         {"invalid_checksum", spec{src: clientAddr, dst: serverAddr, proto: 132, payload: make([]byte, 28)}, flip},
	"udp checksum, ipv6":    {"invalid_checksum", spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2, payload: []byte("text")}, flip},
	"tcp checksum, ipv6":    {"invalid_checksum", spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}}, flip},
	"icmpv6 checksum": {"invalid_checksum", spec{src: client6Addr, dst: server6Addr, icmp6: &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)},
		echo6: &layers.ICMPv6Echo{}}, flip},
	"udp length below 8":     {"invalid_length", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2}, udpLength(7)},
	"udp length too long":    {"invalid_length", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2}, udpLength(9)},
	"udp length, ipv6":       {"invalid_length", spec{src: client6Addr, dst: server6Addr, sport: 1, dport: 2}, udpLength(9)},
	"half a udp header":      {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2}, shorten(4)},
	"half a tcp header":      {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}}, shorten(10)},
	"tcp offset below 5":     {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}}, tcpOffset(4)},
	"tcp offset too long":    {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}}, tcpOffset(6)},
	"half an icmp header":    {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}}, shorten(4)},
	"half an sctp header":    {"invalid_truncated", spec{src: clientAddr, dst: serverAddr, proto: 132, payload: make([]byte, 11)}, nil},
	"icmp type that is none": {"invalid_icmp_type", spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(42, 0)}}, nil},
	"router advertisement":   {"invalid_icmp_type", spec{src: clientAddr, dst: serverAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(9, 0)}}, nil},
}

func (s *spoilt) build(t *testing.T) []byte {
	t.Helper()
	f := build(t, lan, s.from)
	if s.change != nil {
		s.change(f)
	}
	return f
}

// A packet that is INVALID by itself is dropped and counted under its cause, makes
// no flow, and, though it has the tuple of a flow, changes nothing of that.
func TestSpoiltPacketsAreInvalid(t *testing.T) {
	for name, s := range spoiltPackets {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, nil)
			if out := p.send(lan, s.build(t)); len(out) != 0 {
				t.Errorf("%d packets sent", len(out))
			}
			for c, want := range map[string]uint64{s.cause: 1, "drop_invalid": 1, "flows_new": 0} {
				if n := p.counterValue(c); n != want {
					t.Errorf("%s is %d, want %d", c, n, want)
				}
			}
		})
	}
}

// With --invalid pass it is forwarded untranslated.
func TestSpoiltPacketsPassBare(t *testing.T) {
	for name, s := range spoiltPackets {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, func(o *Options) { o.PassInvalid = true })
			f := s.build(t)
			out := p.send(lan, f, build(t, lan, udp(7000, 53)))
			if len(out) != 2 {
				t.Fatalf("%d packets sent, want 2", len(out))
			}
			got := out[0].frame
			var h packet.Headers
			packet.Parse(got, &h)
			if out[0].port != wan || string(got[26:]) != string(f[26:h.End]) {
				t.Errorf("port %d: %x\nwas %x", out[0].port, got, f)
			}
			if p.counterValue(s.cause) != 1 || p.counterValue("flows_new") != 1 || p.counterValue("drop_invalid") != 0 {
				t.Error("counted otherwise")
			}
		})
	}
}

// What nobody verified is forwarded as damaged as it came: translation mends the
// checksum by what it changes.
func TestChecksumsMayBeSkipped(t *testing.T) {
	p := newPath(t, func(o *Options) { o.SkipChecksums = true })
	s := spoiltPackets["udp checksum"]
	out := p.send(lan, s.build(t))
	if len(out) != 1 || p.counterValue("invalid_checksum") != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	f := out[0].frame
	sum := packet.Sum(f[34:], packet.PseudoSum(packet.IPv4, packet.AddrFrom4(f[26:]), packet.AddrFrom4(f[30:]), 17, len(f)-34))
	if packet.Fold(sum) == 0 {
		t.Error("the checksum is right now")
	}
}

// A packet that is handed over is verified once, by the worker that received it,
// and dropped there.
func TestDamagedPacketsAreNotHandedOver(t *testing.T) {
	p := newPath(t, func(o *Options) { o.Queues = 2 })
	s := udp(7104, 53) // of worker 1
	s.payload = []byte("text")
	f := build(t, lan, s)
	flip(f)
	p.send(lan, f)
	if p.counterValue("handed_over") != 0 || p.counterValue("invalid_checksum") != 1 {
		t.Errorf("handed over %d, counted %d", p.counterValue("handed_over"), p.counterValue("invalid_checksum"))
	}
}

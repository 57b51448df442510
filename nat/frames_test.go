package nat_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

func sprint(v any) string { return fmt.Sprint(v) }

// tuple builds a tuple from "addr:port" texts; for ICMP the source port is
// the id and the destination port is type<<8|code.
func tuple(proto uint8, src, dst string) flowtable.Tuple {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return flowtable.Tuple{
		Src: packet.AddrOf(s.Addr()), Dst: packet.AddrOf(d.Addr()),
		SrcPort: s.Port(), DstPort: d.Port(), Proto: proto, Family: packet.FamilyOf(s.Addr()),
	}
}

// buildIP serialises an IP packet with tuple tu and a payload, lengths and
// checksums by gopacket: the independent oracle of this package's tests.
func buildIP(t testing.TB, tu *flowtable.Tuple, payload []byte) []byte {
	t.Helper()
	var network gopacket.NetworkLayer
	var ls []gopacket.SerializableLayer
	src, dst := tu.Src.Netip(tu.Family).AsSlice(), tu.Dst.Netip(tu.Family).AsSlice()
	if tu.Family == packet.IPv4 {
		ip := &layers.IPv4{Version: 4, TTL: 64, Id: 77, Protocol: layers.IPProtocol(tu.Proto), SrcIP: src, DstIP: dst}
		network, ls = ip, append(ls, ip)
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocol(tu.Proto), SrcIP: src, DstIP: dst}
		network, ls = ip, append(ls, ip)
	}
	switch tu.Proto {
	case packet.ProtoTCP:
		l := &layers.TCP{SrcPort: layers.TCPPort(tu.SrcPort), DstPort: layers.TCPPort(tu.DstPort),
			Seq: 1000, Ack: 2000, ACK: true, PSH: true, Window: 500}
		mustDo(t, l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l)
	case packet.ProtoUDP:
		l := &layers.UDP{SrcPort: layers.UDPPort(tu.SrcPort), DstPort: layers.UDPPort(tu.DstPort)}
		mustDo(t, l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l)
	case packet.ProtoSCTP:
		ls = append(ls, &layers.SCTP{SrcPort: layers.SCTPPort(tu.SrcPort), DstPort: layers.SCTPPort(tu.DstPort), VerificationTag: 7})
	case packet.ProtoICMP:
		ls = append(ls, &layers.ICMPv4{TypeCode: layers.ICMPv4TypeCode(tu.DstPort), Id: tu.SrcPort, Seq: 5})
	case packet.ProtoICMPv6:
		l := &layers.ICMPv6{TypeCode: layers.ICMPv6TypeCode(tu.DstPort)}
		mustDo(t, l.SetNetworkLayerForChecksum(network))
		ls = append(ls, l, &layers.ICMPv6Echo{Identifier: tu.SrcPort, SeqNumber: 5})
	}
	return serialize(t, append(ls, gopacket.Payload(payload))...)
}

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	mustDo(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return append([]byte(nil), buf.Bytes()...)
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// frameRoom is the capacity of the frames that tests build.
const frameRoom = 2048

// ethernet puts an Ethernet header before an IP packet, with room to grow.
func ethernet(ip []byte) []byte {
	f := make([]byte, 14, frameRoom)
	copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0})
	if ip[0]>>4 == 6 {
		f[12], f[13] = 0x86, 0xdd
	}
	return append(f, ip...)
}

func buildFrame(t testing.TB, tu *flowtable.Tuple, payload []byte) []byte {
	t.Helper()
	return ethernet(buildIP(t, tu, payload))
}

func mustParse(t testing.TB, frame []byte) packet.Headers {
	t.Helper()
	var h packet.Headers
	if r := packet.Parse(frame, &h); r != packet.ParseOK {
		t.Fatalf("parse: result %d for % x", r, frame)
	}
	return h
}

// checkFrame asserts that lengths and checksums of a frame are right, by
// plain sums over the wire bytes, and that its tuple is want.
func checkFrame(t testing.TB, frame []byte, want *flowtable.Tuple) {
	t.Helper()
	h := mustParse(t, frame)
	var got flowtable.Tuple
	if !flowtable.TupleOf(frame, &h, &got) {
		t.Fatalf("frame has no tuple")
	}
	if got != *want {
		t.Fatalf("tuple %v, want %v", &got, want)
	}
	checkSums(t, frame, &h)
}

func checkSums(t testing.TB, frame []byte, h *packet.Headers) {
	t.Helper()
	if h.Family == packet.IPv4 {
		if s := plainSum(frame[h.L3:h.L4]); s != 0xffff {
			t.Errorf("IP header sums up to %#x", s)
		}
	}
	l4 := frame[h.L4:h.End]
	var pseudo []byte
	switch h.Proto {
	case packet.ProtoUDP:
		if l4[6]|l4[7] == 0 {
			return
		}
	case packet.ProtoTCP, packet.ProtoICMPv6:
	case packet.ProtoICMP:
		if s := plainSum(l4); s != 0xffff {
			t.Errorf("ICMP sums up to %#x", s)
		}
		return
	default:
		return
	}
	if h.Family == packet.IPv4 {
		pseudo = append(pseudo, frame[h.L3+12:h.L3+20]...)
	} else {
		pseudo = append(pseudo, frame[h.L3+8:h.L3+40]...)
	}
	pseudo = append(pseudo, 0, h.Proto, byte(len(l4)>>8), byte(len(l4)))
	if s := plainSum(append(pseudo, l4...)); s != 0xffff {
		t.Errorf("protocol %d sums up to %#x", h.Proto, s)
	}
}

// plainSum is RFC 1071 word by word, independent of package packet.
func plainSum(b []byte) uint16 {
	var s uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		if s += w; s > 0xffff {
			s -= 0xffff
		}
	}
	return uint16(s)
}

package flowtable

import (
	"encoding/binary"
	"fmt"

	"github.com/xdpct/xdpct/packet"
)

// Dir is a direction of a flow (kernel: enum ip_conntrack_dir).
type Dir uint8

// Directions: of the packet that made the flow, and of the answers.
const (
	DirOriginal Dir = 0
	DirReply    Dir = 1
)

// Opposite returns the other direction.
func (d Dir) Opposite() Dir { return d ^ 1 }

// String returns "original" or "reply".
func (d Dir) String() string {
	if d == DirOriginal {
		return "original"
	}
	return "reply"
}

// Tuple names one direction of a flow (kernel: struct nf_conntrack_tuple).
// It is comparable, has no pointers, and all numbers are in host order.
//
// ICMP and ICMPv6 queries: SrcPort = identifier, DstPort = type<<8 | code.
// GRE and all other protocols: both ports are 0.
type Tuple struct {
	// Src and Dst are the addresses; IPv4 has Hi = 0.
	Src, Dst packet.Addr
	// SrcPort and DstPort are L4 ports, or what stands for them.
	SrcPort, DstPort uint16
	// Proto is the L4 protocol number.
	Proto uint8
	// Family is that of both addresses.
	Family packet.Family
	_      [2]byte
}

// icmpAnswer maps a query type to the type of its answer and back, plus one;
// 0 = neither (net/netfilter/nf_conntrack_proto_icmp.c, invmap).
var icmpAnswer = [256]uint8{
	8: 0 + 1, 0: 8 + 1, // echo
	13: 14 + 1, 14: 13 + 1, // timestamp
	15: 16 + 1, 16: 15 + 1, // information
	17: 18 + 1, 18: 17 + 1, // address mask
}

// icmp6Answer is icmpAnswer for ICMPv6 (nf_conntrack_proto_icmpv6.c).
var icmp6Answer = [256]uint8{
	128: 129 + 1, 129: 128 + 1, // echo
	139: 140 + 1, 140: 139 + 1, // node information
}

// Invert returns the tuple of an answer without NAT: source and destination
// change places; an ICMP query keeps its identifier and code and gets the type
// of its answer (kernel: nf_ct_invert_tuple). Inverting twice is the identity.
func (t *Tuple) Invert() Tuple {
	r := Tuple{Src: t.Dst, Dst: t.Src, SrcPort: t.DstPort, DstPort: t.SrcPort,
		Proto: t.Proto, Family: t.Family}
	if t.Proto == packet.ProtoICMP || t.Proto == packet.ProtoICMPv6 {
		r.SrcPort, r.DstPort = t.SrcPort, t.DstPort
		if a := t.answer(); a != 0 {
			r.DstPort = uint16(a-1)<<8 | t.DstPort&0xff
		}
	}
	return r
}

// answer returns the entry of the answer map for an ICMP tuple.
func (t *Tuple) answer() uint8 {
	if t.Proto == packet.ProtoICMP {
		return icmpAnswer[t.DstPort>>8]
	}
	return icmp6Answer[t.DstPort>>8]
}

// ICMPType returns the type of an ICMP or ICMPv6 tuple.
func (t *Tuple) ICMPType() uint8 { return uint8(t.DstPort >> 8) }

// ICMPCode returns the code of an ICMP or ICMPv6 tuple.
func (t *Tuple) ICMPCode() uint8 { return uint8(t.DstPort) }

// String renders the tuple for logs and test messages.
func (t *Tuple) String() string {
	return fmt.Sprintf("proto=%d src=%s dst=%s sport=%d dport=%d", t.Proto,
		t.Src.Netip(t.Family), t.Dst.Netip(t.Family), t.SrcPort, t.DstPort)
}

// TupleOf fills t from a parsed packet. It reports false where a packet has no
// tuple of its own: fragments but the first, ICMP errors, neighbour discovery
// and all other ICMP messages that are neither query nor answer.
//
// The packet may be the inner one of an ICMP error: eight bytes of L4 suffice.
//
// Hot: once per packet. 0 allocs, reads the L3 and L4 header only.
func TupleOf(frame []byte, h *packet.Headers, t *Tuple) bool {
	if h.Fragment == packet.FragmentLater {
		return false
	}
	if h.Family == packet.IPv4 {
		if len(frame) < int(h.L3)+20 {
			return false
		}
		a := frame[h.L3 : h.L3+20 : h.L3+20]
		t.Src = packet.Addr{Lo: uint64(binary.BigEndian.Uint32(a[12:16]))}
		t.Dst = packet.Addr{Lo: uint64(binary.BigEndian.Uint32(a[16:20]))}
	} else {
		if len(frame) < int(h.L3)+40 {
			return false
		}
		a := frame[h.L3 : h.L3+40 : h.L3+40]
		t.Src = packet.Addr{Hi: binary.BigEndian.Uint64(a[8:16]), Lo: binary.BigEndian.Uint64(a[16:24])}
		t.Dst = packet.Addr{Hi: binary.BigEndian.Uint64(a[24:32]), Lo: binary.BigEndian.Uint64(a[32:40])}
	}
	t.Proto, t.Family = h.Proto, h.Family
	switch h.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
		if len(frame) < int(h.L4)+4 {
			return false
		}
		p := binary.BigEndian.Uint32(frame[h.L4 : h.L4+4])
		t.SrcPort, t.DstPort = uint16(p>>16), uint16(p)
		return true
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return icmpTuple(frame, h, t)
	}
	t.SrcPort, t.DstPort = 0, 0
	return true
}

// Set4 makes t an IPv4 tuple of TCP or UDP, given in the form of Hash4.
func (t *Tuple) Set4(addrs uint64, ports uint32, proto uint8) {
	t.Src.Hi, t.Src.Lo = 0, addrs>>32
	t.Dst.Hi, t.Dst.Lo = 0, addrs&0xffffffff
	t.SrcPort, t.DstPort = uint16(ports>>16), uint16(ports)
	t.Proto, t.Family = proto, packet.IPv4
}

// icmpTuple fills the port fields from an ICMP query or answer.
func icmpTuple(frame []byte, h *packet.Headers, t *Tuple) bool {
	if len(frame) < int(h.L4)+8 {
		return false
	}
	b := frame[h.L4 : h.L4+8]
	t.SrcPort = uint16(b[4])<<8 | uint16(b[5])
	t.DstPort = uint16(b[0])<<8 | uint16(b[1])
	return t.answer() != 0
}

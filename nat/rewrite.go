package nat

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Rewrite changes the addresses and the ports (or ICMP id) of a packet whose
// tuple is from so that its tuple becomes to, and mends the IP and transport
// checksums incrementally (RFC 1624, equation 3). A UDP checksum of 0 (none)
// stays 0, a computed 0 becomes 0xffff. A later fragment has addresses only. The
// CRC of SCTP is computed anew, but not of a first fragment.
//
// The checksum is mended, not computed: a packet that was damaged before
// stays recognisably damaged (not so SCTP).
//
// Preconditions:
//   - h comes from packet.Parse of frame and returned ParseOK
//   - from and to have the packet's family and protocol
//
// Hot: once per packet. 0 allocs, the header line only.
func Rewrite(frame []byte, h *packet.Headers, from, to *flowtable.Tuple) {
	var addrs packet.Delta
	if h.Family == packet.IPv4 {
		addrs = rewriteIPv4(frame[h.L3:], to)
	} else {
		addrs = rewriteIPv6(frame[h.L3:], from, to)
	}
	if h.Fragment == packet.FragmentLater {
		return
	}
	l4 := frame[h.L4:h.End]
	switch {
	case h.Proto == packet.ProtoTCP && len(l4) >= packet.TCPMinLen:
		d := addrs + setPortPair(l4, to)
		t := packet.TCP(l4)
		t.SetChecksum(d.Apply(t.Checksum()))
	case h.Proto == packet.ProtoUDP && len(l4) >= packet.UDPLen:
		d := addrs + setPortPair(l4, to)
		if u := packet.UDP(l4); u.Checksum() != 0 {
			csum := d.Apply(u.Checksum())
			if csum == 0 {
				csum = 0xffff
			}
			u.SetChecksum(csum)
		}
	case h.Proto == packet.ProtoSCTP && len(l4) >= packet.SCTPLen:
		rewriteSCTP(l4, h, to)
	default:
		mendTransport(l4, h.Proto, addrs, setPorts(l4, h.Proto, to))
	}
}

// rewriteSCTP writes the ports and, if one has changed, computes the checksum anew:
// a CRC cannot be mended. It covers all of the packet, so of a first fragment it is
// left to the caller, who has the others.
func rewriteSCTP(l4 []byte, h *packet.Headers, to *flowtable.Tuple) {
	s := packet.SCTP(l4)
	if s.SrcPort() == to.SrcPort && s.DstPort() == to.DstPort {
		return
	}
	setPortPair(l4, to)
	if h.Beyond != 0 {
		return
	}
	var sum packet.SCTPSum
	sum.Add(l4)
	s.SetChecksum(sum.Checksum())
}

// RewritePlain is Rewrite for a packet that packet.ParsePlain took: addresses
// (source<<32|destination) and ports (source<<16|destination) are written as
// they are to be.
//
// Hot: once per packet. 0 allocs, the header line only.
func RewritePlain(frame []byte, proto uint8, addrs uint64, ports uint32) {
	const l3, l4 = packet.EthernetLen, packet.EthernetLen + packet.IPv4MinLen
	b := frame[: l4+packet.UDPLen : l4+packet.UDPLen]
	before, portsBefore := binary.BigEndian.Uint64(b[l3+12:]), binary.BigEndian.Uint32(b[l4:])
	binary.BigEndian.PutUint64(b[l3+12:], addrs)
	binary.BigEndian.PutUint32(b[l4:], ports)
	d := packet.Delta(words64(^before) + words64(addrs))
	ip := b[l3+10 : l3+12]
	binary.BigEndian.PutUint16(ip, d.Apply(binary.BigEndian.Uint16(ip)))
	d += packet.Delta(words64(uint64(^portsBefore)<<32 | uint64(ports)))
	if proto == packet.ProtoTCP {
		t := frame[l4+16 : l4+18]
		binary.BigEndian.PutUint16(t, d.Apply(binary.BigEndian.Uint16(t)))
		return
	}
	u := b[l4+6 : l4+8]
	if csum := binary.BigEndian.Uint16(u); csum != 0 { // 0 = the sender computed none
		if csum = d.Apply(csum); csum == 0 {
			csum = 0xffff
		}
		binary.BigEndian.PutUint16(u, csum)
	}
}

// rewriteIPv4 writes both addresses and mends the header checksum: one load
// and one store of 8 bytes. It returns the change of the addresses.
func rewriteIPv4(b []byte, to *flowtable.Tuple) packet.Delta {
	ip := b[:packet.IPv4MinLen]
	before := binary.BigEndian.Uint64(ip[12:])
	after := to.Src.Lo<<32 | to.Dst.Lo&0xffffffff
	if before == after {
		return 0
	}
	binary.BigEndian.PutUint64(ip[12:], after)
	d := packet.Delta(words64(^before) + words64(after))
	csum := packet.IPv4Header(ip)
	csum.SetChecksum(d.Apply(csum.Checksum()))
	return d
}

// rewriteIPv6 writes the addresses that change and returns their change.
func rewriteIPv6(b []byte, from, to *flowtable.Tuple) (d packet.Delta) {
	ip := b[:packet.IPv6Len]
	if from.Src != to.Src {
		d = swap64(ip[8:16], to.Src.Hi) + swap64(ip[16:24], to.Src.Lo)
	}
	if from.Dst != to.Dst {
		d += swap64(ip[24:32], to.Dst.Hi) + swap64(ip[32:40], to.Dst.Lo)
	}
	return d
}

// swap64 writes v to b and returns the change.
func swap64(b []byte, v uint64) packet.Delta {
	before := binary.BigEndian.Uint64(b)
	binary.BigEndian.PutUint64(b, v)
	return packet.Delta(words64(^before) + words64(v))
}

// words64 adds up the four 16-bit words of v, unfolded: a Delta takes sums of
// a few dozen words, Apply folds them.
func words64(v uint64) uint32 {
	v = v>>16&0x0000ffff0000ffff + v&0x0000ffff0000ffff
	return uint32(v>>32) + uint32(v)
}

// setPortPair writes the two ports of TCP or UDP and returns the change.
func setPortPair(l4 []byte, to *flowtable.Tuple) packet.Delta {
	before := binary.BigEndian.Uint32(l4)
	after := uint32(to.SrcPort)<<16 | uint32(to.DstPort)
	binary.BigEndian.PutUint32(l4, after)
	return packet.Delta(words64(uint64(^before)<<32 | uint64(after)))
}

// setSource writes the source address and adds its change to d.
func setSource(ip []byte, f packet.Family, d packet.Delta, a packet.Addr) packet.Delta {
	if f == packet.IPv4 {
		b := packet.IPv4Header(ip)
		d = d.AddAddr(f, b.Src(), a)
		b.SetSrc(a)
		return d
	}
	b := packet.IPv6Header(ip)
	d = d.AddAddr(f, b.Src(), a)
	b.SetSrc(a)
	return d
}

// setDestination writes the destination address and adds its change to d.
func setDestination(ip []byte, f packet.Family, d packet.Delta, a packet.Addr) packet.Delta {
	if f == packet.IPv4 {
		b := packet.IPv4Header(ip)
		d = d.AddAddr(f, b.Dst(), a)
		b.SetDst(a)
		return d
	}
	b := packet.IPv6Header(ip)
	d = d.AddAddr(f, b.Dst(), a)
	b.SetDst(a)
	return d
}

// setPorts writes the ports or the ICMP id and returns the change.
func setPorts(l4 []byte, proto uint8, to *flowtable.Tuple) packet.Delta {
	var d packet.Delta
	if len(l4) < 8 {
		return d
	}
	switch proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP: // ports are at the same place
		d = setPortPair(l4, to)
	case packet.ProtoICMP, packet.ProtoICMPv6:
		m := packet.ICMP(l4)
		d = d.Add16(m.ID(), to.SrcPort)
		m.SetID(to.SrcPort)
	}
	return d
}

// Protocols whose checksum has the pseudo header in it but whose ports stay.
const (
	protoDCCP    = 33  // RFC 4340 section 9.1
	protoUDPLite = 136 // RFC 3828 section 3.1
)

// mendTransport applies the change of the addresses and of the ports to the
// transport checksum, if l4 reaches that far, and returns the change of the
// checksum field itself.
func mendTransport(l4 []byte, proto uint8, addrs, ports packet.Delta) packet.Delta {
	switch proto {
	case packet.ProtoTCP:
		if len(l4) >= 18 {
			return mend(l4[16:18], addrs+ports)
		}
	case packet.ProtoUDP:
		if len(l4) >= 8 && l4[6]|l4[7] != 0 {
			return mendUDP(l4[6:8], addrs+ports)
		}
	case packet.ProtoICMP: // no pseudo header
		if len(l4) >= 4 {
			return mend(l4[2:4], ports)
		}
	case packet.ProtoICMPv6:
		if len(l4) >= 4 {
			return mend(l4[2:4], addrs+ports)
		}
	case protoUDPLite, protoDCCP:
		if len(l4) >= 8 {
			return mendUDP(l4[6:8], addrs)
		}
	}
	return 0
}

// mend applies d to the checksum field b and returns the change of the field.
// Two deltas may be added with + beforehand: Apply and Add16 fold the carry.
func mend(b []byte, d packet.Delta) packet.Delta {
	old := binary.BigEndian.Uint16(b)
	csum := d.Apply(old)
	binary.BigEndian.PutUint16(b, csum)
	return packet.Delta(0).Add16(old, csum)
}

// mendUDP is mend for a field in which 0 means "no checksum" (RFC 768).
func mendUDP(b []byte, d packet.Delta) packet.Delta {
	old := binary.BigEndian.Uint16(b)
	csum := d.Apply(old)
	if csum == 0 {
		csum = 0xffff
	}
	binary.BigEndian.PutUint16(b, csum)
	return packet.Delta(0).Add16(old, csum)
}

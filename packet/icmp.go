package packet

import "encoding/binary"

// ICMP types (RFC 792, 950) that the tracker knows.
const (
	ICMPEchoReply        = 0
	ICMPUnreachable      = 3
	ICMPSourceQuench     = 4
	ICMPRedirect         = 5
	ICMPEcho             = 8
	ICMPTimeExceeded     = 11
	ICMPParameterProblem = 12
	ICMPTimestamp        = 13
	ICMPTimestampReply   = 14
	ICMPInfoRequest      = 15
	ICMPInfoReply        = 16
	ICMPAddressMask      = 17
	ICMPAddressMaskReply = 18
)

// ICMPv6 types (RFC 4443, 4620, 4861, 2710) that the tracker knows.
const (
	ICMPv6Unreachable      = 1
	ICMPv6PacketTooBig     = 2
	ICMPv6TimeExceeded     = 3
	ICMPv6ParameterProblem = 4
	ICMPv6Echo             = 128
	ICMPv6EchoReply        = 129
	ICMPv6NIQuery          = 139
	ICMPv6NIReply          = 140

	icmpv6ListenerQuery          = 130
	icmpv6NeighbourAdvertisement = 136
	icmpv6ListenerReportV2       = 143
)

// ICMP codes that the gateway sends.
const (
	ICMPCodeNetUnreachable  = 0  // RFC 792
	ICMPCodeHostUnreachable = 1  // RFC 792
	ICMPCodeFragNeeded      = 4  // RFC 1191
	ICMPCodeAdminProhibited = 13 // RFC 1812 §5.2.7.1
	ICMPCodeTTLExceeded     = 0  // RFC 792
)

// ICMP is a view of an ICMP or ICMPv6 message (RFC 792, 4443), at least 8
// bytes.
type ICMP []byte

// Type returns the message type.
func (m ICMP) Type() uint8 { return m[0] }

// Code returns the message code.
func (m ICMP) Code() uint8 { return m[1] }

// Checksum returns the checksum.
func (m ICMP) Checksum() uint16 { return binary.BigEndian.Uint16(m[2:]) }

// SetChecksum writes the checksum.
func (m ICMP) SetChecksum(v uint16) { binary.BigEndian.PutUint16(m[2:], v) }

// ID returns the identifier; valid iff the message is a query or its answer.
func (m ICMP) ID() uint16 { return binary.BigEndian.Uint16(m[4:]) }

// SetID writes the identifier.
func (m ICMP) SetID(v uint16) { binary.BigEndian.PutUint16(m[4:], v) }

// Seq returns the sequence number; valid iff the message is a query or its
// answer.
func (m ICMP) Seq() uint16 { return binary.BigEndian.Uint16(m[6:]) }

// IsICMPError reports whether a message of this family and type quotes the
// packet that caused it (RFC 1122 §3.2.2). All types of ICMPv6 below 128 do, also
// those that are not known yet (RFC 4443 §2.1 and §2.4).
func IsICMPError(f Family, icmpType uint8) bool {
	if f == IPv6 {
		return icmpType < 128
	}
	switch icmpType {
	case ICMPUnreachable, ICMPSourceQuench, ICMPRedirect, ICMPTimeExceeded, ICMPParameterProblem:
		return true
	}
	return false
}

// IsLinkControl reports whether an ICMPv6 message is one by which stations of a link
// find each other and their groups: multicast listener discovery (RFC 2710, 3810)
// and neighbour discovery (RFC 4861). Conntrack leaves them untracked
// (nf_conntrack_icmpv6_error), and no router forwards them.
func IsLinkControl(icmpType uint8) bool {
	return icmpType >= icmpv6ListenerQuery && icmpType <= icmpv6NeighbourAdvertisement || icmpType == icmpv6ListenerReportV2
}

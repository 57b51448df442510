package packet

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Sums says which checksum of a packet is wrong. The zero value is none.
type Sums uint8

// What Verify may find.
const (
	SumsOK        Sums = iota
	SumsHeader         // of the IPv4 header
	SumsTransport      // of the transport header and what follows it
)

// allOnes is the sum of words one of which is the right checksum of the others.
const allOnes = 0xffff

// VerifyPlain is Verify for a packet that ParsePlain took.
//
// Hot: once per packet. 0 allocs; reads the whole packet.
func VerifyPlain(frame []byte, h *Headers) Sums {
	b := frame[:plainLen:plainLen]
	// The header is three words, of which the addresses are one; the pseudo header
	// is the addresses, the protocol and the length.
	first, rest, addrs := binary.LittleEndian.Uint64(b[14:]), binary.LittleEndian.Uint32(b[22:]), binary.LittleEndian.Uint64(b[26:])
	both := halves(addrs)
	if fold64(halves(first)+uint64(rest)+both) != allOnes {
		return SumsHeader
	}
	if h.Proto == ProtoUDP && binary.LittleEndian.Uint16(b[40:]) == 0 {
		return SumsOK
	}
	sum := both + uint64(h.Proto)<<8 + uint64(bits.ReverseBytes16(h.End-plainL4))
	l4 := frame[plainL4:h.End]
	if len(l4) >= 64 { // a call costs more than what a short packet takes
		sum = sumWords(l4, sum)
	} else {
		for ; len(l4) >= 8; l4 = l4[8:] {
			sum += halves(binary.LittleEndian.Uint64(l4))
		}
		sum += halves(lastWord(frame[:h.End], len(l4)))
	}
	if fold64(sum) != allOnes {
		return SumsTransport
	}
	return SumsOK
}

// Verify checks the checksums of a packet: of the IPv4 header (RFC 1812 §5.2.2),
// and of TCP, UDP, ICMP, ICMPv6 and SCTP over all that follows the IP header, as
// the kernel does (nf_checksum, sctp_error in net/netfilter). A UDP checksum of 0
// is none, with IPv6 too. Of a fragment only the header is checked.
//
// Precondition: h comes from Parse of frame and returned ParseOK.
func Verify(frame []byte, h *Headers) Sums {
	if h.Family == IPv4 {
		ip := IPv4Header(frame[h.L3:])
		if fold64(sumWords(ip[:ip.HeaderLen()], 0)) != allOnes {
			return SumsHeader
		}
	}
	if h.Fragment != NotFragment {
		return SumsOK
	}
	v := VerifyTransport(frame, h)
	v.Add(frame[h.L4:h.End])
	if !v.OK() {
		return SumsTransport
	}
	return SumsOK
}

// TransportSum verifies the checksum of a transport header and its payload that
// come in pieces. The zero value verifies nothing.
type TransportSum struct {
	kind transportSum
	want uint32 // SCTP: the checksum that the packet carries
	sum  uint64 // SCTP: CRC so far; else the partial sum
}

type transportSum uint8

const (
	sumNone transportSum = iota
	sumOnes              // ones' complement, RFC 1071
	sumCRC               // CRC32c, RFC 9260 §6.8
)

// castagnoliTable is the polynomial of SCTP. Immutable; computed by the CPU where it
// can.
var castagnoliTable = crc32.MakeTable(crc32.Castagnoli)

// VerifyTransport prepares to verify the packet that h describes: its whole length
// counts, Beyond included. Add must follow for each of its pieces in order.
func VerifyTransport(frame []byte, h *Headers) TransportSum {
	l4, n := frame[h.L4:h.End], h.TransportLen()
	switch {
	case h.Proto == ProtoTCP, h.Proto == ProtoUDP && UDP(l4).Checksum() != 0, h.Proto == ProtoICMPv6 && h.Family == IPv6:
		return TransportSum{kind: sumOnes, sum: swapped(h.pseudo(frame, n))}
	case h.Proto == ProtoICMP && h.Family == IPv4:
		return TransportSum{kind: sumOnes}
	case h.Proto == ProtoSCTP:
		return TransportSum{kind: sumCRC, want: SCTP(l4).Checksum()}
	}
	return TransportSum{}
}

// pseudo returns the sum of the pseudo header of a transport packet of n bytes.
func (h *Headers) pseudo(frame []byte, n int) uint32 {
	if h.Family == IPv4 {
		ip := IPv4Header(frame[h.L3:])
		return PseudoSum(IPv4, ip.Src(), ip.Dst(), h.Proto, n)
	}
	ip := IPv6Header(frame[h.L3:])
	return PseudoSum(IPv6, ip.Src(), ip.Dst(), h.Proto, n)
}

// Add takes the next piece: the bytes behind its IP headers. Only the last one may
// have an odd length; the first one has the whole transport header.
func (v *TransportSum) Add(b []byte) {
	switch v.kind {
	case sumNone:
	case sumOnes:
		v.sum = sumWords(b, v.sum)
	case sumCRC:
		if v.sum == 0 {
			v.sum = 1<<32 | uint64(sctpStart(b))
			b = b[SCTPLen:]
		}
		v.sum = 1<<32 | uint64(crc32.Update(uint32(v.sum), castagnoliTable, b))
	}
}

// OK reports whether the checksum is right, or there is none to be checked.
func (v *TransportSum) OK() bool {
	switch v.kind {
	case sumOnes:
		return fold64(v.sum) == allOnes
	case sumCRC:
		return uint32(v.sum) == v.want
	case sumNone:
	}
	return true
}

// SCTPSum returns the checksum of an SCTP packet that comes in pieces, in order,
// whatever stands in its checksum field.
type SCTPSum struct{ v TransportSum }

// Add takes the next piece, as TransportSum.Add.
func (s *SCTPSum) Add(b []byte) {
	s.v.kind = sumCRC
	s.v.Add(b)
}

// Checksum returns what SCTP.SetChecksum is to write.
func (s *SCTPSum) Checksum() uint32 { return uint32(s.v.sum) }

// sctpStart returns the CRC of an SCTP common header whose checksum field counts
// as 0.
func sctpStart(b []byte) uint32 {
	var zero [4]byte
	sum := crc32.Update(0, castagnoliTable, b[:8])
	return crc32.Update(sum, castagnoliTable, zero[:])
}

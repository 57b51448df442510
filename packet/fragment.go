package packet

import "encoding/binary"

// Piece says which part of a datagram a fragment carries. Offsets count from the
// first byte that was divided: with IPv4 what follows the IP header, with IPv6 what
// follows the fragment header.
type Piece struct {
	ID       uint32 // that all pieces of a datagram share; 16 bits with IPv4
	From, To int    // bytes From to To-1 of the datagram
	More     bool   // others follow
}

// maxDatagram is the length of the longest IPv4 datagram, header included, and of
// the longest IPv6 payload, in bytes.
const maxDatagram = 65535

// PieceOf reads a fragment. ok is false for one that cannot be part of any datagram:
// it carries nothing, ends beyond 65,535 bytes, or has others behind it and not a
// multiple of 8 bytes (RFC 791 §2.3, RFC 8200 §4.5).
//
// Precondition: h comes from Parse of frame, returned ParseOK, and h.Fragment is
// not NotFragment.
func PieceOf(frame []byte, h *Headers) (p Piece, ok bool) {
	var data, limit int
	if h.Family == IPv4 {
		ip := IPv4Header(frame[h.L3:])
		w := binary.BigEndian.Uint16(ip[6:])
		p = Piece{ID: uint32(ip.ID()), From: int(w&ipv4OffsetMask) * 8, More: w&ipv4MoreFragments != 0}
		data, limit = int(h.L3)+ip.HeaderLen(), maxDatagram-ip.HeaderLen()
	} else {
		at := fragmentHeader(frame, h)
		w := binary.BigEndian.Uint16(frame[at+2:])
		p = Piece{ID: binary.BigEndian.Uint32(frame[at+4:]), From: int(w &^ 7), More: w&1 != 0}
		data, limit = at+8, maxDatagram-(at-int(h.L3)-IPv6Len)
	}
	n := int(h.End) - data
	p.To = p.From + n
	return p, n > 0 && p.To <= limit && (!p.More || n%8 == 0)
}

// fragmentHeader returns where the fragment header is.
//
// Precondition: Parse has found one.
func fragmentHeader(frame []byte, h *Headers) int {
	at, next := int(h.L3)+IPv6Len, IPv6Header(frame[h.L3:]).NextHeader()
	for next != protoFragment {
		n := (int(frame[at+1]) + 1) * 8
		if next == protoAuth {
			n = (int(frame[at+1]) + 2) * 4
		}
		at, next = at+n, frame[at]
	}
	return at
}

// Unfragment makes a datagram of its own of a first fragment that the data of all
// others has been put behind, and returns it: without a fragment header, and with the
// length that it has now. h has to be read again.
//
// Precondition: h comes from Parse of the first fragment; frame is no longer than the
// longest datagram.
func Unfragment(frame []byte, h *Headers) []byte {
	if h.Family == IPv4 {
		ip := IPv4Header(frame[h.L3:])
		ip.SetTotalLen(uint16(len(frame) - int(h.L3)))
		binary.BigEndian.PutUint16(ip[6:], binary.BigEndian.Uint16(ip[6:])&ipv4DontFragment)
		ip.SetChecksum(0)
		ip.SetChecksum(Fold(Sum(ip[:ip.HeaderLen()], 0)))
		return frame
	}
	ip := IPv6Header(frame[h.L3:])
	named, next := int(h.L3)+6, int(h.L3)+IPv6Len // where the next header is named, and begins
	for at := fragmentHeader(frame, h); next < at; {
		n := (int(frame[next+1]) + 1) * 8
		if frame[named] == protoAuth {
			n = (int(frame[next+1]) + 2) * 4
		}
		named, next = next, next+n
	}
	frame[named] = frame[next]
	frame = frame[:next+copy(frame[next:], frame[next+IPv6FragmentLen:])]
	ip.SetPayloadLen(uint16(len(frame) - int(h.L3) - IPv6Len))
	return frame
}

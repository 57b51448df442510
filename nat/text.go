package nat

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// minFrame is the shortest Ethernet frame in bytes, without its checksum.
const minFrame = 60

// maxDatagram is the longest IPv4 datagram, or IPv6 payload, in bytes.
const maxDatagram = 65535

// ReplaceText puts text in place of the oldLen bytes at frame[off:], moves
// what follows, and mends the IP length and the checksums; h.End follows. The
// frame may grow up to its capacity. Ethernet padding is dropped, or made
// anew with zeros where the frame would be too short.
//
// It returns the new length of the frame, or ok = false, and nothing changed,
// if the text does not fit or does not lie in the payload. TCP sequence
// numbers are the caller's concern (AddSeqChange).
//
// Precondition: the packet is TCP or UDP and no fragment.
func ReplaceText(frame []byte, h *packet.Headers, off, oldLen int, text []byte) (frameLen int, ok bool) {
	end := int(h.End)
	newEnd := end + len(text) - oldLen
	if off < int(h.Payload) || oldLen < 0 || off+oldLen > end || h.Fragment != packet.NotFragment ||
		newEnd > cap(frame) || newEnd-int(h.L3) > maxDatagram {
		return len(frame), false
	}
	buf := frame[:max(newEnd, end)]
	before := sumAt(buf[off:end], off-int(h.L4))
	copy(buf[off+len(text):], buf[off+oldLen:end])
	copy(buf[off:], text)
	after := sumAt(buf[off:newEnd], off-int(h.L4))

	d := packet.Delta(0).Add16(before, after)
	d = setLengths(buf, h, newEnd, d)
	h.End = uint16(newEnd)
	mendTransport(buf[h.L4:newEnd], h.Proto, d, 0)

	frameLen = newEnd
	if frameLen < minFrame && len(frame) >= minFrame {
		clear(frame[frameLen:minFrame])
		frameLen = minFrame
	}
	return frameLen, true
}

// sumAt returns the ones' complement sum of b, whose first byte is at offset
// at of the checksummed area: at an odd offset the bytes of a word are
// swapped (RFC 1071 section 2.B).
func sumAt(b []byte, at int) uint16 {
	s := ^packet.Fold(packet.Sum(b, 0))
	if at&1 != 0 {
		s = s<<8 | s>>8
	}
	return s
}

// setLengths writes the lengths of a datagram that now ends at newEnd and
// adds the change of those that the transport checksum covers to d.
func setLengths(frame []byte, h *packet.Headers, newEnd int, d packet.Delta) packet.Delta {
	ip := frame[h.L3:]
	if h.Family == packet.IPv4 {
		packet.IPv4Header(ip).SetTotalLen(uint16(newEnd - int(h.L3)))
	} else {
		packet.IPv6Header(ip).SetPayloadLen(uint16(newEnd - int(h.L3) - packet.IPv6Len))
	}
	d = d.Add16(h.End-h.L4, uint16(newEnd)-h.L4) // pseudo header
	if h.Proto == packet.ProtoUDP {
		b := frame[h.L4+4 : h.L4+6]
		old := binary.BigEndian.Uint16(b)
		length := old + uint16(newEnd) - h.End
		binary.BigEndian.PutUint16(b, length)
		d = d.Add16(old, length)
	}
	return d
}

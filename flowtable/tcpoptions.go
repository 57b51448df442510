package flowtable

import "encoding/binary"

// Kinds of TCP options (RFC 9293 section 3.1, RFC 7323, RFC 2018).
const (
	optionEnd      = 0
	optionNop      = 1
	optionScale    = 3
	optionSACKPerm = 4
	optionSACK     = 5
)

// sackBlock is the length of a SACK block in bytes.
const sackBlock = 8

// timestampsOnly is how options begin that are two NOPs and timestamps, and
// nothing else if they are 12 bytes (RFC 7323 appendix A).
const timestampsOnly = 0x0101080a

// nextOption returns the first option, header included, and what follows it. ok
// is false at the end of the list or where it is broken.
func nextOption(b []byte) (option, rest []byte, ok bool) {
	for len(b) > 0 && b[0] == optionNop {
		b = b[1:]
	}
	if len(b) < 2 || b[0] == optionEnd {
		return nil, nil, false
	}
	n := int(b[1])
	if n < 2 || n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// synOptions returns the marks that the options of a SYN give a side, and its
// window scale, at most 14.
func synOptions(b []byte) (marks, scale uint32) {
	for {
		option, rest, ok := nextOption(b)
		if !ok {
			return marks, scale
		}
		switch {
		case option[0] == optionSACKPerm && len(option) == 2:
			marks |= sideSACK
		case option[0] == optionScale && len(option) == 3:
			marks |= sideScale
			scale = min(uint32(option[2]), maxScale)
		}
		b = rest
	}
}

// highestSACK returns the highest sequence number that a segment acknowledges:
// ack, or the right edge of one of its SACK blocks.
func highestSACK(b []byte, ack uint32) uint32 {
	if len(b) == 12 && binary.BigEndian.Uint32(b) == timestampsOnly {
		return ack
	}
	for {
		option, rest, ok := nextOption(b)
		if !ok {
			return ack
		}
		if n := len(option) - 2; option[0] == optionSACK && n > 0 && n%sackBlock == 0 {
			for edge := option[2:]; len(edge) >= sackBlock; edge = edge[sackBlock:] {
				if right := binary.BigEndian.Uint32(edge[4:]); after(right, ack) {
					ack = right
				}
			}
			return ack
		}
		b = rest
	}
}

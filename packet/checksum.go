package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b, as 16-bit words in network order, to the partial sum initial
// (RFC 1071). An odd last byte is padded with zero, so only the last of
// several pieces may have odd length. The result is folded to 16 bits, which
// makes it a valid initial of the next piece.
func Sum(b []byte, initial uint32) uint32 {
	sum := uint64(initial)
	var carry uint64
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) >= 4 {
		sum, carry = bits.Add64(sum, uint64(binary.BigEndian.Uint32(b)), carry)
		b = b[4:]
	}
	if len(b) >= 2 {
		sum, carry = bits.Add64(sum, uint64(binary.BigEndian.Uint16(b)), carry)
		b = b[2:]
	}
	if len(b) == 1 {
		sum, carry = bits.Add64(sum, uint64(b[0])<<8, carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	return uint32(fold64(sum))
}

// Fold turns a partial sum into the checksum that a header carries.
func Fold(sum uint32) uint16 { return ^fold64(uint64(sum)) }

func fold64(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// Update returns checksum csum after one 16-bit word changed from old to new
// (RFC 1624, equation 3).
func Update(csum, old, new uint16) uint16 {
	s := uint32(^csum) + uint32(^old) + uint32(new)
	s = s>>16 + s&0xffff
	return ^uint16(s + s>>16)
}

// Delta is the change that a rewrite makes to a ones' complement sum: computed
// once, applied to every checksum that covers the changed words. The zero
// value changes nothing.
type Delta uint32

// Add16 records that a 16-bit word changes from old to new.
func (d Delta) Add16(old, new uint16) Delta {
	return d.fold(uint32(^old) + uint32(new))
}

// AddAddr records that an address of family f changes from old to new.
func (d Delta) AddAddr(f Family, old, new Addr) Delta {
	if f == IPv4 {
		return d.add32(uint32(old.Lo), uint32(new.Lo))
	}
	return d.add32(uint32(old.Hi>>32), uint32(new.Hi>>32)).
		add32(uint32(old.Hi), uint32(new.Hi)).
		add32(uint32(old.Lo>>32), uint32(new.Lo>>32)).
		add32(uint32(old.Lo), uint32(new.Lo))
}

func (d Delta) add32(old, new uint32) Delta {
	return d.fold(^old>>16 + ^old&0xffff + new>>16 + new&0xffff)
}

func (d Delta) fold(s uint32) Delta {
	s += uint32(d)
	s = s>>16 + s&0xffff
	return Delta(s>>16 + s&0xffff)
}

// Apply returns the checksum csum after the change.
func (d Delta) Apply(csum uint16) uint16 {
	s := uint32(^csum) + uint32(d)
	s = s>>16 + s&0xffff
	return ^uint16(s + s>>16)
}

// PseudoSum returns the partial sum of the pseudo header of a TCP, UDP or
// ICMPv6 packet of length n bytes (RFC 9293 §3.1, RFC 8200 §8.1).
func PseudoSum(f Family, src, dst Addr, proto uint8, n int) uint32 {
	var b [40]byte
	if f == IPv4 {
		src.Put4(b[0:])
		dst.Put4(b[4:])
		b[9] = proto
		binary.BigEndian.PutUint16(b[10:], uint16(n))
		return Sum(b[:12], 0)
	}
	src.Put16(b[0:])
	dst.Put16(b[16:])
	binary.BigEndian.PutUint32(b[32:], uint32(n))
	b[39] = proto
	return Sum(b[:40], 0)
}

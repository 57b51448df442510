package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b, as 16-bit words in network order, to the partial sum initial
// (RFC 1071). An odd last byte is padded with zero, so only the last of
// several pieces may have odd length. The result is folded to 16 bits, which
// makes it a valid initial of the next piece.
//
// Hot: once per packet. 0 allocs.
func Sum(b []byte, initial uint32) uint32 {
	return uint32(bits.ReverseBytes16(fold64(sumWords(b, swapped(initial)))))
}

// sumWords adds b to the partial sum initial. Both the sum and its words are
// little-endian, which saves a swap for each word: a ones' complement sum of
// swapped bytes is the swapped sum (RFC 1071 §2 (B)). Carries out of 64 bits come
// in again at the low end, as they do out of 16.
func sumWords(b []byte, initial uint64) uint64 {
	sum, carry := initial, uint64(0)
	rest := b
	for len(rest) >= 64 {
		w := rest[:64:64]
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[8:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[16:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[24:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[32:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[40:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[48:]), carry)
		sum, carry = bits.Add64(sum, binary.LittleEndian.Uint64(w[56:]), carry)
		rest = rest[64:]
	}
	sum, carry = bits.Add64(sum, lastWord(b, len(rest)&7), carry)
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	if len(rest) < 8 {
		return sum
	}
	sum = halves(sum)
	for len(rest) >= 8 {
		sum += halves(binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
	}
	return sum
}

// halves adds the halves of a word, which is as good as the word in a sum (RFC 1071
// §2 (C)) and leaves room for the carries of many: no addition waits for the carry
// of the one before.
func halves(w uint64) uint64 { return w>>32 + w&0xffffffff }

// lastWord returns the last n bytes of b, fewer than 8, padded with zeros. A word
// that overlaps what was summed already is read at once where there is one.
func lastWord(b []byte, n int) uint64 {
	if len(b) >= 8 {
		return binary.LittleEndian.Uint64(b[len(b)-8:]) >> (64 - 8*uint(n))
	}
	v := uint64(0)
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// swapped turns a partial sum into an initial of sumWords.
func swapped(sum uint32) uint64 {
	return uint64(bits.ReverseBytes16(fold64(uint64(sum))))
}

// Fold turns a partial sum into the checksum that a header carries.
func Fold(sum uint32) uint16 { return ^fold64(uint64(sum)) }

// fold64 folds a sum to 16 bits: twice its halves are added, each carry out at the
// top coming in again below.
func fold64(s uint64) uint16 {
	s += bits.RotateLeft64(s, 32)
	t := uint32(s >> 32)
	t += bits.RotateLeft32(t, 16)
	return uint16(t >> 16)
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

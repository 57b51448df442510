package packet

import "fmt"

// ToeplitzKeyLen is the number of key bytes that decide a hash: as many as the
// longest input, 36 bytes of IPv6 addresses and ports, and a window of four.
// Longer keys of a NIC belong to inputs that are not hashed here.
const ToeplitzKeyLen = 40

// Toeplitz is the hash by which NICs spread packets over their queues
// (Microsoft, "RSS hashing functions"): the exclusive or, over all bits of the
// input that are set, of the 32 key bits that begin at the place of that bit.
// It is linear, so each byte of the input adds one value of a table.
//
// The input is source address, destination address, source port and
// destination port as they are on the wire. Immutable; 36 KiB, of which IPv4
// reads the first 12.
type Toeplitz struct {
	part [36][256]uint32 // by place of the byte in the input, and its value
}

// NewToeplitz expands a key, of which the first ToeplitzKeyLen bytes count. A
// shorter key is an error.
func NewToeplitz(key []byte) (*Toeplitz, error) {
	if len(key) < ToeplitzKeyLen {
		return nil, fmt.Errorf("RSS key of %d bytes, expected at least %d", len(key), ToeplitzKeyLen)
	}
	t := &Toeplitz{}
	for at := range t.part {
		window := uint64(0) // the 40 key bits that the byte may choose from
		for _, b := range key[at : at+5] {
			window = window<<8 | uint64(b)
		}
		for value := range 256 {
			for bit := range 8 {
				if value&(0x80>>bit) != 0 {
					t.part[at][value] ^= uint32(window >> (8 - bit))
				}
			}
		}
	}
	return t, nil
}

// Addrs returns the hash of two addresses without ports, as NICs have it for
// fragments and protocols without ports.
func (t *Toeplitz) Addrs(f Family, src, dst Addr) uint32 {
	if f == IPv6 {
		return t.word(0, src.Hi) ^ t.word(8, src.Lo) ^ t.word(16, dst.Hi) ^ t.word(24, dst.Lo)
	}
	return t.word(0, src.Lo<<32|dst.Lo&0xffffffff)
}

// word returns what eight bytes add that begin at a place of the input.
func (t *Toeplitz) word(at int, v uint64) uint32 {
	p := t.part[at : at+8 : at+8]
	return p[0][v>>56] ^ p[1][v>>48&0xff] ^ p[2][v>>40&0xff] ^ p[3][v>>32&0xff] ^
		p[4][v>>24&0xff] ^ p[5][v>>16&0xff] ^ p[6][v>>8&0xff] ^ p[7][v&0xff]
}

// Hash returns the hash of two addresses and ports (host order).
//
// Hot: once per new flow with RSS steering. 0 allocs.
func (t *Toeplitz) Hash(f Family, src, dst Addr, srcPort, dstPort uint16) uint32 {
	return t.Addrs(f, src, dst) ^ t.SrcPort(f).Of(srcPort) ^ t.DstPort(f).Of(dstPort)
}

// ToeplitzPort is what a port adds to a hash. Since the hash is linear,
//
//	Hash(..., p) = Hash(..., 0) ^ DstPort(f).Of(p)
//
// so a port that leads to a wanted queue is searched at two table reads each.
type ToeplitzPort struct {
	high, low *[256]uint32
}

// Of returns the share of a port (host order).
func (p ToeplitzPort) Of(port uint16) uint32 { return p.high[port>>8] ^ p.low[port&0xff] }

// SrcPort returns the shares of source ports.
func (t *Toeplitz) SrcPort(f Family) ToeplitzPort {
	if f == IPv6 {
		return ToeplitzPort{&t.part[32], &t.part[33]}
	}
	return ToeplitzPort{&t.part[8], &t.part[9]}
}

// DstPort returns the shares of destination ports.
func (t *Toeplitz) DstPort(f Family) ToeplitzPort {
	if f == IPv6 {
		return ToeplitzPort{&t.part[34], &t.part[35]}
	}
	return ToeplitzPort{&t.part[10], &t.part[11]}
}

package flowtable

import "math/bits"

// hashSeed is the secret of a table's hash.
type hashSeed [6]uint64

// Hash returns the seeded hash of a tuple: two folded multiplications over the
// addresses, a third over both results and the ports. The ports join the
// already mixed, secret value of the first product, so nobody can choose
// addresses that cancel them. Family is left out: two families that share a
// hash value are told apart by the record.
//
// Hot: once per packet. 0 allocs. 3.1 ns, against 17 ns for packing the tuple
// and go-metro over it (BenchmarkHash, AMD EPYC, November 2026).
func (t *Table) Hash(tu *Tuple) uint64 { return t.seed.hash(tu) }

// Hash4 is Hash of an IPv4 tuple of TCP or UDP given as packets have it:
// source<<32|destination address, source<<16|destination port.
//
// Hot: once per packet. 0 allocs.
func (t *Table) Hash4(addrs uint64, ports uint32, proto uint8) uint64 {
	s := &t.seed
	h1, l1 := bits.Mul64(addrs>>32^s[0], addrs&0xffffffff^s[1])
	h, l := bits.Mul64(h1^l1^(uint64(ports)<<16|uint64(proto))^s[4], t.seed4)
	return h ^ l
}

// hash is Table.Hash.
func (s *hashSeed) hash(tu *Tuple) uint64 {
	h1, l1 := bits.Mul64(tu.Src.Lo^s[0], tu.Dst.Lo^s[1])
	h2, l2 := bits.Mul64(tu.Src.Hi^s[2], tu.Dst.Hi^s[3])
	p := uint64(tu.SrcPort)<<32 | uint64(tu.DstPort)<<16 | uint64(tu.Proto)
	h, l := bits.Mul64(h1^l1^p^s[4], h2^l2^s[5])
	return h ^ l
}

// without6 returns the part of the hash that is the same for all IPv4 tuples.
func (s *hashSeed) without6() uint64 {
	h2, l2 := bits.Mul64(s[2], s[3])
	return h2 ^ l2 ^ s[5]
}

// mix64 is the finalizer of splitmix64: it derives seeds and flow ids.
func mix64(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// newHashSeed expands one seed into the secret of a hash.
func newHashSeed(seed uint64) (s hashSeed) {
	for i := range s {
		seed = mix64(seed)
		s[i] = seed | 1
	}
	return s
}

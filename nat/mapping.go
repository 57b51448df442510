package nat

import (
	"math/bits"

	"github.com/xdpct/xdpct/packet"
)

// side is one end of a mapping: an address and port (or ICMP id) of a
// protocol. Host order; port is 0 for protocols without ports.
type side struct {
	addr   packet.Addr
	port   uint16
	proto  uint8
	family packet.Family
}

// mapping is one record of the mapping table: 32 bytes, half a cache line, no
// pointers. Addresses of IPv6 mappings are in the parallel array wide.
//
//	0       4       8      12      16      20      24    26    28    29   30
//	intAddr extAddr refs    nextInt nextExt prevExt intPt extPt proto fam  counted
type mapping struct {
	intAddr, extAddr uint32 // IPv4 addresses, host order
	refs             uint32 // flows that use the mapping; 0 = free record
	nextInt          uint32 // next in the internal chain, or next free record
	nextExt, prevExt uint32 // neighbours in the external chain; 0 = none
	intPort, extPort uint16 // host order
	proto            uint8
	family           packet.Family
	counted          uint16 // registration of PortUse that counts extPort; 0 = none
}

// wideMapping holds the addresses of an IPv6 mapping.
type wideMapping struct{ internal, external packet.Addr }

// mappings is the table of all mappings of one worker: preallocated records,
// found by either side through hash chains.
//
// Owner: worker. The external chain is doubly linked because one external
// port may serve many internal hosts: removal must not walk them.
type mappings struct {
	rec      []mapping     // index 0 is never used
	wide     []wideMapping // parallel to rec; nil if nothing IPv6 is translated
	byInt    []uint32      // chain heads by internal side, power of two
	byExt    []uint32      // chain heads by external side, power of two
	free     uint32        // first free record that was in use before; 0 = none
	fresh    uint32        // records from here on were never used
	used     int           // records in use
	seed     uint64        // of the hash of both chains
	headMask uint64
}

// newMappings allocates room for size mappings; the memory is touched only as
// it is used.
func newMappings(size int, wide bool, seed uint64) *mappings {
	heads := 1 << bits.Len(uint(max(size, 16)-1)/2)
	m := &mappings{
		rec:      make([]mapping, size+1),
		byInt:    make([]uint32, heads),
		byExt:    make([]uint32, heads),
		fresh:    1,
		seed:     seed | 1<<63,
		headMask: uint64(heads - 1),
	}
	if wide {
		m.wide = make([]wideMapping, size+1)
	}
	return m
}

// memoryBytes returns the size of the table in bytes.
func (m *mappings) memoryBytes() uint64 {
	return mappingBytes*uint64(len(m.rec)) + wideMappingBytes*uint64(len(m.wide)) +
		4*uint64(len(m.byInt)+len(m.byExt))
}

// room tells whether one more mapping of this family fits.
func (m *mappings) room(f packet.Family) bool {
	return m.used < len(m.rec)-1 && (f == packet.IPv4 || m.wide != nil)
}

// head returns the chain of side s in heads: a multiply-fold over a secret
// seed, so that chosen addresses cannot fill one chain.
func (m *mappings) head(heads []uint32, s *side) *uint32 {
	low := uint64(s.port)<<16 | uint64(s.proto)<<8 | uint64(s.family)
	hi, lo := bits.Mul64(s.addr.Lo^m.seed, s.addr.Hi^low<<24^0x9e3779b97f4a7c15)
	hi, lo = bits.Mul64(hi^lo^m.seed, low^0xa0761d6478bd642f)
	return &heads[(hi^lo)&m.headMask]
}

// internal returns the internal side of record i.
func (m *mappings) internal(i uint32) side {
	r := &m.rec[i]
	s := side{packet.Addr{Lo: uint64(r.intAddr)}, r.intPort, r.proto, r.family}
	if r.family == packet.IPv6 {
		s.addr = m.wide[i].internal
	}
	return s
}

// external returns the external side of record i.
func (m *mappings) external(i uint32) side {
	r := &m.rec[i]
	s := side{packet.Addr{Lo: uint64(r.extAddr)}, r.extPort, r.proto, r.family}
	if r.family == packet.IPv6 {
		s.addr = m.wide[i].external
	}
	return s
}

// first returns the first mapping of internal side s after record prev in
// its chain (prev 0: from the start); 0 = none.
func (m *mappings) first(s *side, prev uint32) uint32 {
	i := m.rec[prev].nextInt
	if prev == 0 {
		i = *m.head(m.byInt, s)
	}
	for ; i != 0; i = m.rec[i].nextInt {
		if m.internal(i) == *s {
			return i
		}
	}
	return 0
}

// externalUsed tells whether any mapping has external side s.
func (m *mappings) externalUsed(s *side) bool {
	for i := *m.head(m.byExt, s); i != 0; i = m.rec[i].nextExt {
		if m.external(i) == *s {
			return true
		}
	}
	return false
}

// ref adds one use of the mapping in <-> ext, made if it does not exist, and
// returns its record; 0 if there is no room. fresh tells that no mapping had
// this external side before.
func (m *mappings) ref(in, ext *side) (i uint32, fresh bool) {
	for i = m.first(in, 0); i != 0; i = m.first(in, i) {
		if m.external(i) == *ext {
			m.rec[i].refs++
			return i, false
		}
	}
	if !m.room(in.family) {
		return 0, false
	}
	fresh = !m.externalUsed(ext)
	if i = m.free; i != 0 {
		m.free = m.rec[i].nextInt
	} else {
		i = m.fresh
		m.fresh++
	}
	m.used++
	m.link(i, in, ext)
	return i, fresh
}

// link fills record i and puts it at the head of both chains.
func (m *mappings) link(i uint32, in, ext *side) {
	inHead, extHead := m.head(m.byInt, in), m.head(m.byExt, ext)
	m.rec[i] = mapping{
		intAddr: uint32(in.addr.Lo), extAddr: uint32(ext.addr.Lo),
		intPort: in.port, extPort: ext.port,
		proto: in.proto, family: in.family,
		refs: 1, nextInt: *inHead, nextExt: *extHead,
	}
	if in.family == packet.IPv6 {
		m.wide[i] = wideMapping{in.addr, ext.addr}
	}
	if *extHead != 0 {
		m.rec[*extHead].prevExt = i
	}
	*inHead, *extHead = i, i
}

// unref gives back one use of the mapping in <-> ext. If it was the last one,
// the record is freed and counted is what it held; gone tells that no mapping
// has this external side any more.
func (m *mappings) unref(in, ext *side) (counted uint16, gone bool) {
	for i := m.first(in, 0); i != 0; i = m.first(in, i) {
		if m.external(i) != *ext {
			continue
		}
		m.rec[i].refs--
		if m.rec[i].refs > 0 {
			return 0, false
		}
		counted = m.rec[i].counted
		m.unlink(i, in, ext)
		return counted, !m.externalUsed(ext)
	}
	return 0, false
}

// unlink takes record i out of both chains and frees it.
func (m *mappings) unlink(i uint32, in, ext *side) {
	r := &m.rec[i]
	p := m.head(m.byInt, in)
	for *p != i {
		p = &m.rec[*p].nextInt
	}
	*p = r.nextInt
	if r.prevExt != 0 {
		m.rec[r.prevExt].nextExt = r.nextExt
	} else {
		*m.head(m.byExt, ext) = r.nextExt
	}
	if r.nextExt != 0 {
		m.rec[r.nextExt].prevExt = r.prevExt
	}
	*r = mapping{nextInt: m.free}
	m.free = i
	m.used--
}

package nat

import (
	"math/bits"
	"sync/atomic"

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

// mapping is one record of the mapping table: 24 bytes, no pointers. Addresses
// of IPv6 mappings are in the parallel array wide.
//
//	0       4       8    12   16    18    20    21
//	intAddr extAddr refs next intPt extPt proto fam
type mapping struct {
	intAddr, extAddr uint32 // IPv4 addresses, host order
	refs             uint32 // flows that use the mapping; 0 = free record
	next             uint32 // next in the chain, or next free record
	intPort, extPort uint16 // host order
	proto            uint8
	family           packet.Family
}

// wideMapping holds the addresses of an IPv6 mapping.
type wideMapping struct{ internal, external packet.Addr }

// mappings is the table of the mappings of one worker that do not follow from
// their internal side alone (see Translator.follows): preallocated records,
// found by the internal side through hash chains.
//
// Owner: worker; only inUse and memoryBytes may be called from elsewhere.
type mappings struct {
	rec      []mapping     // index 0 is never used
	wide     []wideMapping // parallel to rec; nil while nothing IPv6 is translated
	isWide   atomic.Bool   // wide is not nil
	heads    []uint32      // of the chains, power of two
	free     uint32        // first free record that was in use before; 0 = none
	fresh    atomic.Uint32 // records from here on were never used
	used     atomic.Uint32 // records in use
	seed     uint64        // of the hash
	headMask uint64
}

// newMappings makes room for size mappings; the memory is touched only as it is
// used.
func newMappings(size int, wide bool, seed uint64) *mappings {
	heads := 1 << bits.Len(uint(max(size, 16)-1)/2)
	m := &mappings{
		rec:      make([]mapping, size+1),
		heads:    make([]uint32, heads),
		seed:     seed | 1<<63,
		headMask: uint64(heads - 1),
	}
	m.fresh.Store(1)
	if wide {
		m.widen()
	}
	return m
}

// widen makes room for IPv6.
func (m *mappings) widen() {
	if m.wide == nil {
		m.wide = make([]wideMapping, len(m.rec))
		m.isWide.Store(true)
	}
}

// inUse returns the number of mappings.
func (m *mappings) inUse() int { return int(m.used.Load()) }

// memoryBytes returns the size of what was touched so far, in bytes.
func (m *mappings) memoryBytes() uint64 {
	touched := uint64(m.fresh.Load() - 1)
	if touched == 0 {
		return 0
	}
	b := touched*mappingBytes + 4*uint64(len(m.heads))
	if m.isWide.Load() {
		b += touched * wideMappingBytes
	}
	return b
}

// room tells whether one more mapping of this family fits.
func (m *mappings) room(f packet.Family) bool {
	return m.inUse() < len(m.rec)-1 && (f == packet.IPv4 || m.wide != nil)
}

// head returns the chain of internal side s: a multiply-fold over a secret
// seed, so that nobody can aim at one chain.
func (m *mappings) head(s *side) *uint32 {
	low := uint64(s.port)<<16 | uint64(s.proto)<<8 | uint64(s.family)
	hi, lo := bits.Mul64(s.addr.Lo^m.seed, s.addr.Hi^low<<24^0x9e3779b97f4a7c15)
	hi, lo = bits.Mul64(hi^lo^m.seed, low^0xa0761d6478bd642f)
	return &m.heads[(hi^lo)&m.headMask]
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
	i := m.rec[prev].next
	if prev == 0 {
		i = *m.head(s)
	}
	for ; i != 0; i = m.rec[i].next {
		if m.internal(i) == *s {
			return i
		}
	}
	return 0
}

// find returns the mapping in <-> ext; 0 = none.
func (m *mappings) find(in, ext *side) uint32 {
	i := m.first(in, 0)
	for i != 0 && m.external(i) != *ext {
		i = m.first(in, i)
	}
	return i
}

// ref adds one use of the mapping in <-> ext, which is made if it does not
// exist. It reports false if there is no room.
func (m *mappings) ref(in, ext *side) bool {
	if i := m.find(in, ext); i != 0 {
		m.rec[i].refs++
		return true
	}
	if !m.room(in.family) {
		return false
	}
	i := m.free
	if i != 0 {
		m.free = m.rec[i].next
	} else {
		i = m.fresh.Add(1) - 1
	}
	head := m.head(in)
	m.rec[i] = mapping{
		intAddr: uint32(in.addr.Lo), extAddr: uint32(ext.addr.Lo),
		intPort: in.port, extPort: ext.port,
		proto: in.proto, family: in.family,
		refs: 1, next: *head,
	}
	if in.family == packet.IPv6 {
		m.wide[i] = wideMapping{in.addr, ext.addr}
	}
	*head = i
	m.used.Add(1)
	return true
}

// unref gives back one use of the mapping in <-> ext, and frees its record with
// the last one.
func (m *mappings) unref(in, ext *side) {
	i := m.find(in, ext)
	if i == 0 {
		return
	}
	if m.rec[i].refs--; m.rec[i].refs > 0 {
		return
	}
	p := m.head(in)
	for *p != i {
		p = &m.rec[*p].next
	}
	*p = m.rec[i].next
	m.rec[i] = mapping{next: m.free}
	m.free = i
	m.used.Add(^uint32(0))
}

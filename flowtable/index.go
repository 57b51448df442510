package flowtable

import "math/bits"

// The index maps a hash to references. It is an array of buckets of exactly
// one cache line. A key lives in its primary bucket, or, when that was full,
// in its alternative bucket. The alternative follows from the bucket and the
// tag alone and is an involution, so that a resident can be moved to its other
// bucket without looking at its record:
//
//	alt(b) = (delta[tag] - b) mod buckets          alt(alt(b)) = b
//
// The primary bucket counts its keys that live elsewhere: a lookup visits the
// alternative only where that count is not 0, so most misses cost one line.
// The number of buckets is arbitrary (fast range reduction).

const (
	bucketSlots = 12
	// indexLoad is the highest share of slots in use, in percent: at 80 the
	// two keys of a flow cost 13.3 bytes and insertion does not fail
	// (TestIndexFillsToCapacity; 20 % of the buckets overflow).
	indexLoad   = 80
	maxOverflow = 255
	noSlot      = bucketSlots
)

// bucket is one line of the index.
//
//	0 tags of slots 0-7   8 tags of slots 8-11   12 bitmap   14 count   16 refs
//
// match_amd64.s reads it.
type bucket struct {
	// tags: 8 bits of the hash per slot, slot 0 lowest; 0 = slot empty.
	tags8 uint64
	tags4 uint32
	// away is a bitmap of slots whose key is here in its alternative bucket.
	away uint16
	// overflow counts keys whose primary bucket is this one and that live in
	// their alternative bucket.
	overflow uint8
	_        uint8
	refs     [bucketSlots]Ref
}

const (
	low8  = 0x0101010101010101
	high8 = 0x8080808080808080
	low4  = 0x01010101
	high4 = 0x80808080
)

// zero8 returns 0x80 in every byte of x that is 0, and 0 elsewhere. Exact.
func zero8(x uint64) uint64 { return ^((x&^uint64(high8) + (high8 - low8)) | x) & high8 }

// zero4 is zero8 for four bytes.
func zero4(x uint32) uint32 { return ^((x&^uint32(high4) + (high4 - low4)) | x) & high4 }

// tagOf takes the tag from a hash: never 0.
func tagOf(hash uint64) uint8 {
	tag := uint8(hash)
	if tag == 0 {
		tag = 1
	}
	return tag
}

// bucketOf takes the primary bucket from a hash.
func (t *Table) bucketOf(hash uint64) uint32 {
	return uint32((hash >> 32) * t.nbuckets >> 32)
}

// alternative returns the other bucket of a key.
func (t *Table) alternative(b uint32, tag uint8) uint32 {
	d := t.delta[tag]
	if d < b {
		d += uint32(t.nbuckets)
	}
	return d - b
}

// empty returns the first empty slot, noSlot if there is none.
func (b *bucket) empty() int { return firstSlot(b.matches(0)) }

// tag returns the tag of a slot.
func (b *bucket) tag(slot int) uint8 {
	if slot < 8 {
		return uint8(b.tags8 >> (slot * 8))
	}
	return uint8(b.tags4 >> ((slot - 8) * 8))
}

// put fills an empty slot; away is 1 if the bucket is the key's alternative.
func (b *bucket) put(slot int, tag uint8, ref Ref, away uint16) {
	if slot < 8 {
		b.tags8 |= uint64(tag) << (slot * 8)
	} else {
		b.tags4 |= uint32(tag) << ((slot - 8) * 8)
	}
	b.refs[slot] = ref
	b.away |= away << slot
}

// clear empties a slot.
func (b *bucket) clear(slot int) {
	if slot < 8 {
		b.tags8 &^= 0xff << (slot * 8)
	} else {
		b.tags4 &^= 0xff << ((slot - 8) * 8)
	}
	b.refs[slot] = 0
	b.away &^= 1 << slot
}

// slotOf returns the slot that holds ref under a tag, noSlot if none does: the
// first one with the tag, nearly always.
func (b *bucket) slotOf(tag uint8, ref Ref) int {
	lo, hi := b.matches(tag)
	for {
		slot := firstSlot(lo, hi)
		if slot >= bucketSlots || b.refs[slot] == ref {
			return slot
		}
		if lo != 0 {
			lo &= lo - 1
		} else {
			hi &= hi - 1
		}
	}
}

// matches returns one bit per slot whose tag is tag, at bits 7, 15 ... of lo
// for slots 0-7 and of hi for slots 8-11.
func (b *bucket) matches(tag uint8) (lo uint64, hi uint32) {
	return zero8(b.tags8 ^ uint64(tag)*low8), zero4(b.tags4 ^ uint32(tag)*low4)
}

// firstSlot returns the number of the first match, noSlot if there is none. It
// has no branch: where a key sits in its bucket cannot be predicted.
func firstSlot(lo uint64, hi uint32) int {
	s := bits.TrailingZeros64(lo) >> 3 // 8 if there is none
	return s + bits.TrailingZeros32(hi)>>3&-(s>>3)
}

// first returns the first reference whose tag matches, 0 if none does.
func (b *bucket) first(tag uint8) Ref {
	if s := firstSlot(b.matches(tag)); s < bucketSlots {
		return b.refs[s]
	}
	return 0
}

// insertKey stores a reference under a hash. It reports false if there is no
// room after a bounded search: both buckets and the other bucket of each of
// their 24 residents are full.
func (t *Table) insertKey(hash uint64, ref Ref) bool {
	b, tag := t.bucketOf(hash), tagOf(hash)
	home := &t.buckets[b]
	if i := home.empty(); i != noSlot {
		home.put(i, tag, ref, 0)
		return true
	}
	a := t.alternative(b, tag)
	if a != b && home.overflow < maxOverflow {
		if i := t.buckets[a].empty(); i != noSlot {
			t.buckets[a].put(i, tag, ref, 1)
			home.overflow++
			return true
		}
	}
	if i := t.makeRoom(b); i != noSlot {
		home.put(i, tag, ref, 0)
		return true
	}
	if a != b && home.overflow < maxOverflow {
		if i := t.makeRoom(a); i != noSlot {
			t.buckets[a].put(i, tag, ref, 1)
			home.overflow++
			return true
		}
	}
	return false
}

// makeRoom moves one resident of a full bucket to its other bucket and returns
// the slot that became empty, or noSlot.
func (t *Table) makeRoom(b uint32) int {
	bk := &t.buckets[b]
	for i := range bucketSlots {
		tag := bk.tag(i)
		o := t.alternative(b, tag)
		if o == b {
			continue
		}
		other := &t.buckets[o]
		j := other.empty()
		if j == noSlot {
			continue
		}
		if bk.away>>i&1 != 0 { // it goes home
			other.put(j, tag, bk.refs[i], 0)
			other.overflow--
		} else if bk.overflow < maxOverflow {
			other.put(j, tag, bk.refs[i], 1)
			bk.overflow++
		} else {
			continue
		}
		bk.clear(i)
		return i
	}
	return noSlot
}

// eraseKey removes a reference that was stored under hash.
func (t *Table) eraseKey(hash uint64, ref Ref) {
	b, tag := t.bucketOf(hash), tagOf(hash)
	home := &t.buckets[b]
	if i := home.slotOf(tag, ref); i < bucketSlots {
		home.clear(i)
		return
	}
	other := &t.buckets[t.alternative(b, tag)]
	if i := other.slotOf(tag, ref); i < bucketSlots {
		other.clear(i)
		home.overflow--
		return
	}
	panic("flowtable: a live flow is not in the index")
}

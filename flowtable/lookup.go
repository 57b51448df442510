package flowtable

import (
	"github.com/xdpct/xdpct/packet"
)

// probe is a tuple in the form of a record: what is compared on a tag match.
type probe struct {
	addr  uint64 // low 32 bits of source and destination
	ports uint32 // source port low, destination port high
	class uint64 // protocol and IPv6 bit at their place in Flow.meta
}

// probeOf packs a tuple.
func probeOf(tu *Tuple) probe {
	p := probe{
		addr:  tu.Src.Lo<<32 | tu.Dst.Lo&0xffffffff,
		ports: uint32(tu.DstPort)<<16 | uint32(tu.SrcPort),
		class: uint64(tu.Proto) << metaProtoShift,
	}
	if tu.Family == packet.IPv6 {
		p.class |= uint64(StatusIPv6) << metaStatusShift
	}
	return p
}

// same reports whether the referenced record holds the tuple.
func (t *Table) same(r Ref, p *probe, tu *Tuple) bool {
	f := &t.flows[r>>1]
	d := r & 1
	return f.addr[d] == p.addr && uint32(f.ports>>(d*32)) == p.ports && f.meta&metaClassMask == p.class &&
		(tu.Family != packet.IPv6 || t.same6(r, tu))
}

// same6 compares all bits of IPv6 addresses; same has compared the rest.
func (t *Table) same6(r Ref, tu *Tuple) bool {
	a := &t.addrs6[r>>1]
	d := r & 1
	return a[d*2] == tu.Src && a[d*2+1] == tu.Dst
}

// Lookup returns the flow that one of whose tuples is tu, and the direction; 0
// if there is none, or if its time is over. hash is Hash(tu).
//
// Hot: once per packet. 0 allocs. Touches the bucket, and the record of each
// slot with the right tag (a wrong one in 1 of 21 lookups of a full table); the
// alternative bucket only where keys of the bucket have overflowed.
func (t *Table) Lookup(tu *Tuple, hash uint64, now Tick) Ref {
	r := t.find(tu, hash)
	if r != 0 && t.flows[r.Index()].Expired(now) {
		return 0
	}
	return r
}

// find is Lookup for expired flows too.
func (t *Table) find(tu *Tuple, hash uint64) Ref {
	p := probeOf(tu)
	b, tag := t.bucketOf(hash), tagOf(hash)
	bk := &t.buckets[b]
	if r := t.match(bk, tag, &p, tu); r != 0 || bk.overflow == 0 {
		return r
	}
	return t.match(&t.buckets[t.alternative(b, tag)], tag, &p, tu)
}

// match searches one bucket: the first slot with the right tag is nearly
// always the only one.
func (t *Table) match(bk *bucket, tag uint8, p *probe, tu *Tuple) Ref {
	lo, hi := bk.matches(tag)
	for {
		slot := firstSlot(lo, hi)
		if slot >= bucketSlots {
			return 0
		}
		if r := bk.refs[slot]; t.same(r, p, tu) {
			return r
		}
		if lo != 0 {
			lo &= lo - 1
		} else {
			hi &= hi - 1
		}
	}
}

// Bulk is a lookup of up to Burst keys in steps, so that the cache misses of
// many keys overlap: for a group of keys Prefetch, when their buckets have come
// Match, then MatchLate, then LookupAt for each. Memory takes 100 to 200 ns:
// between two steps of a group the caller takes those of other groups, or does
// something else. Groups of 8 or 16 are best, because a core can ask for a few
// dozen lines at once only.
type Bulk struct {
	Hashes [Burst]uint64 // of the keys; set by the caller before Prefetch
	Refs   [Burst]Ref    // candidates, see LookupAt; set by Match and MatchLate
	late   [Burst]uint8  // keys that may be in their alternative bucket
	lates  int
}

// Prefetch asks for the primary buckets of keys from to to-1.
//
// Hot: once per packet, about 1 ns.
func (t *Table) Prefetch(k *Bulk, from, to int) {
	if group := k.Hashes[from:to]; len(group) > 0 {
		prefetchBuckets(&t.buckets[0], t.nbuckets, &group[0], len(group))
	}
}

// Match sets Refs of keys from to to-1 to the first reference in the primary
// bucket whose tag fits, 0 if there is none, and asks for its record. Where a
// key may be in its alternative bucket, it asks for that one and leaves the key
// to the next MatchLate.
//
// Hot: once per packet, 3 ns.
func (t *Table) Match(k *Bulk, from, to int) {
	if from < to {
		t.match64(k, from, to)
	}
}

// MatchLate is Match for the keys that it has left since the last MatchLate: 3 %
// of those in a full table, and a fifth of those that are not in it.
func (t *Table) MatchLate(k *Bulk) {
	for _, i := range k.late[:k.lates] {
		hash := k.Hashes[i&(Burst-1)]
		tag := tagOf(hash)
		ref := &k.Refs[i&(Burst-1)]
		*ref = t.buckets[t.alternative(t.bucketOf(hash), tag)].first(tag)
		prefetchFlows(&t.flows[0], ref, 1)
	}
	k.lates = 0
}

// matchPortable is Match, without prefetching the alternative buckets.
func (t *Table) matchPortable(k *Bulk, from, to int) {
	for i := from; i < to; i++ {
		hash := k.Hashes[i]
		b := &t.buckets[t.bucketOf(hash)]
		k.Refs[i] = b.first(tagOf(hash))
		if k.Refs[i] == 0 && b.overflow != 0 {
			k.late[k.lates&(Burst-1)] = uint8(i)
			k.lates++
		}
	}
	prefetchFlows(&t.flows[0], &k.Refs[from], to-from)
}

// LookupAt is Lookup with a candidate of Match: the usual case, that the
// candidate is the flow, is decided without searching the bucket again. Flows
// may have been removed since Match, but a flow that was inserted is found only
// if the key had a candidate.
//
// Hot: once per packet. 0 allocs.
func (t *Table) LookupAt(tu *Tuple, hash uint64, candidate Ref, now Tick) Ref {
	if candidate == 0 {
		return 0
	}
	f := &t.flows[candidate>>1]
	d := candidate & 1
	p := probeOf(tu)
	differs := f.addr[d] ^ p.addr | uint64(uint32(f.ports>>(d*32))^p.ports) |
		f.meta&metaClassMask ^ p.class | uint64(f.gen&1)
	if differs != 0 || tu.Family == packet.IPv6 && !t.same6(candidate, tu) {
		return t.Lookup(tu, hash, now)
	}
	if f.Expired(now) {
		return 0
	}
	return candidate
}

// LookupBurst looks up the first n tuples so that memory latencies overlap:
// k.Refs[i] = Lookup(&tuples[i]). The hashes are in k.
//
// Hot: once per burst. 0 allocs. BenchmarkLookup measures it.
func (t *Table) LookupBurst(tuples *[Burst]Tuple, k *Bulk, n int, now Tick) {
	const group = 16
	n = min(n, Burst)
	end := func(g int) int { return min(max(g, 0)*group, n) } // of the groups before g
	for g := range Burst/group + 3 {
		t.Prefetch(k, end(g), end(g+1))
		t.MatchLate(k)
		t.Match(k, end(g-1), end(g))
		for i := end(g - 3); i < end(g-2); i++ {
			k.Refs[i] = t.LookupAt(&tuples[i], k.Hashes[i], k.Refs[i], now)
		}
	}
}

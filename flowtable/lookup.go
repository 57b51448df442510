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

// PrefetchBuckets asks for the primary buckets of some hashes. There is a
// limit to what a core can ask for at once (about 12 to 48 lines), so a few at
// a time, as soon as their hashes are known, is better than a burst at once.
//
// Hot: once per packet, about 1 ns.
func (t *Table) PrefetchBuckets(hashes []uint64) {
	if len(hashes) > 0 {
		prefetchBuckets(&t.buckets[0], t.nbuckets, &hashes[0], len(hashes))
	}
}

// Candidates sets refs[i] to the first reference whose tag fits hashes[i], 0 if
// there is none, and asks for its record: LookupAt verifies it. It touches no
// record. refs is at least as long as hashes, and that is at most Burst.
//
// Hot: once per packet, after PrefetchBuckets.
func (t *Table) Candidates(hashes []uint64, refs []Ref) {
	if len(hashes) == 0 {
		return
	}
	refs = refs[:len(hashes)]
	t.candidates(hashes, refs)
	for _, r := range refs {
		if r == 0 {
			t.candidatesAway(hashes, refs)
			return
		}
	}
}

// candidatesAway is Candidates for the keys that are not in their primary
// bucket: 3 % of those in a full table, and all that are not in the table.
func (t *Table) candidatesAway(hashes []uint64, refs []Ref) {
	var keys [Burst]uint8 // which of hashes
	var alternatives [Burst]uint32
	n := 0
	for i, r := range refs {
		if b := t.bucketOf(hashes[i]); r == 0 && t.buckets[b].overflow != 0 {
			keys[n&(Burst-1)], alternatives[n&(Burst-1)] = uint8(i), t.alternative(b, tagOf(hashes[i]))
			n++
		}
	}
	prefetchAlternatives(&t.buckets[0], &alternatives[0], n)
	for k := range n {
		i := keys[k]
		refs[i] = t.buckets[alternatives[k]].first(tagOf(hashes[i]))
		prefetchFlows(&t.flows[0], &refs[i], 1)
	}
}

// candidatesPortable sets refs[i] to the first reference in the primary bucket
// of hashes[i] whose tag fits, 0 if there is none, and prefetches the records.
// len(refs) = len(hashes) > 0.
func (t *Table) candidatesPortable(hashes []uint64, refs []Ref) {
	for i, hash := range hashes {
		refs[i] = t.buckets[t.bucketOf(hash)].first(tagOf(hash))
	}
	prefetchFlows(&t.flows[0], &refs[0], len(refs))
}

// LookupAt is Lookup with a candidate: the usual case, that the candidate is
// the flow, is decided without searching the bucket again. The table may have
// changed since Candidates.
//
// Hot: once per packet. 0 allocs.
func (t *Table) LookupAt(tu *Tuple, hash uint64, candidate Ref, now Tick) Ref {
	f := &t.flows[candidate.Index()]
	if candidate != 0 && f.gen&1 == 0 {
		p := probeOf(tu)
		if t.same(candidate, &p, tu) {
			if f.Expired(now) {
				return 0
			}
			return candidate
		}
	}
	return t.Lookup(tu, hash, now)
}

// LookupBurst looks up the first n tuples so that memory latencies overlap.
// refs[i] = Lookup(&tuples[i]).
//
// Hot: once per burst. 0 allocs. BenchmarkLookup measures it.
func (t *Table) LookupBurst(tuples *[Burst]Tuple, hashes *[Burst]uint64, refs *[Burst]Ref, n int, now Tick) {
	n = min(n, Burst)
	t.PrefetchBuckets(hashes[:n])
	t.Candidates(hashes[:n], refs[:n])
	for i := range n {
		refs[i] = t.LookupAt(&tuples[i], hashes[i], refs[i], now)
	}
}

package flowtable

import "github.com/xdpct/xdpct/packet"

// evictBuckets bounds the search of EvictCandidate, as in the kernel
// (net/netfilter/nf_conntrack_core.c, NF_CT_EVICTION_RANGE).
const evictBuckets = 8

// EvictCandidate returns a flow that may make room in a full table: one whose
// time is over, else one that is not assured, else, if closing is set, a flow of
// TCP or SCTP that is already closing. It looks at the flows in eight buckets from
// that of near, the hash of the new flow; 0 if there is none among them. A
// live assured flow is never returned, nor a dying one.
//
// The caller takes the flow down as one that NextExpired returned. References
// to it that the current burst holds are stale then: compare Gen.
func (t *Table) EvictCandidate(now Tick, near uint64, closing bool) uint32 {
	var second, third uint32
	b := t.bucketOf(near)
	for range evictBuckets {
		bk := &t.buckets[b]
		t.prefetchResidents(bk)
		for _, r := range bk.refs {
			idx := r.Index()
			if idx == 0 {
				continue
			}
			f := &t.flows[idx]
			switch s := f.Status(); {
			case s&StatusDying != 0:
			case f.Expired(now):
				return idx
			case s&StatusAssured == 0:
				second = idx
			case closing && f.closing():
				third = idx
			}
		}
		if second != 0 {
			return second
		}
		if b++; uint64(b) == t.nbuckets {
			b = 0
		}
	}
	return third
}

// closing reports whether a flow is about to end by itself.
func (f *Flow) closing() bool {
	return f.Proto() == packet.ProtoTCP && TCPState(f.State()).Closing() ||
		f.Proto() == packet.ProtoSCTP && SCTPState(f.State()).Closing()
}

// prefetchResidents asks for all records that a bucket refers to.
func (t *Table) prefetchResidents(bk *bucket) {
	prefetchFlows(&t.flows[0], &bk.refs[0], bucketSlots)
}

package dataplane

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// hosts counts the flows of each source, for --max-flows-per-host and
// --new-flows-per-host. It belongs to one worker and counts that worker's flows.
//
// A source is an IPv4 address, or the first 64 bits of an IPv6 address: a host may take
// any number of addresses within them (RFC 8981). It is known by 64 bits of the table's
// secret hash. The memory is taken at start: room for twice as many sources as the
// worker has flows, in buckets of eight, two for each source. A source that finds no
// room in its two, one of thousands if every flow has another source, is not limited.
type hosts struct {
	maxFlows uint32 // of one source; 0 = any number
	maxNew   uint16 // of one source in one second; 0 = any number
	buckets  []hostBucket
}

// hostBucket has eight places. Who has no flows may have to leave.
type hostBucket struct {
	keys   [8]uint64
	flows  [8]uint32
	second [8]uint16 // the last one in which a flow began
	began  [8]uint16 // flows in it
}

// hostBucketBytes is the size of a bucket.
const hostBucketBytes = 8 * (8 + 4 + 2 + 2)

// newHosts makes room for the sources of a number of flows; nil if there is no limit.
// Of several workers each allows its share, rounded up.
func newHosts(o *Options, flows, workers int) *hosts {
	if o.MaxFlowsPerHost == 0 && o.NewFlowsPerHost == 0 {
		return nil
	}
	n := 2
	for n*len(hostBucket{}.keys) < 2*flows {
		n *= 2
	}
	share := func(limit int) int { return (limit + workers - 1) / workers }
	return &hosts{
		maxFlows: uint32(share(o.MaxFlowsPerHost)), maxNew: uint16(min(share(o.NewFlowsPerHost), 1<<16-1)),
		buckets: make([]hostBucket, n),
	}
}

// memoryBytes is what it takes.
func (h *hosts) memoryBytes() uint64 {
	if h == nil {
		return 0
	}
	return uint64(len(h.buckets)) * hostBucketBytes
}

// hostKey names the source of a flow.
func (w *Worker) hostKey(tu *flowtable.Tuple) uint64 {
	source := flowtable.Tuple{Src: tu.Src}
	if tu.Family == packet.IPv6 {
		source.Src.Lo = 0
	}
	return max(w.flows.table.Hash(&source), 1)
}

// pair returns the two buckets of a source.
func (h *hosts) pair(key uint64) [2]*hostBucket {
	mask := uint64(len(h.buckets) - 1)
	a := key & mask
	b := key >> 32 & mask
	if a == b {
		b ^= 1
	}
	return [2]*hostBucket{&h.buckets[a], &h.buckets[b]}
}

// find returns the place of a source; nil if it has none.
func (h *hosts) find(key uint64) (*hostBucket, int) {
	for _, b := range h.pair(key) {
		for i, k := range b.keys {
			if k == key {
				return b, i
			}
		}
	}
	return nil, 0
}

// refuses tells why a source may not begin another flow now; DropUnspecified = it may.
func (h *hosts) refuses(key uint64, now flowtable.Tick) DropReason {
	b, i := h.find(key)
	switch {
	case b == nil:
	case h.maxFlows != 0 && b.flows[i] >= h.maxFlows:
		return DropHostFlows
	case h.maxNew != 0 && b.second[i] == secondOf(now) && b.began[i] >= h.maxNew:
		return DropHostRate
	}
	return DropUnspecified
}

// secondOf numbers the seconds, from 0 again after 18 hours.
func secondOf(now flowtable.Tick) uint16 { return uint16(now / flowtable.TicksPerSecond) }

// began counts a flow; false means that there is no room for its source.
func (h *hosts) began(key uint64, now flowtable.Tick) bool {
	b, i := h.find(key)
	if b == nil {
		if b, i = h.claim(key, now); b == nil {
			return false
		}
	}
	b.flows[i]++
	if second := secondOf(now); b.second[i] != second {
		b.second[i], b.began[i] = second, 0
	}
	b.began[i] = min(b.began[i], 1<<16-2) + 1
	return true
}

// claim gives a source a place: an empty one, else that of a source without flows which
// has begun the fewest in this second.
func (h *hosts) claim(key uint64, now flowtable.Tick) (found *hostBucket, at int) {
	second, least := secondOf(now), uint16(0)
	for _, b := range h.pair(key) {
		for i, k := range b.keys {
			n := b.began[i]
			if k == 0 || b.second[i] != second {
				n = 0
			}
			if b.flows[i] == 0 && (found == nil || n < least) {
				found, at, least = b, i, n
			}
		}
	}
	if found != nil {
		found.keys[at], found.second[at], found.began[at] = key, second, 0
	}
	return found, at
}

// ended takes a flow off. Of a source that found no room when it began, and has it now,
// one is missing from then on.
func (h *hosts) ended(key uint64) {
	if b, i := h.find(key); b != nil && b.flows[i] > 0 {
		b.flows[i]--
	}
}

// hostAdmits decides whether the source of a packet may begin another flow, or drops
// the packet.
func (w *Worker) hostAdmits(p *pkt) bool {
	if w.hosts == nil {
		return true
	}
	why := w.hosts.refuses(w.hostKey(&p.tuple), w.clock.now)
	if why != DropUnspecified {
		p.drop(why)
		return false
	}
	return true
}

// hostBegan counts a new flow for its source.
func (w *Worker) hostBegan(orig *flowtable.Tuple, now flowtable.Tick) {
	if w.hosts != nil && !w.hosts.began(w.hostKey(orig), now) {
		w.count.hostsUntold.Add(1)
	}
}

// hostEnded takes a flow that ends off its source's.
func (w *Worker) hostEnded(idx uint32) {
	if w.hosts != nil {
		var tu flowtable.Tuple
		w.flows.table.Tuple(idx, flowtable.DirOriginal, &tu)
		w.hosts.ended(w.hostKey(&tu))
	}
}

package dataplane

import (
	"encoding/binary"

	"github.com/dgryski/go-metro"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Bounds of what a worker puts aside. A datagram of 64 KiB comes in 45 pieces on
// Ethernet, in 54 of the smallest MTU of IPv6.
const (
	asideFrames    = 512 // of all workers together, where there are up to 4
	minAsideFrames = 128 // of each worker, however many there are
	maxDatagrams   = 128 // incomplete ones of each worker

	fragmentTime4 = 30 * flowtable.TicksPerSecond // net.ipv4.ipfrag_time
	fragmentTime6 = 60 * flowtable.TicksPerSecond // RFC 8200 §4.5
)

// asideLimit is how many frames each worker may put aside. All of them may have one
// home, so that each share of the UMEM has room for what all workers put aside.
func asideLimit(workers int) int { return max(asideFrames/workers, minAsideFrames) }

// fragmentKey names a datagram that came in pieces: RFC 791 §3.2, with IPv6 without
// the protocol (RFC 8200 §4.5). Pieces from the other side of the gateway are
// somebody else's.
type fragmentKey struct {
	src, dst  packet.Addr
	id        uint32
	family    packet.Family
	proto     uint8 // 0 with IPv6
	realm     nat.Realm
	assembled bool // by the worker that handed the pieces over: they come in order
}

// samePair reports whether two datagrams have the same source and destination.
func (k *fragmentKey) samePair(o *fragmentKey) bool {
	return k.src == o.src && k.dst == o.dst && k.family == o.family
}

// assembler is the worker that puts a datagram together: a function of what all its
// pieces have in common.
func (k *fragmentKey) assembler(seed uint64, workers int) int {
	var b [40]byte
	binary.LittleEndian.PutUint64(b[0:], k.src.Hi)
	binary.LittleEndian.PutUint64(b[8:], k.src.Lo)
	binary.LittleEndian.PutUint64(b[16:], k.dst.Hi)
	binary.LittleEndian.PutUint64(b[24:], k.dst.Lo)
	binary.LittleEndian.PutUint32(b[32:], k.id)
	b[36], b[37] = uint8(k.family), k.proto
	return int(metro.Hash64(b[:], seed) % uint64(workers))
}

// fragment is one piece: it waits for others, or is on its way through the burst
// behind the first one of its datagram.
type fragment struct {
	addr     uint64 // UMEM address of the Ethernet header
	len      uint32 // bytes, up to the end of the packet
	from, to uint16 // bytes of the datagram that it carries, to-1 being the last
	next     uint16 // the piece after it, by place in the datagram; 0 = none
	in       uint8  // port that it came in by
}

// datagram is one of which not all pieces have come.
type datagram struct {
	key         fragmentKey
	since       flowtable.Tick // when its first piece came, whichever it was
	first, last uint16         // pieces by place
	pieces      uint16
	have        uint32 // bytes
	end         uint32 // highest to so far; the length once whole is set
	whole       bool   // the last piece has come
}

// fragments is what one worker has put aside. It has no pointers to frames but their
// addresses, and takes no memory after it was made.
type fragments struct {
	waiting []datagram // in no order; its capacity is the bound
	pool    []fragment // piece 0 is none
	unused  uint16     // list of pieces
	used    int        // pieces of datagrams in waiting
	limit   int        // of used
}

// newFragments makes room for a number of frames, and for those of datagrams that a
// burst completes.
func newFragments(limit int) *fragments {
	a := &fragments{waiting: make([]datagram, 0, maxDatagrams), pool: make([]fragment, limit+BurstSize+1), limit: limit}
	for i := len(a.pool) - 1; i > 0; i-- {
		a.release(uint16(i))
	}
	return a
}

// release gives back a piece and returns the one after it.
func (a *fragments) release(i uint16) uint16 {
	f := &a.pool[i]
	next := f.next
	*f = fragment{next: a.unused}
	a.unused = i
	return next
}

// keep takes a piece into the pool.
func (a *fragments) keep(f *fragment) uint16 {
	i := a.unused
	a.unused = a.pool[i].next
	a.pool[i] = *f
	return i
}

// count returns the length of a list of pieces.
func (a *fragments) count(i uint16) int {
	n := 0
	for ; i != 0; i = a.pool[i].next {
		n++
	}
	return n
}

// find returns the place in waiting of a datagram; -1 if it is not there.
func (a *fragments) find(k *fragmentKey) int {
	for i := range a.waiting {
		if a.waiting[i].key == *k {
			return i
		}
	}
	return -1
}

// inTheWay returns the datagram that has to go before one more piece of k is put
// aside, and why; -1 if there is room. Half of all that is put aside may be of one
// source and destination. The oldest goes: what is honest is complete soon.
func (a *fragments) inTheWay(k *fragmentKey) (int, DropReason) {
	oldest, oldestOfPair := -1, -1
	ofPair, datagramsOfPair, known := 0, 0, false
	for i := range a.waiting {
		d := &a.waiting[i]
		if oldest < 0 || int32(d.since-a.waiting[oldest].since) < 0 {
			oldest = i
		}
		if !d.key.samePair(k) {
			continue
		}
		ofPair += int(d.pieces)
		datagramsOfPair++
		known = known || d.key == *k
		if oldestOfPair < 0 || int32(d.since-a.waiting[oldestOfPair].since) < 0 {
			oldestOfPair = i
		}
	}
	switch {
	case ofPair >= a.limit/2, datagramsOfPair >= maxDatagrams/2 && !known:
		return oldestOfPair, DropFragmentPair
	case a.used == a.limit, len(a.waiting) == maxDatagrams && !known:
		return oldest, DropFragmentFull
	}
	return -1, DropUnspecified
}

// remove takes a datagram out of waiting and returns its pieces.
func (a *fragments) remove(i int) (first uint16) {
	d := &a.waiting[i]
	first = d.first
	a.used -= int(d.pieces)
	last := len(a.waiting) - 1
	*d = a.waiting[last]
	a.waiting = a.waiting[:last]
	return first
}

// putResult is what became of a piece.
type putResult uint8

const (
	putWaiting   putResult = iota // kept
	putComplete                   // kept, and nothing is missing any more
	putDuplicate                  // not kept: it is there already
	putConflict                   // not kept: it overlaps others or contradicts the length
)

// put adds a piece to its datagram, whose place in waiting it returns.
//
// Precondition: inTheWay said that there is room.
func (a *fragments) put(k *fragmentKey, f *fragment, more bool, now flowtable.Tick) (int, putResult) {
	i := a.find(k)
	if i < 0 {
		i = len(a.waiting)
		a.waiting = append(a.waiting, datagram{key: *k, since: now})
	}
	d := &a.waiting[i]
	switch to := uint32(f.to); {
	case !more && (to < d.end || d.whole && to != d.end), more && d.whole && to > d.end:
		return i, putConflict
	}
	before := a.before(d, f.from)
	if r := a.fits(d, before, f); r != putWaiting {
		return i, r
	}
	n := a.keep(f)
	next := &d.first
	if before != 0 {
		next = &a.pool[before].next
	}
	a.pool[n].next = *next
	*next = n
	if a.pool[n].next == 0 {
		d.last = n
	}
	a.used++
	d.pieces++
	d.have += uint32(f.to - f.from)
	d.end = max(d.end, uint32(f.to))
	d.whole = d.whole || !more
	if d.whole && d.have == d.end {
		return i, putComplete
	}
	return i, putWaiting
}

// before returns the last piece that begins at or before a place; 0 if none does.
func (a *fragments) before(d *datagram, from uint16) uint16 {
	if d.last != 0 && a.pool[d.last].from <= from {
		return d.last
	}
	found := uint16(0)
	for i := d.first; i != 0 && a.pool[i].from <= from; i = a.pool[i].next {
		found = i
	}
	return found
}

// fits compares a piece with those beside it. What others carry already, between
// them without a gap, is a duplicate; any other overlap spoils the datagram (RFC
// 5722 §4, RFC 8200 §4.5; inet_frag_queue_insert in net/ipv4/inet_fragment.c).
func (a *fragments) fits(d *datagram, before uint16, f *fragment) putResult {
	after := d.first
	covered := f.from
	if before != 0 {
		after = a.pool[before].next
		covered = max(covered, a.pool[before].to)
	}
	if covered == f.from && (after == 0 || a.pool[after].from >= f.to) {
		return putWaiting
	}
	for covered > f.from && covered < f.to && after != 0 && a.pool[after].from == covered {
		covered, after = a.pool[after].to, a.pool[after].next
	}
	if covered >= f.to {
		return putDuplicate
	}
	return putConflict
}

// overdue reports whether a datagram has waited too long.
func (d *datagram) overdue(now flowtable.Tick) bool {
	limit := int32(fragmentTime4)
	if d.key.family == packet.IPv6 {
		limit = fragmentTime6
	}
	return int32(now-d.since) >= limit
}

package flowtable

import (
	"fmt"
	"math/rand/v2"

	"github.com/xdpct/xdpct/packet"
)

// Burst is the number of packets that the bulk functions handle at once.
const Burst = 64

// MaxCapacity is the largest number of flows of one table: a Ref keeps one bit
// for the direction.
const MaxCapacity = 1<<30 - 1 - cooling

// Options say how large a table is. The zero value of a field is its default.
type Options struct {
	// MaxFlows is the capacity in flows, 1 to MaxCapacity. Required. Index and
	// records are taken at once, see MemoryBytes.
	MaxFlows int
	// Seed makes the hash predictable, for tests; 0 = random.
	Seed uint64
	// HugePages asks for transparent huge pages (2 MiB) where there are any.
	HugePages bool
	// Accounting counts packets and bytes of each flow, for 32 bytes a flow.
	Accounting bool
	// Timestamps keeps when each flow began, to the nanosecond, for 8 bytes.
	Timestamps bool
}

// InsertResult tells what Insert did.
type InsertResult uint8

// Results of Insert.
const (
	// InsertFull: all records are in use; EvictCandidate may help. No index.
	InsertFull InsertResult = iota
	// InsertOK: the flow is in the table, its index is returned.
	InsertOK
	// InsertClash: a live flow has one of the tuples; its index is returned.
	InsertClash
	// InsertExpired: a flow that expired but was not yet removed has one of
	// the tuples; its index is returned. Take it down as one that NextExpired
	// returned, then insert again.
	InsertExpired
	// InsertIndexFull: no slot for a key within the bounded search. No index.
	InsertIndexFull
)

// String returns the result in words.
func (r InsertResult) String() string {
	names := [...]string{"full", "ok", "clash", "expired", "index full"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("InsertResult(%d)", uint8(r))
}

// cooling is how many removals pass before a record is used again. The packets
// of a burst hold references while later packets of the same burst remove and
// insert flows; until the burst has left, a removed record must go on telling
// how its flow was translated. A packet removes at most three flows (two that
// expired but hold its tuples, one evicted).
const cooling = 4 * Burst

// Table holds the flows of one worker. All methods but Read, HighWater, Len,
// Cap and MemoryBytes belong to the worker's thread.
type Table struct {
	nbuckets uint64
	buckets  []bucket
	flows    []Flow
	seed     hashSeed
	seed4    uint64 // see Hash4
	// addrs6: original source, destination, reply source, destination of
	// IPv6 flows, by flow index; touched by IPv6 flows only.
	addrs6 []addrs6
	exts   []Ext
	// windows are of TCP flows, by flow index; touched by those only.
	windows []window
	// accounts and starts (Unix time in nanoseconds), by flow index; nil unless
	// asked for.
	accounts []account
	starts   []uint64
	// delta gives the alternative bucket of a tag, see index.go.
	delta [256]uint32
	sweep sweep
	// changes are the keys that came and went since Settle.
	changes changes

	maxFlows uint32
	// used counts live flows; other threads read it.
	used uint32
	// highWater is the highest index handed out so far; other threads read it.
	highWater uint32
	// high6 is the highest index of an IPv6 flow so far, for MemoryBytes.
	high6 uint32
	// highTCP is the highest index of a flow with a window so far.
	highTCP uint32
	// freeFlow heads the list of free records, freeExt that of extensions.
	freeFlow, freeExt uint32
	// cooled are the records removed last, oldest at cooledAt; 0 = none yet.
	cooled   [cooling]uint32
	cooledAt uint32
	// extsUsed is the highest extension index handed out so far; other threads
	// read it.
	extsUsed uint32
	// idSeed makes flow ids differ between tables.
	idSeed uint64
	// keptIDs are the ids of restored flows, by flow index, up to keptTo; nil if
	// there are none. Nobody changes them once the worker runs.
	keptIDs []keptID
	keptTo  uint32
	memory  *memory
}

// addrs6 holds the addresses of an IPv6 flow: [2*dir] source, [2*dir+1]
// destination. One cache line, immutable after insert.
type addrs6 [4]packet.Addr

// New makes a table and takes its memory.
func New(o Options) (*Table, error) {
	if o.MaxFlows < 1 || o.MaxFlows > MaxCapacity {
		return nil, fmt.Errorf("flow table: max flows %d is not within 1-%d", o.MaxFlows, MaxCapacity)
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64() | 1
	}
	n := uint64(o.MaxFlows)
	t := &Table{
		maxFlows: uint32(o.MaxFlows),
		nbuckets: max(2*n*100/(bucketSlots*indexLoad)+1+min(n/16, 16), minBuckets),
		seed:     newHashSeed(o.Seed),
		idSeed:   mix64(o.Seed ^ 0x1d),
	}
	t.seed4 = t.seed.without6()
	for i := range t.delta {
		t.delta[i] = uint32(mix64(o.Seed+uint64(i)) >> 32 * t.nbuckets >> 32)
	}
	if err := t.allocate(&o); err != nil {
		return nil, fmt.Errorf("flow table for %d flows: %w", o.MaxFlows, err)
	}
	return t, nil
}

// minBuckets, and a few spare ones, keep a table of a few flows from failing by bad
// luck: among few buckets, many keys share both of theirs. Without the spare ones, 1 of
// some million insertions into a table of 100 flows, full and changed all the time,
// found no room.
const minBuckets = 8

// Close gives the memory back. No method may run during or after it, except
// Close again. Snapshots already taken stay valid.
func (t *Table) Close() error {
	t.buckets, t.flows, t.windows, t.addrs6, t.exts, t.accounts, t.starts = nil, nil, nil, nil, nil, nil, nil
	t.keptIDs = nil
	return t.memory.free()
}

// Len returns the number of flows, expired but not removed ones included.
// Any thread.
func (t *Table) Len() int { return int(load32(&t.used)) }

// Cap returns the capacity in flows. Any thread.
func (t *Table) Cap() int { return int(t.maxFlows) }

// HighWater returns the highest index in use so far: all flows are in
// 1..HighWater. Any thread.
func (t *Table) HighWater() uint32 { return load32(&t.highWater) }

// MemoryBytes returns the memory taken: index, records, timers, accounts and
// starts as mapped, TCP windows, IPv6 addresses and extensions as far as they were
// touched. Any thread.
func (t *Table) MemoryBytes() uint64 {
	const line = 64
	n := uint64(t.records())
	m := (t.nbuckets+n)*line + 4*n/blockFlows + 4*n/(blockFlows*groupBlocks) + uint64(load32(&t.extsUsed))*extSize
	m += uint64(len(t.accounts))*accountSize + uint64(len(t.starts))*8 + uint64(t.keptTo)*keptIDSize
	if n := load32(&t.high6); n != 0 {
		m += uint64(n+1) * line
	}
	if n := load32(&t.highTCP); n != 0 {
		m += uint64(n+1) * windowSize
	}
	return m
}

// Flow returns the record of a flow. The index must be one that Lookup or
// Insert returned and that was not removed since; 0 is the empty record.
func (t *Table) Flow(idx uint32) *Flow { return &t.flows[idx] }

// Gen returns the generation of a record: even while it holds a flow, another
// one each time it is reused.
func (t *Table) Gen(idx uint32) uint32 { return load32(&t.flows[idx].gen) }

// ID names a flow across tables; worker is the number of this table's owner.
func (t *Table) ID(idx uint32, worker uint8) FlowID {
	return FlowID{Index: idx, Gen: t.Gen(idx), Worker: worker}
}

// Holds reports whether the flow that id names is still in this table.
func (t *Table) Holds(id FlowID) bool {
	return id.Index != 0 && id.Index <= t.HighWater() && id.Gen&1 == 0 && t.Gen(id.Index) == id.Gen
}

// Tuple copies the tuple of one direction of a flow to out.
func (t *Table) Tuple(idx uint32, d Dir, out *Tuple) {
	f := &t.flows[idx]
	p := uint32(f.ports >> (d * 32))
	out.SrcPort, out.DstPort = uint16(p), uint16(p>>16)
	out.Proto, out.Family = f.Proto(), f.Family()
	if out.Family == packet.IPv6 {
		a := &t.addrs6[idx]
		out.Src, out.Dst = a[d*2], a[d*2+1]
		return
	}
	out.Src = packet.Addr{Lo: f.addr[d&1] >> 32}
	out.Dst = packet.Addr{Lo: f.addr[d&1] & 0xffffffff}
}

// Target sets out to the tuple that a packet of direction d must have once it
// is translated: the opposite direction's, turned round. It is Tuple and Invert
// in one, for the path; of an ICMP query only the identifier is of use, since
// translation leaves its type alone.
//
// Hot: once per packet of a translated flow. 0 allocs, the record's line.
func (t *Table) Target(idx uint32, d Dir, out *Tuple) {
	f := &t.flows[idx]
	o := d.Opposite() & 1
	p := uint32(f.ports >> (o * 32))
	out.SrcPort, out.DstPort = uint16(p>>16), uint16(p)
	out.Proto, out.Family = f.Proto(), f.Family()
	if out.Proto == packet.ProtoICMP || out.Proto == packet.ProtoICMPv6 {
		out.SrcPort, out.DstPort = out.DstPort, out.SrcPort
	}
	if out.Family == packet.IPv6 {
		a := &t.addrs6[idx]
		out.Src, out.Dst = a[o*2+1], a[o*2]
		return
	}
	out.Src = packet.Addr{Lo: f.addr[o] & 0xffffffff}
	out.Dst = packet.Addr{Lo: f.addr[o] >> 32}
}

// NewFlow is what a flow begins with.
type NewFlow struct {
	// Orig and Reply are its tuples; Reply is what an answer looks like on the
	// wire: the inverted original, after NAT. Both have the same Family and
	// Proto; IPv4 addresses have Hi = 0.
	Orig, Reply *Tuple
	// Keys are the hashes of both.
	Keys Keys
	// Timeout is how long it lives without a packet, cut to MaxTimeout; 0 = not
	// known yet, it does not expire before a Refresh.
	Timeout Tick
	Status  Status // without StatusIPv6, which Add sets
	State   uint8
	// NextHop and NextHopGen: see Flow.
	NextHop    [2]uint16
	NextHopGen uint32
	// Bytes is the length of the packet that makes it, from the IP header on,
	// Start the Unix time in nanoseconds; used by tables that keep them.
	Bytes uint64
	Start int64
}

// Insert adds a flow with nothing but its tuples. Set the rest afterwards, last
// the time-out by Refresh. See NewFlow for the preconditions, Add for the result.
func (t *Table) Insert(orig, reply *Tuple, now Tick) (uint32, InsertResult) {
	return t.Add(&NewFlow{Orig: orig, Reply: reply, Keys: Keys{t.Hash(orig), t.Hash(reply)}}, now)
}

// Add adds a flow under both its tuples.
//
// 0 allocs; BenchmarkInsertRemove measures it.
func (t *Table) Add(n *NewFlow, now Tick) (uint32, InsertResult) {
	r := t.find(n.Orig, n.Keys[DirOriginal])
	if r == 0 {
		r = t.find(n.Reply, n.Keys[DirReply])
	}
	if r != 0 {
		if t.flows[r.Index()].Expired(now) {
			return r.Index(), InsertExpired
		}
		return r.Index(), InsertClash
	}
	idx := t.takeRecord()
	if idx == 0 {
		return 0, InsertFull
	}
	if !t.insertKey(n.Keys[DirOriginal], RefOf(idx, DirOriginal)) {
		t.freeRecord(idx)
		return 0, InsertIndexFull
	}
	if !t.insertKey(n.Keys[DirReply], RefOf(idx, DirReply)) {
		t.eraseKey(n.Keys[DirOriginal], RefOf(idx, DirOriginal))
		t.freeRecord(idx)
		return 0, InsertIndexFull
	}
	t.changes.note(n.Keys[DirOriginal])
	t.changes.note(n.Keys[DirReply])
	t.fill(idx, n, now)
	if n.Timeout != 0 {
		t.lower(idx, now+n.Timeout)
	}
	publish32(&t.used, t.used+1)
	return idx, InsertOK
}

// fill writes a fresh record and makes it visible to readers.
func (t *Table) fill(idx uint32, n *NewFlow, now Tick) {
	f := &t.flows[idx]
	meta := uint64(min(n.Timeout, MaxTimeout)) | uint64(n.Status)<<metaStatusShift |
		uint64(n.Orig.Proto)<<metaProtoShift | uint64(n.State)<<metaStateShift
	if n.Orig.Family == packet.IPv6 {
		meta |= uint64(StatusIPv6) << metaStatusShift
		t.fill6(idx, n)
	}
	po, pr := probeOf(n.Orig), probeOf(n.Reply)
	publish64(&f.meta, meta)
	publish64(&f.addr[0], po.addr)
	publish64(&f.addr[1], pr.addr)
	publish64(&f.ports, uint64(pr.ports)<<32|uint64(po.ports))
	publishTick(&f.LastSeen, now)
	publishTick(&f.Created, now)
	publish32(&f.Ext, 0)
	f.NextHop, f.NextHopGen, f.tcp = n.NextHop, n.NextHopGen, 0
	t.fillAccount(idx, n)
	t.openRecord(f)
}

// fill6 writes the addresses of an IPv6 flow.
func (t *Table) fill6(idx uint32, n *NewFlow) {
	a := &t.addrs6[idx]
	for i, v := range [4]*packet.Addr{&n.Orig.Src, &n.Orig.Dst, &n.Reply.Src, &n.Reply.Dst} {
		publish64(&a[i].Hi, v.Hi)
		publish64(&a[i].Lo, v.Lo)
	}
	if idx > t.high6 {
		publish32(&t.high6, idx)
	}
}

// Remove takes a flow out: both keys and its extension. Whatever else belongs to
// it (NAT mapping, expectations, events) is the caller's, before. Removing a
// free record does nothing. Its tuples can still be read, by Tuple, until
// 4 × Burst more flows were removed: so long a burst may refer to it.
func (t *Table) Remove(idx uint32) {
	if idx == 0 || t.flows[idx].gen&1 != 0 {
		return
	}
	k := t.Keys(idx)
	prefetchBuckets(&t.buckets[0], t.nbuckets, &k[0], len(k))
	t.RemoveKeys(idx, &k)
}

// RemoveKeys is Remove for a flow whose keys are known. It must be in the table.
func (t *Table) RemoveKeys(idx uint32, k *Keys) {
	f := &t.flows[idx]
	t.closeRecord(f)
	for d, hash := range k {
		t.eraseKey(hash, RefOf(idx, Dir(d)))
		t.changes.note(hash)
	}
	if f.Ext != 0 {
		t.releaseExt(f.Ext)
	}
	t.coolRecord(idx)
	publish32(&t.used, t.used-1)
}

// records returns the number of records: those of the flows, those that cool,
// and index 0, which is never handed out, in whole groups of the sweep.
func (t *Table) records() int {
	const group = blockFlows * groupBlocks
	return (int(t.maxFlows) + cooling + 1 + group - 1) &^ (group - 1)
}

// takeRecord returns the index of a free record, its generation odd, or 0.
func (t *Table) takeRecord() uint32 {
	if t.used == t.maxFlows {
		return 0
	}
	if idx := t.freeFlow; idx != 0 {
		t.checkPoison(idx)
		t.freeFlow = t.flows[idx].next
		next := RefOf(t.freeFlow, DirOriginal)
		prefetchFlows(&t.flows[0], &next, 1)
		return idx
	}
	idx := t.highWater + 1
	t.closeRecord(&t.flows[idx])
	publish32(&t.highWater, idx)
	return idx
}

// coolRecord keeps a removed record as it is for a while, and frees the one
// that has cooled longest.
func (t *Table) coolRecord(idx uint32) {
	at := &t.cooled[t.cooledAt%cooling]
	if *at != 0 {
		t.freeRecord(*at)
	}
	*at = idx
	t.cooledAt++
}

// freeRecord puts a record on the free list; its generation is odd.
func (t *Table) freeRecord(idx uint32) {
	t.poison(idx)
	t.flows[idx].next = t.freeFlow
	t.freeFlow = idx
}

// Refresh records a packet: the flow now expires after timeout (cut to
// MaxTimeout, at least one tick). A flow with StatusFixedTimeout that has a
// time-out keeps its deadline.
//
// Hot: once per packet. 0 allocs; writes last-seen only, while the time-out
// stays the same.
func (t *Table) Refresh(idx uint32, timeout, now Tick) {
	f := &t.flows[idx]
	if f.Timeout() == timeout && f.Status()&StatusFixedTimeout == 0 {
		publishTick(&f.LastSeen, now)
		return
	}
	t.refreshSlow(idx, f, timeout, now)
}

// refreshSlow changes the time-out.
func (t *Table) refreshSlow(idx uint32, f *Flow, timeout, now Tick) {
	timeout = min(max(timeout, 1), MaxTimeout)
	if f.Timeout() != 0 && f.Status()&StatusFixedTimeout != 0 {
		return
	}
	publishTick(&f.LastSeen, now)
	f.setMeta(f.meta&^uint64(MaxTimeout) | uint64(timeout))
	t.lower(idx, now+timeout)
}

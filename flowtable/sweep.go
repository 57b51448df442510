package flowtable

// The sweep finds the flows whose time is over. Records stand in blocks of
// four, in the order of their indices. Of each block the table keeps a time
// before which none of its flows expires. Four times a second all of those
// times are looked at, and the records of the blocks whose time has come.
//
// A refresh moves a deadline away, so it does not touch the block: its time
// comes early, and is set anew by the deadlines in the records. A deadline that
// moves towards now lowers the block's time. Removing a flow needs nothing.
//
// Bounds: lowering is O(1), in a line of 16 blocks. Looking at the times costs
// 0.1 ns a flow, four times a second, and nothing depends on how long time-outs
// are. Expired looks at as many blocks as its budget allows; it takes several
// that are due at once, so that the misses on their records overlap, then those
// on the buckets of what has expired. An entry is at most 3 ticks late.

const (
	blockShift = 2
	blockFlows = 1 << blockShift
	// lap is how long it takes to look at all blocks, in ticks.
	lap = 4
	// sweepAtOnce is how many blocks are visited together.
	sweepAtOnce = 4
	// lookAtOnce is how many blocks that are not due cost as much as one visit.
	lookAtOnce = 64
	// never is the time of a block without flows: late enough, and near enough
	// to compare. The block is visited in vain then.
	never Tick = 1 << 30
)

// sweep is the state of the table's timers. Owner: worker.
type sweep struct {
	// due is, by block, a time before which none of its flows expires. Off-heap.
	due []Tick
	// now is the latest time that the sweep has been asked for.
	now     Tick
	started bool
	// at is the next block to look at, owed how many have to be looked at until
	// all were within the last lap, blocks how many there are, looked how many
	// were looked at that no budget has paid for yet.
	at, owed, blocks, looked uint32
	// found are blocks that are due and whose records were asked for.
	found   [sweepAtOnce]uint32
	waiting int // in found
}

// Expired is some flows whose time is over, with the hashes of their tuples: the
// result of Table.Expired, to be used again.
type Expired struct {
	Flows [sweepAtOnce * blockFlows]uint32
	Keys  [sweepAtOnce * blockFlows]Keys
	N     int
}

// Keys are the hashes of a flow's tuples, by direction.
type Keys [2]uint64

// lower makes sure that a flow is looked at when its time comes.
func (t *Table) lower(idx uint32, deadline Tick) {
	if due := &t.sweep.due[idx>>blockShift]; deadline.Before(*due) {
		*due = deadline
	}
}

// Expired takes some flows whose time is over, and asks for the lines that their
// removal touches: call it again before you remove them, to give the lines time
// to arrive. It returns how many there are. 0 means that there are none now, or
// that the budget is used up: of that, each visited block takes 1, and each flow
// 1. The caller emits events, releases NAT and removes each of them, before it
// returns to the burst.
//
// Hot: once per burst; 2 ns when nothing is due (BenchmarkExpireIdle), 0 allocs.
func (t *Table) Expired(now Tick, budget *int, e *Expired) int {
	s := &t.sweep
	t.advance(now)
	e.N = 0
	for e.N == 0 && *budget > 0 && t.Behind() {
		found := s.found
		n := s.waiting
		t.collect(budget)
		for _, b := range found[:n] {
			t.visit(b, e)
		}
	}
	if e.N > 0 {
		*budget -= e.N
		prefetchBuckets(&t.buckets[0], t.nbuckets, &e.Keys[0][0], 2*e.N)
	}
	return e.N
}

// Behind tells whether Expired has left something undone for want of budget.
func (t *Table) Behind() bool { return t.sweep.owed > 0 || t.sweep.waiting > 0 }

// advance moves the sweep's time to now; it never goes back.
func (t *Table) advance(now Tick) {
	s := &t.sweep
	blocks := t.highWater>>blockShift + 1
	s.owed += blocks - s.blocks // the new ones came into the middle of a lap
	s.blocks = blocks
	if !s.started {
		s.started, s.now = true, now
	}
	if !s.now.Before(now) {
		return
	}
	share := (blocks + lap - 1) / lap
	s.owed = min(s.owed+min(uint32(now-s.now), lap)*share, blocks)
	s.now = now
}

// collect looks at the blocks that are owed until it has found enough that are
// due, and asks for their records.
func (t *Table) collect(budget *int) {
	s := &t.sweep
	var refs [sweepAtOnce * blockFlows]Ref
	s.waiting = 0
	for s.owed > 0 && s.waiting < sweepAtOnce && *budget > 0 {
		b, ok := s.look()
		if s.looked >= lookAtOnce {
			s.looked -= lookAtOnce
			*budget--
		}
		if !ok {
			continue
		}
		*budget--
		s.found[s.waiting] = b
		for i := range uint32(blockFlows) {
			refs[s.waiting*blockFlows+int(i)] = RefOf(b<<blockShift|i, DirOriginal)
		}
		s.waiting++
	}
	prefetchFlows(&t.flows[0], &refs[0], s.waiting*blockFlows)
}

// look returns the next block that is due; false if there is none among those
// that it looked at: as many as a unit of budget pays for, or up to the last one.
func (s *sweep) look() (uint32, bool) {
	n := min(s.owed, lookAtOnce, s.blocks-s.at)
	for i, due := range s.due[s.at:][:n] {
		if !s.now.Before(due) {
			b := s.at + uint32(i)
			s.pass(uint32(i) + 1)
			return b, true
		}
	}
	s.pass(n)
	return 0, false
}

// pass moves the sweep on by n blocks.
func (s *sweep) pass(n uint32) {
	s.owed -= n
	s.looked += n
	if s.at += n; s.at == s.blocks {
		s.at = 0
	}
}

// visit takes the expired flows of a block, and notes when the next one of the
// others expires.
func (t *Table) visit(b uint32, e *Expired) {
	s := &t.sweep
	due := s.now + never
	first := b << blockShift
	records := t.flows[first : first+blockFlows]
	for i := range records {
		f := &records[i]
		timeout := f.Timeout()
		if timeout == 0 || f.gen&1 != 0 {
			continue
		}
		deadline := f.LastSeen + timeout
		if s.now.Before(deadline) {
			if deadline.Before(due) {
				due = deadline
			}
			continue
		}
		e.Flows[e.N] = first + uint32(i)
		e.Keys[e.N] = t.Keys(first + uint32(i))
		e.N++
	}
	s.due[b] = due
}

// Keys returns the hashes of a flow's tuples.
func (t *Table) Keys(idx uint32) (k Keys) {
	var tu Tuple
	for d := range k {
		t.Tuple(idx, Dir(d), &tu)
		k[d] = t.Hash(&tu)
	}
	return k
}

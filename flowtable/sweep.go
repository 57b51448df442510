package flowtable

// The sweep finds the flows whose time is over. Records stand in blocks of
// four, in the order of their indices, blocks in groups of sixteen. Of each
// block, and of each group, the table keeps a time before which none of its flows
// expires. Four times a second the times of all groups are looked at, those of
// the blocks in groups whose time has come, and the records of the blocks whose
// time has come.
//
// A refresh moves a deadline away, so it touches neither: the times come early,
// and are set anew by the deadlines in the records. A deadline that moves towards
// now lowers them. Removing a flow needs nothing.
//
// Bounds: lowering is O(1). Looking at the groups costs 0.01 ns a flow, four
// times a second. How long time-outs are makes no difference. Expired looks at as
// much as its budget allows; it visits a few blocks together, so that the misses
// on their records overlap, and asks for the records of the next ones meanwhile.
// A flow is found at most 3 ticks after its time.

const (
	blockShift  = 2
	blockFlows  = 1 << blockShift
	groupShift  = 4
	groupBlocks = 1 << groupShift // the times of a group's blocks are one cache line
	// lap is how long it takes to look at all groups, in ticks.
	lap = 4
	// visitAtOnce is how many blocks are visited together: more of them would
	// want more lines than a core can wait for (BenchmarkExpire).
	visitAtOnce = 4
	// lookAtOnce is how many groups that are not due cost as much as a visit.
	lookAtOnce = 64
	// never is the time of a block without flows: late enough, and near enough
	// to compare. The block is visited in vain then.
	never Tick = 1 << 30
)

// sweep is the state of the table's timers. Owner: worker.
type sweep struct {
	// block and group are, by their numbers, times before which none of their
	// flows expires. Off-heap.
	block, group []Tick
	// now is the latest time that the sweep has been asked for.
	now     Tick
	started bool
	// at is the next group to look at, owed how many have to be looked at until
	// all were within the last lap, groups how many there are, looked how many
	// were looked at that no budget has paid for yet.
	at, owed, groups, looked uint32
	// due are blocks whose time has come.
	due  [visitAtOnce - 1 + groupBlocks]uint32
	dues int // in due
	// asked are blocks whose time has come and whose records were asked for.
	asked  [visitAtOnce]uint32
	askeds int // in asked
}

// Expired is some flows whose time is over, with the hashes of their tuples: the
// result of Table.Expired, to be used again.
type Expired struct {
	Flows [visitAtOnce * blockFlows]uint32
	Keys  [visitAtOnce * blockFlows]Keys
	N     int
}

// Keys are the hashes of a flow's tuples, by direction.
type Keys [2]uint64

// lower makes sure that a flow is looked at when its time comes.
func (t *Table) lower(idx uint32, deadline Tick) {
	block := &t.sweep.block[idx>>blockShift]
	if !deadline.Before(*block) {
		return
	}
	*block = deadline
	if group := &t.sweep.group[idx>>(blockShift+groupShift)]; deadline.Before(*group) {
		*group = deadline
	}
}

// Expired takes some flows whose time is over, and asks for the lines that their
// removal touches: call it again before you remove them, to give the lines time
// to arrive. It returns how many there are. 0 means that there are none now, or
// that the budget is used up: of that, each visited block takes 1, and each flow
// 1. The caller emits events, releases NAT and removes each of them, before it
// returns to the burst.
//
// Hot: once per burst; 3 ns when nothing is due (BenchmarkExpireIdle), 0 allocs.
func (t *Table) Expired(now Tick, budget *int, e *Expired) int {
	s := &t.sweep
	t.advance(now)
	e.N = 0
	for e.N == 0 && *budget > 0 && t.Behind() {
		visit, n := s.asked, s.askeds
		t.ask(budget)
		for _, b := range visit[:n] {
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
func (t *Table) Behind() bool {
	s := &t.sweep
	return s.owed > 0 || s.dues > 0 || s.askeds > 0
}

// advance moves the sweep's time to now; it never goes back.
func (t *Table) advance(now Tick) {
	s := &t.sweep
	groups := t.highWater>>(blockShift+groupShift) + 1
	s.owed += groups - s.groups // the new ones came into the middle of a lap
	s.groups = groups
	if !s.started {
		s.started, s.now = true, now
	}
	if !s.now.Before(now) {
		return
	}
	share := (groups + lap - 1) / lap
	s.owed = min(s.owed+min(uint32(now-s.now), lap)*share, groups)
	s.now = now
}

// ask finds the blocks to be visited next and asks for their records.
func (t *Table) ask(budget *int) {
	s := &t.sweep
	for s.dues < visitAtOnce && s.owed > 0 && *budget > 0 {
		if g, ok := s.look(); ok {
			s.open(g)
			*budget--
		}
		if s.looked >= lookAtOnce {
			s.looked -= lookAtOnce
			*budget--
		}
	}
	var refs [visitAtOnce * blockFlows]Ref
	n := min(s.dues, visitAtOnce)
	s.askeds = copy(s.asked[:n], s.due[:])
	s.dues = copy(s.due[:], s.due[n:s.dues])
	for i := range refs[:n*blockFlows] {
		refs[i] = RefOf(s.asked[i/blockFlows]<<blockShift+uint32(i%blockFlows), DirOriginal)
	}
	prefetchFlows(&t.flows[0], &refs[0], n*blockFlows)
	*budget -= n
}

// look returns the next group that is due; false if there is none among those
// that it looked at: as many as a unit of budget pays for, or up to the last one.
func (s *sweep) look() (uint32, bool) {
	n := min(s.owed, lookAtOnce, s.groups-s.at)
	for i, due := range s.group[s.at:][:n] {
		if !s.now.Before(due) {
			g := s.at + uint32(i)
			s.pass(uint32(i) + 1)
			return g, true
		}
	}
	s.pass(n)
	return 0, false
}

// pass moves the sweep on by n groups.
func (s *sweep) pass(n uint32) {
	s.owed -= n
	s.looked += n
	if s.at += n; s.at == s.groups {
		s.at = 0
	}
}

// open adds the blocks of a group that are due to s.due. What remains says when
// the group is due again; visiting a block may lower it.
func (s *sweep) open(g uint32) {
	next := s.now + never
	first := g << groupShift
	for i, due := range s.block[first:][:groupBlocks] {
		switch {
		case !s.now.Before(due):
			s.due[s.dues] = first + uint32(i)
			s.dues++
		case due.Before(next):
			next = due
		}
	}
	s.group[g] = next
}

// visit takes the expired flows of a block, and notes when the next one of the
// others expires. A group that is opened again before all of its blocks were
// visited names them twice: the second visit comes to nothing, so that no flow is
// taken twice.
func (t *Table) visit(b uint32, e *Expired) {
	s := &t.sweep
	if s.now.Before(s.block[b]) {
		return
	}
	next := s.now + never
	first := b << blockShift
	records := t.flows[first:][:blockFlows]
	for i := range records {
		f := &records[i]
		timeout := f.Timeout()
		if timeout == 0 || f.gen&1 != 0 {
			continue
		}
		deadline := f.LastSeen + timeout
		if s.now.Before(deadline) {
			if deadline.Before(next) {
				next = deadline
			}
			continue
		}
		e.Flows[e.N] = first + uint32(i)
		e.Keys[e.N] = t.Keys(first + uint32(i))
		e.N++
	}
	s.block[b] = next
	if group := &s.group[b>>groupShift]; next.Before(*group) {
		*group = next
	}
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

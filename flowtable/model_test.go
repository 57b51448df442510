package flowtable

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// model is a table in the most obvious form: a map of tuples and a map of
// flows.
type model struct {
	keys  map[Tuple]Ref
	flows map[uint32]*modelFlow
}

type modelFlow struct {
	orig, reply       Tuple
	lastSeen, timeout Tick
	assured           bool
}

func (f *modelFlow) expired(now Tick) bool { return !now.Before(f.lastSeen + f.timeout) }

func (m *model) lookup(tu Tuple, now Tick) Ref {
	if r, ok := m.keys[tu]; ok && !m.flows[r.Index()].expired(now) {
		return r
	}
	return 0
}

func (m *model) remove(idx uint32) {
	f := m.flows[idx]
	delete(m.keys, f.orig)
	delete(m.keys, f.reply)
	delete(m.flows, idx)
}

// modelRun drives a table and the model with the same random operations.
type modelRun struct {
	t   *testing.T
	rng *rand.Rand
	tb  *Table
	m   model
	now Tick
}

// randomTuple picks from a space small enough for clashes.
func (r *modelRun) randomTuple() Tuple {
	space := r.tb.Cap()
	tu := Tuple{
		Src:     packet.Addr{Lo: uint64(r.rng.IntN(space) + 1)},
		Dst:     packet.Addr{Lo: uint64(r.rng.IntN(3) + 1)},
		SrcPort: uint16(r.rng.IntN(4)),
		DstPort: uint16(r.rng.IntN(2)),
		Proto:   packet.ProtoTCP,
		Family:  packet.IPv4,
	}
	if r.rng.IntN(3) == 0 {
		tu.Family = packet.IPv6
		tu.Src.Hi = uint64(r.rng.IntN(2))
	}
	return tu
}

// anyFlow picks a flow of the model, 0 if there is none.
func (r *modelRun) anyFlow() uint32 {
	if len(r.m.flows) == 0 {
		return 0
	}
	for range 64 {
		idx := r.rng.Uint32N(r.tb.HighWater()) + 1
		if r.m.flows[idx] != nil {
			return idx
		}
	}
	return 0
}

func (r *modelRun) insert() {
	orig, reply := r.randomTuple(), r.randomTuple()
	if r.rng.IntN(2) == 0 {
		reply = orig.Invert()
	}
	if reply.Family = orig.Family; reply.Family == packet.IPv4 {
		reply.Src.Hi, reply.Dst.Hi = 0, 0
	}
	if orig == reply {
		return
	}
	idx, res := r.tb.Insert(&orig, &reply, r.now)
	holder, taken := r.m.keys[orig]
	if !taken {
		holder, taken = r.m.keys[reply]
	}
	switch {
	case taken:
		want := InsertClash
		if r.m.flows[holder.Index()].expired(r.now) {
			want = InsertExpired
		}
		if res != want || idx != holder.Index() {
			r.t.Fatalf("insert: %d, %v, want %d, %v", idx, res, holder.Index(), want)
		}
	case len(r.m.flows) == r.tb.Cap():
		if res != InsertFull || idx != 0 {
			r.t.Fatalf("insert into a full table: %d, %v", idx, res)
		}
		r.evict(r.tb.Hash(&orig))
	default:
		if res != InsertOK || idx == 0 || r.m.flows[idx] != nil {
			r.t.Fatalf("insert: %d, %v", idx, res)
		}
		timeout := Tick(r.rng.IntN(4000) + 1)
		if r.rng.IntN(8) == 0 {
			timeout = Tick(r.rng.IntN(200_000) + 1)
		}
		f := &modelFlow{orig: orig, reply: reply, lastSeen: r.now, timeout: timeout}
		if f.assured = r.rng.IntN(2) == 0; f.assured {
			r.tb.Flow(idx).AddStatus(StatusAssured)
		}
		r.tb.Refresh(idx, timeout, r.now)
		r.m.flows[idx] = f
		r.m.keys[orig], r.m.keys[reply] = RefOf(idx, DirOriginal), RefOf(idx, DirReply)
	}
}

func (r *modelRun) evict(near uint64) {
	idx := r.tb.EvictCandidate(r.now, near, false)
	if idx == 0 {
		return
	}
	f := r.m.flows[idx]
	if f == nil || f.assured && !f.expired(r.now) {
		r.t.Fatalf("candidate %d: %+v", idx, f)
	}
	r.tb.Remove(idx)
	r.m.remove(idx)
}

func (r *modelRun) lookup() {
	tu := r.randomTuple()
	if idx := r.anyFlow(); idx != 0 && r.rng.IntN(4) != 0 {
		tu = r.m.flows[idx].orig
		if r.rng.IntN(2) == 0 {
			tu = r.m.flows[idx].reply
		}
	}
	got, want := r.tb.lookup(tu, r.now), r.m.lookup(tu, r.now)
	if got != want {
		r.t.Fatalf("lookup %v = %d, want %d", &tu, got, want)
	}
}

func (r *modelRun) refresh() {
	idx := r.anyFlow()
	if idx == 0 || r.m.flows[idx].expired(r.now) {
		return
	}
	f := r.m.flows[idx]
	if r.rng.IntN(3) == 0 {
		f.timeout = Tick(r.rng.IntN(4000) + 1)
	}
	f.lastSeen = r.now
	r.tb.Refresh(idx, f.timeout, r.now)
}

func (r *modelRun) remove() {
	if idx := r.anyFlow(); idx != 0 {
		r.tb.Remove(idx)
		r.m.remove(idx)
	}
}

// passTime moves the clock and expires flows with a random budget.
func (r *modelRun) passTime() {
	switch r.rng.IntN(20) {
	case 0:
		r.now += Tick(r.rng.IntN(5000))
	case 1, 2, 3:
		r.now += Tick(r.rng.IntN(100))
	default:
		r.now += Tick(r.rng.IntN(3))
	}
	budget := r.rng.IntN(100)
	if r.rng.IntN(4) == 0 {
		budget = 1 << 30
	}
	var e Expired
	for r.tb.Expired(r.now, &budget, &e) > 0 {
		for i, idx := range e.Flows[:e.N] {
			f := r.m.flows[idx]
			if f == nil || !f.expired(r.now) {
				r.t.Fatalf("flow %d expired at %d: %+v", idx, r.now, f)
			}
			r.tb.RemoveKeys(idx, &e.Keys[i])
			r.m.remove(idx)
		}
	}
	if r.tb.Behind() {
		return
	}
	for idx, f := range r.m.flows { // the sweep is at most a quarter second late
		if f.expired(r.now - 3) {
			r.t.Fatalf("flow %d should have expired at %d, now %d", idx, f.lastSeen+f.timeout, r.now)
		}
	}
}

func (r *modelRun) check() {
	checkTable(r.t, r.tb)
	if r.tb.Len() != len(r.m.flows) {
		r.t.Fatalf("Len = %d, want %d", r.tb.Len(), len(r.m.flows))
	}
	n := 0
	var s Snapshot
	for idx := uint32(1); idx <= r.tb.HighWater(); idx++ {
		f := r.m.flows[idx]
		want := f != nil && !f.expired(r.now)
		if got := r.tb.Read(idx, r.now, &s); got != want {
			r.t.Fatalf("Read(%d) = %v, want %v", idx, got, want)
		}
		if want {
			n++
			if s.Orig != f.orig || s.Reply != f.reply || s.Timeout != (f.lastSeen+f.timeout-r.now).Seconds() {
				r.t.Fatalf("Read(%d) = %+v, want %+v", idx, s, f)
			}
		}
	}
}

func TestTableAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("MODEL_SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = v
	}
	t.Logf("MODEL_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, size := range []int{1, 3, 17, 100, 1000} {
		tb, err := New(Options{MaxFlows: size, Seed: rng.Uint64()})
		if err != nil {
			t.Fatal(err)
		}
		r := &modelRun{t: t, rng: rng, tb: tb, now: Tick(rng.Uint32()),
			m: model{keys: map[Tuple]Ref{}, flows: map[uint32]*modelFlow{}}}
		full := 0
		for op := range 30_000 {
			switch k := rng.IntN(100); {
			case k < 45:
				r.insert()
			case k < 70:
				r.lookup()
			case k < 88:
				r.refresh()
			case k < 92:
				r.remove()
			case k < 94 || op%10_000 > 8000: // at times, time flies
				r.passTime()
			}
			if len(r.m.flows) == size {
				full++
			}
			if op%500 == 0 {
				r.check()
			}
		}
		r.check()
		if full == 0 {
			t.Errorf("size %d: the table was never full", size)
		}
		if err := tb.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

package flowtable

import (
	"math/rand/v2"
	"testing"
)

// expireAll returns how many flows expire at now, removing them.
func expireAll(tb *Table, now Tick) int {
	budget := 1 << 30
	return expireSome(tb, now, &budget)
}

// expireSome is expireAll within a budget.
func expireSome(tb *Table, now Tick, budget *int) int {
	var batches [2]Expired
	n := 0
	this, next := &batches[0], &batches[1]
	for tb.Expired(now, budget, this); this.N > 0; this, next = next, this {
		tb.Expired(now, budget, next)
		for i, idx := range this.Flows[:this.N] {
			tb.RemoveKeys(idx, &this.Keys[i])
		}
		n += this.N
	}
	return n
}

func TestExpiryIsExactToTheSecond(t *testing.T) {
	for _, seconds := range []Tick{1, 2, 10, 15, 16, 17, 30, 60, 119, 120, 300, 1024, 1025, 7440, 65536, 432000} {
		for _, start := range []Tick{0, 1, 63, 255, 256, 1 << 20, ^Tick(0) - 100} {
			tb := newTable(t, 2)
			timeout := seconds * TicksPerSecond
			mustInsert(t, tb, tuple4(1), timeout, start)
			step := max(timeout/5000, 1)
			for k := Tick(0); k < timeout; k += step {
				if expireAll(tb, start+k) != 0 {
					t.Fatalf("%d s from %d: expired %d ticks early", seconds, start, timeout-k)
				}
			}
			if expireAll(tb, start+timeout-1) != 0 {
				t.Fatalf("%d s from %d: expired a tick early", seconds, start)
			}
			if expireAll(tb, start+timeout+3) != 1 {
				t.Fatalf("%d s from %d: not expired a quarter second after its time", seconds, start)
			}
		}
	}
}

func TestRefreshOnlyMovesTheDeadlineAway(t *testing.T) {
	tb := newTable(t, 2)
	idx := mustInsert(t, tb, tuple4(1), 1600, 0)
	work := 0
	for now := Tick(0); now < 16000; now++ {
		budget := 100
		if expireSome(tb, now, &budget) != 0 {
			t.Fatalf("expired at %d although refreshed", now)
		}
		work += 100 - budget
		tb.Refresh(idx, 1600, now)
	}
	if work > 50+16000/lookAtOnce {
		t.Errorf("16000 refreshes cost a budget of %d", work)
	}
	if expireAll(tb, 15999+1599) != 0 || expireAll(tb, 15999+1603) != 1 {
		t.Error("the last refresh does not count")
	}
}

func TestShorterTimeoutCounts(t *testing.T) {
	tb := newTable(t, 3)
	idx := mustInsert(t, tb, tuple4(1), 432000*TicksPerSecond, 0)
	mustInsert(t, tb, tuple4(2), 432000*TicksPerSecond, 0)
	expireAll(tb, 100)
	tb.Refresh(idx, 160, 100)
	if expireAll(tb, 259) != 0 || expireAll(tb, 263) != 1 || tb.Len() != 1 {
		t.Error("a shorter time-out did not expire in time")
	}
}

func TestMassExpiryIsBounded(t *testing.T) {
	const flows, perCall = 100_000, 64
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), 120*TicksPerSecond, 0)
	}
	calls, gone := 0, 0
	for now := Tick(0); tb.Len() > 0; calls++ {
		if calls > 20*flows/perCall {
			t.Fatalf("%d flows left after %d calls", tb.Len(), calls)
		}
		if calls%64 == 0 {
			now += 16 // a second passes every 64 bursts
		}
		budget := perCall
		inCall := expireSome(tb, now, &budget)
		gone += inCall
		if inCall > perCall+blockFlows*visitAtOnce || budget < -2*blockFlows*visitAtOnce {
			t.Fatalf("a call handled %d flows, budget %d left %d", inCall, perCall, budget)
		}
		if tb.Behind() != (budget <= 0) {
			t.Fatalf("budget left %d, behind %v", budget, tb.Behind())
		}
	}
	if gone != flows {
		t.Errorf("%d of %d flows expired", gone, flows)
	}
	if calls > 2*flows/perCall+20_000 {
		t.Errorf("%d calls", calls)
	}
}

func TestLaggingSweepCatchesUp(t *testing.T) {
	const flows = 1000
	var e Expired
	for _, pause := range []Tick{1, 64, 256, 260, 4000, 16384, 20_000, 1 << 20, 1 << 24} {
		rng := rand.New(rand.NewPCG(uint64(pause), 7))
		tb := newTable(t, flows)
		deadline := make(map[uint32]Tick)
		for i := range flows {
			timeout := Tick(rng.IntN(30_000) + 1)
			deadline[mustInsert(t, tb, tuple4(i), timeout, 100)] = 100 + timeout
		}
		now := 100 + pause
		// Deadlines change while the sweep still lags.
		for idx := range deadline {
			if deadline[idx] > now && idx%4 == 0 {
				tb.Refresh(idx, 50, now)
				deadline[idx] = now + 50
			}
		}
		for ; tb.Len() > 0; now += 7 {
			budget := 300
			for tb.Expired(now, &budget, &e) > 0 {
				for _, idx := range e.Flows[:e.N] {
					if deadline[idx] > now {
						t.Fatalf("pause %d: flow expired at %d, its deadline is %d", pause, now, deadline[idx])
					}
					tb.Remove(idx)
					delete(deadline, idx)
				}
			}
			if tb.Behind() {
				continue
			}
			for idx, d := range deadline {
				if d+4 <= now {
					t.Fatalf("pause %d: flow %d still there at %d, deadline %d", pause, idx, now, d)
				}
			}
		}
	}
}

// A flow with a long time-out is not looked at before its time is over.
func TestIdleFlowCostsNothing(t *testing.T) {
	tb := newTable(t, 2)
	mustInsert(t, tb, tuple4(1), MaxTimeout, 0)
	handled := 0
	for now := Tick(0); now < MaxTimeout; now += 1 << 16 {
		budget := 10
		if expireSome(tb, now, &budget) != 0 {
			t.Fatalf("expired at %d", now)
		}
		handled += 10 - budget
	}
	if laps := int(MaxTimeout >> 16); handled > 2+groupBlocks+laps/lookAtOnce { // the group's blocks are visited once, when they are new
		t.Errorf("one idle flow cost a budget of %d in %d laps", handled, laps)
	}
	if expireAll(tb, MaxTimeout) != 1 {
		t.Error("not expired at its time")
	}
}

// Blocks that are visited in vain, and groups that are only looked at, cost
// budget too.
func TestLookingIsBounded(t *testing.T) {
	const groups = 10 * lap * lookAtOnce
	const flows = groups*groupBlocks*blockFlows - 1
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), 100, 0)
	}
	for idx := range tb.HighWater() {
		tb.Refresh(idx+1, 100, 50) // the time of each block is too early now
	}
	budget := 30
	if expireSome(tb, 100, &budget) != 0 || budget > 0 || budget < -visitAtOnce || !tb.Behind() {
		t.Errorf("budget left %d, behind %v", budget, tb.Behind())
	}
	if left := int(tb.sweep.owed); left < groups-30 {
		t.Errorf("%d groups left, want %d or more", left, groups-30)
	}
	budget = 1 << 30
	if expireSome(tb, 100, &budget) != 0 || tb.Behind() {
		t.Error("did not look at the rest")
	}
	budget = 100
	if expireSome(tb, 101, &budget) != 0 || budget < 100-11 || budget > 100-9 {
		t.Errorf("looking at a quarter of %d groups took a budget of %d", groups, 100-budget)
	}
}

// However little is done at a time, and whatever happens to the other flows of a
// block meanwhile, each flow is taken when its time is over, and once.
func TestEachFlowIsTakenOnce(t *testing.T) {
	const flows = 3 * groupBlocks * blockFlows
	rng := rand.New(rand.NewPCG(1, 1))
	tb := newTable(t, flows)
	live := make(map[uint32]bool)
	var batches [2]Expired
	this, next := &batches[0], &batches[1]
	taken := 0
	take := func(now Tick, budget *int, e *Expired) {
		tb.Expired(now, budget, e)
		for _, idx := range e.Flows[:e.N] {
			if !live[idx] || now.Before(tb.Flow(idx).Deadline()) {
				t.Fatalf("flow %d was taken at %d, alive %v, deadline %d", idx, now, live[idx], tb.Flow(idx).Deadline())
			}
			delete(live, idx)
		}
		taken += e.N
	}
	n := 0
	for now := Tick(1); now < 20_000; now += Tick(rng.IntN(3)) {
		for range rng.IntN(4) {
			if idx := rng.Uint32N(flows) + 1; live[idx] && now.Before(tb.Flow(idx).Deadline()) {
				tb.Refresh(idx, Tick(1+rng.IntN(30)), now)
			}
		}
		for len(live) < flows/2 {
			n++
			live[mustInsert(t, tb, tuple4(n), Tick(1+rng.IntN(60)), now)] = true
		}
		budget := rng.IntN(12)
		for take(now, &budget, this); this.N > 0; this, next = next, this {
			take(now, &budget, next)
			for i, idx := range this.Flows[:this.N] {
				tb.RemoveKeys(idx, &this.Keys[i])
			}
		}
	}
	if checkTable(t, tb); taken < 10_000 {
		t.Errorf("only %d flows were taken", taken)
	}
}

// While time goes on tick by tick, each block is looked at once in a lap.
func TestALapLooksAtEachBlockOnce(t *testing.T) {
	const flows = 1001
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), Tick(1+i%50), 0)
	}
	for now := Tick(0); now < 60; now++ {
		expireAll(tb, now)
		for idx := uint32(1); idx <= tb.HighWater(); idx++ {
			if f := tb.Flow(idx); f.gen&1 == 0 && now >= f.Deadline()+lap {
				t.Fatalf("flow %d is still there at %d, its deadline is %d", idx, now, f.Deadline())
			}
		}
	}
	if tb.Len() != 0 {
		t.Errorf("%d flows left", tb.Len())
	}
}

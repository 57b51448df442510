package flowtable

import (
	"math/rand/v2"
	"testing"
)

// expireAll returns how many flows expire at now, removing them.
func expireAll(tb *Table, now Tick) int {
	n, budget := 0, 1<<30
	for {
		idx := tb.NextExpired(now, &budget)
		if idx == 0 {
			return n
		}
		tb.Remove(idx)
		n++
	}
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
		if tb.NextExpired(now, &budget) != 0 {
			t.Fatalf("expired at %d although refreshed", now)
		}
		work += 100 - budget
		tb.Refresh(idx, 1600, now)
	}
	if work > 50 {
		t.Errorf("16000 refreshes cost %d entries of the wheel", work)
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
		budget, inCall := perCall, 0
		for {
			idx := tb.NextExpired(now, &budget)
			if idx == 0 {
				break
			}
			tb.Remove(idx)
			gone++
			inCall++
		}
		if inCall > perCall || budget < 0 {
			t.Fatalf("a call handled %d flows, budget %d left %d", inCall, perCall, budget)
		}
	}
	if gone != flows {
		t.Errorf("%d of %d flows expired", gone, flows)
	}
	// Each flow is handled when it expires and once before, from level 1.
	if calls > 3*flows/perCall+20_000 {
		t.Errorf("%d calls", calls)
	}
}

func TestLaggingWheelCatchesUp(t *testing.T) {
	const flows = 1000
	for _, pause := range []Tick{1, 64, 256, 260, 4000, 16384, 20_000, 1 << 20, 1 << 24} {
		rng := rand.New(rand.NewPCG(uint64(pause), 7))
		tb := newTable(t, flows)
		deadline := make(map[uint32]Tick)
		for i := range flows {
			timeout := Tick(rng.IntN(30_000) + 1)
			deadline[mustInsert(t, tb, tuple4(i), timeout, 100)] = 100 + timeout
		}
		now := 100 + pause
		// New flows are armed while the wheel still lags.
		for idx := range deadline {
			if deadline[idx] > now && idx%4 == 0 {
				tb.Refresh(idx, 50, now)
				deadline[idx] = now + 50
			}
		}
		for ; tb.Len() > 0; now += 7 {
			budget := 300
			for {
				idx := tb.NextExpired(now, &budget)
				if idx == 0 {
					break
				}
				if deadline[idx] > now {
					t.Fatalf("pause %d: flow expired at %d, its deadline is %d", pause, now, deadline[idx])
				}
				tb.Remove(idx)
				delete(deadline, idx)
			}
			if budget == 0 {
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

func TestIdleWheelCostsNothing(t *testing.T) {
	tb := newTable(t, 2)
	mustInsert(t, tb, tuple4(1), MaxTimeout, 0)
	handled := 0
	for now := Tick(0); now < 1<<29; now += 1 << 16 {
		budget := 10
		tb.NextExpired(now, &budget)
		handled += 10 - budget
	}
	if handled > wheelLevels {
		t.Errorf("one idle flow was handled %d times", handled)
	}
}

func TestUnarmedFlowIsArmedByRefresh(t *testing.T) {
	tb := newTable(t, 2)
	idx := mustInsert(t, tb, tuple4(1), 16, 0)
	budget := 10
	if got := tb.NextExpired(100, &budget); got != idx {
		t.Fatal("did not expire")
	}
	tb.Refresh(idx, 16, 100) // kept, not removed
	if expireAll(tb, 115) != 0 || expireAll(tb, 119) != 1 {
		t.Error("a flow that was kept does not expire again")
	}
}

// Entries that are only armed again cost budget too.
func TestEarlyFiringIsBounded(t *testing.T) {
	tb := newTable(t, 100)
	for i := range 100 {
		mustInsert(t, tb, tuple4(i), 120*TicksPerSecond, 0)
	}
	const now = 120*TicksPerSecond - 100 // the slot of 16 s has begun
	budget := 30
	if tb.NextExpired(now, &budget) != 0 || budget != 0 {
		t.Errorf("budget left %d", budget)
	}
	left := 0
	for idx := tb.wheel.heads[firingSlot+1]; idx != 0; idx = tb.Flow(idx).next {
		left++
	}
	if left != 70 {
		t.Errorf("%d entries wait to be armed again, want 70", left)
	}
}

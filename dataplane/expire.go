package dataplane

import "github.com/xdpct/xdpct/flowtable"

// Bounds of the timers that are looked at after a burst, in units of
// flowtable.Expired: one for each flow that ends, one for each block of records
// that is looked through. What a burst of new flows adds, bursts of the same size
// must be able to work off: else a table under steady load fills up with dead
// flows. A flow takes its end and one or two looks. At 60 to 120 ns a flow, a full
// burst adds 4 to 30 microseconds at worst.
const (
	expireAlways    = 32
	expirePerPacket = 4
)

// expire removes flows whose time is over, and those that a packet of this
// burst ended. What it leaves for want of budget it notes as backlog, and the
// worker does not sleep on it.
func (w *Worker) expire(packets int) {
	for _, idx := range w.flows.dying {
		w.removeFlow(idx, flowtable.EndImmediate)
	}
	w.flows.dying = w.flows.dying[:0]
	w.expireSome(expireAlways + expirePerPacket*packets)
	w.backlog = w.flows.table.Behind()
	w.retryHeld()
	if w.clock.now != w.swept {
		w.swept = w.clock.now
		w.everyTick()
	}
}

// expireSome removes flows whose time is over. While some are removed, the lines
// of the next ones are on their way.
func (w *Worker) expireSome(budget int) {
	t := w.flows.table
	this, next := &w.flows.over[0], &w.flows.over[1]
	for t.Expired(w.clock.now, &budget, this); this.N > 0; this, next = next, this {
		t.Expired(w.clock.now, &budget, next)
		w.flows.nat.RecallHeld(t, next.Flows[:next.N])
		for i, idx := range this.Flows[:this.N] {
			w.endFlow(idx, &this.Keys[i], flowtable.EndExpired)
		}
	}
}

// everyTick does what need not be done for every burst.
func (w *Worker) everyTick() {
	w.publishLedger()
	w.sweepFragments()
	w.checkTables()
	if w.id != 0 || w.swept-w.sweptExpect < flowtable.TicksPerSecond {
		return
	}
	w.sweptExpect = w.swept
	w.flows.expect.Expire(w.clock.now, func(e *flowtable.Expectation) {
		w.flows.nat.ReleaseExpected(e)
		w.emitExpectation(flowtable.EventDestroy, e)
	})
}

// removeFlow ends a flow, unless it has ended.
func (w *Worker) removeFlow(idx uint32, why flowtable.EndReason) {
	t := w.flows.table
	if t.Flow(idx).Status()&flowtable.StatusDying == 0 {
		k := t.Keys(idx)
		w.endFlow(idx, &k, why)
	}
}

// endFlow ends a flow: its expectations, its share of the NAT ports, its keys
// and its timer. The record itself is not used again before this burst has left,
// because packets in it may still refer to the flow.
func (w *Worker) endFlow(idx uint32, k *flowtable.Keys, why flowtable.EndReason) {
	t := w.flows.table
	f := t.Flow(idx)
	w.emitEnd(idx, why)
	if f.Status()&flowtable.StatusHelper != 0 {
		w.dropExpectations(idx)
	}
	if w.cfg.strays.Any() {
		w.forgetStrays(idx)
	}
	f.AddStatus(flowtable.StatusDying)
	w.flows.nat.Release(t, idx)
	w.hostEnded(idx)
	t.RemoveKeys(idx, k)
	w.count.flowsGone.Add(1)
}

// dropExpectations ends what a master flow still expects: expectations never
// outlive their master.
func (w *Worker) dropExpectations(idx uint32) {
	x := w.flows.table.Ext(idx)
	if x == nil || x.Expect == 0 {
		return
	}
	w.flows.expect.RemoveMaster(w.flowID(idx), nil, func(e *flowtable.Expectation) {
		w.flows.nat.ReleaseExpected(e)
		w.emitExpectation(flowtable.EventDestroy, e)
	})
}

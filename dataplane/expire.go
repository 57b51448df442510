package dataplane

import "github.com/xdpct/xdpct/flowtable"

// Bounds of the timers that are looked at after a burst. A timer is looked at
// two or three times in a flow's life, as it moves to finer levels of the wheel,
// so what a burst of new flows adds, bursts of the same size must be able to
// work off: else a table under steady load fills up with dead flows. At 20 to
// 190 ns each, a full burst adds 5 to 50 microseconds at worst.
const (
	expireAlways    = 32
	expirePerPacket = 4
)

// expire removes flows whose time is over, and those that a packet of this
// burst ended. What it leaves for want of budget it notes as backlog, and the
// worker does not sleep on it.
func (w *Worker) expire(packets int) {
	budget := expireAlways + expirePerPacket*packets
	for _, idx := range w.flows.dying {
		w.removeFlow(idx, flowtable.EndImmediate)
	}
	w.flows.dying = w.flows.dying[:0]
	for budget > 0 {
		idx := w.flows.table.NextExpired(w.clock.now, &budget)
		if idx == 0 {
			break
		}
		w.removeFlow(idx, flowtable.EndExpired)
	}
	w.backlog = budget <= 0
	w.retryHeld()
	if w.clock.now != w.swept {
		w.swept = w.clock.now
		w.everyTick()
	}
}

// everyTick does what need not be done for every burst.
func (w *Worker) everyTick() {
	w.publishLedger()
	if w.id != 0 || w.swept-w.sweptExpect < flowtable.TicksPerSecond {
		return
	}
	w.sweptExpect = w.swept
	w.flows.expect.Expire(w.clock.now, func(e *flowtable.Expectation) {
		w.flows.nat.ReleaseExpected(e)
		w.emitExpectation(flowtable.EventDestroy, e)
	})
}

// removeFlow ends a flow: its expectations, its share of the NAT ports, its
// keys and its timer. The record itself is not used again before this burst
// has left, because packets in it may still refer to the flow.
func (w *Worker) removeFlow(idx uint32, why flowtable.EndReason) {
	t := w.flows.table
	f := t.Flow(idx)
	if f.Status()&flowtable.StatusDying != 0 {
		return
	}
	w.emitEnd(idx, why)
	if f.Status()&flowtable.StatusHelper != 0 {
		w.dropExpectations(idx)
	}
	if w.cfg.strays.Any() {
		w.forgetStrays(idx)
	}
	f.AddStatus(flowtable.StatusDying)
	w.flows.nat.Release(t, idx)
	t.Remove(idx)
	w.flows.changed = true
	w.count.flowsGone.Add(1)
}

// dropExpectations ends what a master flow still expects: expectations never
// outlive their master.
func (w *Worker) dropExpectations(idx uint32) {
	x := w.flows.table.Ext(idx)
	if x == nil || x.Expect == 0 {
		return
	}
	w.flows.expect.RemoveMaster(w.flowID(idx), func(e *flowtable.Expectation) {
		w.flows.nat.ReleaseExpected(e)
		w.emitExpectation(flowtable.EventDestroy, e)
	})
}

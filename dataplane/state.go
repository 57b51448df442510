package dataplane

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// WriteState writes all flows and expectations to a state file, for Restore, and
// returns how many flows. The gateway must have been stopped, but not closed.
func (g *Gateway) WriteState(out io.Writer, wall time.Time) (flows uint64, err error) {
	now := g.Now()
	to := flowtable.NewStateWriter(out, wall)
	var s flowtable.SavedFlow
	for _, w := range g.workers {
		t := w.flows.table
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			if t.Save(idx, uint8(w.id), now, &s) {
				to.Flow(&s)
			}
		}
	}
	for _, e := range g.pending(now) {
		to.Expectation(&e, now)
	}
	return to.Flows(), to.Close(g.shared.expect.LastID())
}

// pending returns the expectations that still wait, oldest first.
func (g *Gateway) pending(now flowtable.Tick) (all []flowtable.Expectation) {
	last := g.shared.expect.LastID()
	g.shared.expect.Each(func(e *flowtable.Expectation) bool {
		if now.Before(e.Deadline) {
			all = append(all, *e)
		}
		return true
	})
	slices.SortFunc(all, func(a, b flowtable.Expectation) int { return cmp.Compare(last-b.ID, last-a.ID) }) // IDs wrap
	return all
}

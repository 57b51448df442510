package dataplane

import (
	"io"
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
	x := g.shared.expect
	x.Each(func(e *flowtable.Expectation) bool {
		if now.Before(e.Deadline) {
			to.Expectation(e, now)
		}
		return true
	})
	return to.Flows(), to.Close(x.LastID())
}

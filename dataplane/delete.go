package dataplane

import (
	"context"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// deleteBatch is how many flows a worker removes between two bursts.
const deleteBatch = 32

// Deletion says which flows are to be removed, and for whom.
type Deletion struct {
	By    flowtable.Process
	Match func(*flowtable.Snapshot) bool
	Each  func(worker int, s *flowtable.Snapshot) // called with each flow that is gone; nil = nobody wants to know
}

// Delete removes the flows that match and returns how many. The tables are
// searched without their workers, who only get short lists of what to remove.
func (g *Gateway) Delete(ctx context.Context, d Deletion) (int, error) {
	removed := 0
	for _, w := range g.workers {
		n, err := w.deleteMatching(ctx, &d)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// deleteMatching removes the flows of one worker that match.
func (w *Worker) deleteMatching(ctx context.Context, d *Deletion) (int, error) {
	t := w.flows.table
	removed := 0
	batch := make([]flowtable.Snapshot, 0, deleteBatch)
	for idx := uint32(1); idx <= t.HighWater(); idx++ {
		batch = batch[:len(batch)+1]
		if s := &batch[len(batch)-1]; !t.Read(idx, w.nowAnywhere(), s) || !d.Match(s) {
			batch = batch[:len(batch)-1]
			continue
		}
		if len(batch) == deleteBatch {
			n, err := w.deleteBatch(ctx, batch, d)
			if removed += n; err != nil {
				return removed, err
			}
			batch = batch[:0]
		}
	}
	n, err := w.deleteBatch(ctx, batch, d)
	return removed + n, err
}

// deleteBatch lets the worker remove those flows that are still there, and tells
// of them. The batch belongs to the worker from here on: it may come to it after
// ctx has ended.
func (w *Worker) deleteBatch(ctx context.Context, batch []flowtable.Snapshot, d *Deletion) (int, error) {
	if len(batch) == 0 {
		return 0, nil
	}
	var gone [deleteBatch]bool
	by := d.By
	err := w.do(ctx, func(w *Worker) {
		w.edge.events.by = &by
		defer func() { w.edge.events.by = nil }()
		for i := range batch {
			if s := &batch[i]; w.flows.table.Gen(s.Index) == s.Gen { // still the same flow
				w.removeFlow(s.Index, flowtable.EndDeleted)
				gone[i] = true
			}
		}
	})
	if err != nil {
		return 0, err
	}
	removed := 0
	for i := range batch {
		if !gone[i] {
			continue
		}
		removed++
		if d.Each != nil {
			d.Each(w.id, &batch[i])
		}
	}
	return removed, nil
}

// DeleteExpectations removes the expectations that match, for the process by, and
// returns how many. each is called with those that are gone.
func (g *Gateway) DeleteExpectations(ctx context.Context, by flowtable.Process, match func(*flowtable.Expectation) bool,
	each func(*flowtable.Expectation),
) (int, error) {
	var found []flowtable.Expectation
	g.shared.expect.Each(func(e *flowtable.Expectation) bool {
		if match(e) {
			found = append(found, *e)
		}
		return true
	})
	removed := 0
	for i := range found {
		w := g.workers[found[i].Master.Worker]
		gone := make(chan bool, 1)
		err := w.do(ctx, func(w *Worker) { gone <- w.deleteExpectation(found[i].ID, &by) })
		if err != nil {
			return removed, err
		}
		if <-gone {
			removed++
			each(&found[i])
		}
	}
	return removed, nil
}

// deleteExpectation removes an expectation; false if it was not there any more.
func (w *Worker) deleteExpectation(id uint32, by *flowtable.Process) bool {
	e, ok := w.flows.expect.Remove(id)
	if !ok {
		return false
	}
	w.flows.nat.ReleaseExpected(&e)
	w.edge.events.by = by
	w.emitExpectation(flowtable.EventDestroy, &e)
	w.edge.events.by = nil
	return true
}

// nowAnywhere is the worker's time for other threads.
func (w *Worker) nowAnywhere() flowtable.Tick { return tickOf(time.Since(w.clock.start)) }

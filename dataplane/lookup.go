package dataplane

// lookup finds the flow of each packet. The buckets were asked for while the
// packets were parsed; the candidate records are asked for while the tags of
// the next packets are matched: the misses of a burst overlap instead of adding
// up.
//
// Reads: tuple, hash. Writes: ref.
//
// Two packets of one new flow in a burst both find nothing here; track looks
// again once the burst has changed the table.
func (w *Worker) lookup(b *burst) {
	t := w.flows.table
	b.unknowns = 0
	for from := 0; from < b.n; from += prefetchGroup {
		to := min(from+prefetchGroup, b.n)
		for i := from; i < to; i++ {
			p := &b.pkts[i]
			if p.verdict != VerdictForward {
				continue
			}
			p.ref = t.LookupAt(&p.tuple, p.hash, b.keys.Refs[i], w.clock.now)
			if p.ref == 0 && !p.related {
				b.unknown[b.unknowns] = uint8(i)
				b.unknowns++
			}
		}
		t.PrefetchWindows(&b.keys, b.segments, from, to)
	}
}

package dataplane

// lookup finds the flow of each packet. All hashes come first, then the cache
// lines of all buckets are asked for, then those of all candidate records:
// the misses of a burst overlap instead of adding up.
//
// Reads: tuple. Writes: hash, ref.
//
// Two packets of one new flow in a burst both find nothing here; track looks
// again once the burst has changed the table.
func (w *Worker) lookup(b *burst) {
	t := w.flows.table
	for i := range b.n {
		p := &b.pkts[i]
		if p.verdict == VerdictForward {
			p.hash = t.Hash(&p.tuple)
		}
		b.hashes[i] = p.hash
	}
	t.PrefetchBuckets(&b.hashes, b.n)
	t.Candidates(&b.hashes, &b.refs, b.n)
	t.PrefetchFlows(&b.refs, b.n)
	for i := range b.n {
		p := &b.pkts[i]
		if p.verdict == VerdictForward {
			p.ref = t.LookupAt(&p.tuple, p.hash, b.refs[i], w.clock.now)
		}
	}
}

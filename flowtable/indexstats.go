package flowtable

import "math/bits"

// IndexStats tells how the keys of a table lie in its buckets: how often a
// lookup has to look at a second one.
type IndexStats struct {
	// Buckets is the number of buckets of one cache line.
	Buckets int
	// Filled[k] is the number of buckets that hold k keys.
	Filled [bucketSlots + 1]int
	// Overflowed counts the buckets some of whose keys live in another one: a
	// lookup that finds nothing in such a bucket looks at a second.
	Overflowed int
	// Keys is the number of keys, two for each flow; Away counts those that are
	// not in their first bucket.
	Keys, Away int
}

// IndexStats looks at the whole index. Owner: worker; for tests and benchmarks.
func (t *Table) IndexStats() IndexStats {
	s := IndexStats{Buckets: len(t.buckets)}
	for i := range t.buckets {
		b := &t.buckets[i]
		keys := 0
		for _, r := range b.refs {
			if r != 0 {
				keys++
			}
		}
		s.Filled[keys]++
		s.Keys += keys
		s.Away += bits.OnesCount16(b.away)
		if b.overflow != 0 {
			s.Overflowed++
		}
	}
	return s
}

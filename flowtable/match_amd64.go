//go:build !purego

package flowtable

// matchSSE2 is matchPortable for keys from to to-1, from < to, with a compare of
// 16 tags at once; it also prefetches alternative buckets, and the record of a
// second reference whose tag fits. match_amd64.s.
//
//go:noescape
func matchSSE2(buckets *bucket, n uint64, k *Bulk, flows *Flow, delta *[256]uint32, from, to int)

// match64 is Match for at least one key.
func (t *Table) match64(k *Bulk, from, to int) {
	matchSSE2(&t.buckets[0], t.nbuckets, k, &t.flows[0], &t.delta, from, to)
}

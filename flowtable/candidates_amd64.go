//go:build !purego

package flowtable

// candidatesSSE2 is candidatesPortable for the count > 0 hashes at hashes, and
// prefetches the records of all references whose tag fits. candidates_amd64.s.
//
//go:noescape
func candidatesSSE2(buckets *bucket, n uint64, hashes *uint64, refs *Ref, flows *Flow, count int)

// candidates is candidatesPortable by compares of 16 tags at once.
func (t *Table) candidates(hashes []uint64, refs []Ref) {
	candidatesSSE2(&t.buckets[0], t.nbuckets, &hashes[0], &refs[0], &t.flows[0], len(hashes))
}

//go:build (amd64 || arm64) && !purego

package flowtable

// prefetchBuckets touches buckets[hash>>32 * n >> 32] for the first count
// hashes. Equals bucketOf; prefetch_*.s.
//
//go:noescape
func prefetchBuckets(buckets *bucket, n uint64, hashes *[Burst]uint64, count int)

// prefetchFlows touches flows[ref>>1] for the first count references.
//
//go:noescape
func prefetchFlows(flows *Flow, refs *[Burst]Ref, count int)

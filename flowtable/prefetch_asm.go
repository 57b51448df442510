//go:build (amd64 || arm64) && !purego

package flowtable

// prefetchBuckets touches buckets[hash>>32 * n >> 32] for count hashes, the
// first at hashes. Equals bucketOf; prefetch_*.s.
//
//go:noescape
func prefetchBuckets(buckets *bucket, n uint64, hashes *uint64, count int)

// prefetchFlows touches flows[ref>>1] for count references, the first at refs.
//
//go:noescape
func prefetchFlows(flows *Flow, refs *Ref, count int)

// prefetchWindows touches both lines of windows[refs[i]>>1] for i from from to to-1
// whose bit is set in segments.
//
//go:noescape
func prefetchWindows(windows *window, refs *Ref, segments uint64, from, to int)

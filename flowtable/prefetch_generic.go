//go:build (!amd64 && !arm64) || purego

package flowtable

// Go has no exported prefetch: elsewhere the loads of the lookup overlap as
// far as the processor reorders them.

func prefetchBuckets(*bucket, uint64, *uint64, int) {}

func prefetchFlows(*Flow, *Ref, int) {}

func prefetchWindows(*window, *Ref, uint64, int, int) {}

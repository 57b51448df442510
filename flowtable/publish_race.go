//go:build race

package flowtable

import "sync/atomic"

func publish32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
func publish64(p *uint64, v uint64) { atomic.StoreUint64(p, v) }
func publishTick(p *Tick, v Tick)   { atomic.StoreUint32((*uint32)(p), uint32(v)) }
func load32(p *uint32) uint32       { return atomic.LoadUint32(p) }
func load64(p *uint64) uint64       { return atomic.LoadUint64(p) }

// raceBuild: tables live on the Go heap, where the race detector sees them.
const raceBuild = true

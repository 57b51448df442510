//go:build !race

package flowtable

import "sync/atomic"

// The owner writes words that other threads read with atomic loads. Aligned
// stores of up to 64 bits are atomic on amd64 and arm64 anyway, and no order
// is promised beyond that of the generation; an atomic store would cost 20
// cycles a packet on amd64. Race builds use atomic stores (publish_race.go).

func publish32(p *uint32, v uint32) { *p = v }
func publish64(p *uint64, v uint64) { *p = v }
func publishTick(p *Tick, v Tick)   { *p = v }
func load32(p *uint32) uint32       { return atomic.LoadUint32(p) }
func load64(p *uint64) uint64       { return atomic.LoadUint64(p) }

// raceBuild: tables live on the Go heap, where the race detector sees them.
const raceBuild = false

package flowtable

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Strays say where flows are that steering looks for elsewhere: tuples whose
// packets, by rule, would belong to another worker than the one that has the
// flow. There are few: data connections that a helper announced, above all.
//
// Reads take no lock: each shard is a list that is replaced, never changed.
// Writes take one lock. All methods may be called by any thread.
type Strays struct {
	count  atomic.Int32
	max    int
	seed   hashSeed
	shards []atomic.Pointer[[]stray]
	mu     sync.Mutex
	// ports counts tuples by their ports, so that most others are told by one load.
	ports [straySlots]atomic.Uint32
}

// straySlots is the number of classes of port pairs that Strays counts.
const straySlots = 4096

// slot returns the class of a tuple's ports. With either port fixed, neighbouring
// ones are in different classes.
func slot(tu *Tuple) uint32 { return (uint32(tu.SrcPort)*0x9e37 + uint32(tu.DstPort)) % straySlots }

// stray is one direction of a flow and who has the flow.
type stray struct {
	tuple  Tuple
	worker uint8
}

// NewStrays makes a table for at most max tuples.
func NewStrays(max int) *Strays {
	shards := 16
	for shards < max/4 && shards < 4096 {
		shards *= 2
	}
	return &Strays{max: max, seed: newHashSeed(rand.Uint64()), shards: make([]atomic.Pointer[[]stray], shards)}
}

// Any reports whether there are any: one atomic load, for each burst and each packet
// without a flow.
func (x *Strays) Any() bool { return x.count.Load() != 0 }

// Len returns the number of tuples.
func (x *Strays) Len() int { return int(x.count.Load()) }

// shard returns the list that a tuple is in.
func (x *Strays) shard(tu *Tuple) *atomic.Pointer[[]stray] {
	return &x.shards[x.seed.hash(tu)%uint64(len(x.shards))]
}

// list returns the entries of a shard; nobody changes them.
func list(shard *atomic.Pointer[[]stray]) []stray {
	if p := shard.Load(); p != nil {
		return *p
	}
	return nil
}

// Find returns the worker that has the flow of a tuple; false if the tuple is
// no stray.
func (x *Strays) Find(tu *Tuple) (worker int, ok bool) {
	if !x.Any() || x.ports[slot(tu)].Load() == 0 {
		return 0, false
	}
	for i, l := 0, list(x.shard(tu)); i < len(l); i++ {
		if l[i].tuple == *tu {
			return int(l[i].worker), true
		}
	}
	return 0, false
}

// Add notes that a worker has the flow of a tuple; the last one to say so is
// believed. It reports false if the table is full.
func (x *Strays) Add(tu *Tuple, worker int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	shard := x.shard(tu)
	rest := others(shard, tu)
	if len(rest) == len(list(shard)) {
		if int(x.count.Load()) >= x.max {
			return false
		}
		x.count.Add(1)
		x.ports[slot(tu)].Add(1)
	}
	rest = append(rest, stray{*tu, uint8(worker)})
	shard.Store(&rest)
	return true
}

// Remove takes back what the worker has noted of a tuple, if anything. That is
// mostly nothing, and then no lock is taken.
func (x *Strays) Remove(tu *Tuple, worker int) {
	if w, ok := x.Find(tu); !ok || w != worker {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if w, ok := x.Find(tu); !ok || w != worker {
		return
	}
	shard := x.shard(tu)
	rest := others(shard, tu)
	shard.Store(&rest)
	x.count.Add(-1)
	x.ports[slot(tu)].Add(^uint32(0))
}

// others returns a copy of a shard's list without a tuple.
func others(shard *atomic.Pointer[[]stray], tu *Tuple) []stray {
	l := list(shard)
	rest := make([]stray, 0, len(l)+1)
	for i := range l {
		if l[i].tuple != *tu {
			rest = append(rest, l[i])
		}
	}
	return rest
}

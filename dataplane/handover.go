package dataplane

import "sync/atomic"

// handed is one packet on its way to the worker that owns its flow. With one
// UMEM for all, only this descriptor moves, never the frame.
type handed struct {
	addr uint64 // UMEM address of the first byte
	len  uint32 // bytes
	in   uint32 // port that it came in by, and flags
}

// handedAssembled is the flag of a piece of a datagram of which all pieces are handed
// over, one after the other.
const handedAssembled = 1 << 8

// spsc is a bounded ring with one producer and one consumer: the two workers
// at its ends, or a worker and the event pump. Each side keeps a copy of the
// other's index and reads the shared one only when the copy says full or
// empty. Indices run freely; the length is a power of two.
type spsc[T any] struct {
	slots []T
	mask  uint32

	_        [64]byte
	produced atomic.Uint32 // written by the producer only
	freeTo   uint32        // producer's copy of consumed

	_        [64]byte
	consumed atomic.Uint32 // written by the consumer only
	readyTo  uint32        // consumer's copy of produced
	_        [64]byte
}

// newSPSC makes a ring of at least n slots.
func newSPSC[T any](n int) *spsc[T] {
	size := 1
	for size < n {
		size *= 2
	}
	return &spsc[T]{slots: make([]T, size), mask: uint32(size - 1)}
}

// push adds v; false means full. Producer only.
func (r *spsc[T]) push(v *T) bool {
	at := r.produced.Load()
	if at-r.freeTo > r.mask {
		r.freeTo = r.consumed.Load()
		if at-r.freeTo > r.mask {
			return false
		}
	}
	r.slots[at&r.mask] = *v
	r.produced.Store(at + 1)
	return true
}

// pop takes the oldest value; false means empty. Consumer only.
func (r *spsc[T]) pop(v *T) bool {
	at := r.consumed.Load()
	if at == r.readyTo {
		r.readyTo = r.produced.Load()
		if at == r.readyTo {
			return false
		}
	}
	*v = r.slots[at&r.mask]
	r.consumed.Store(at + 1)
	return true
}

// room returns how many values may be added at least. Producer only.
func (r *spsc[T]) room() int { return len(r.slots) - r.len() }

// len returns how many values are in the ring; exact for either end, a
// moment's view for others.
func (r *spsc[T]) len() int { return int(r.produced.Load() - r.consumed.Load()) }

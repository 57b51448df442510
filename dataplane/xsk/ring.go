package xsk

import "sync/atomic"

// Desc is a packet in an RX or TX ring: struct xdp_desc of linux/if_xdp.h.
type Desc struct {
	Addr    uint64 // of the first byte of the packet in the UMEM
	Len     uint32 // bytes, Ethernet header included
	Options uint32 // 0; XDP_PKT_CONTD is never set because XDP_USE_SG is not used
}

// ring is one side of one of the four rings of a socket: fill and completion
// rings hold frame addresses, RX and TX rings hold packets. The kernel is the
// other side. All methods belong to one thread, except occupied.
//
// Indices run freely and wrap at 2^32; their difference is the occupancy.
type ring[T uint64 | Desc] struct {
	producer *uint32 // shared with the kernel: atomic access only
	consumer *uint32 // shared with the kernel: atomic access only
	flags    *uint32 // XDP_RING_NEED_WAKEUP, written by the kernel
	slots    []T     // a power of two
	mask     uint32

	own  uint32 // our index, as last published
	peer uint32 // the kernel's index, as last read: it can only have advanced
}

// newRing takes the state as it is in the shared memory: both indices 0 for a
// new socket.
func newRing[T uint64 | Desc](producer, consumer, flags *uint32, slots []T) ring[T] {
	return ring[T]{producer: producer, consumer: consumer, flags: flags, slots: slots, mask: uint32(len(slots)) - 1}
}

// produce copies as many elements of in as fit into the ring, publishes them
// and returns their number. The ring's peer must be its consumer.
//
// Hot: once per burst. 0 allocs; reads the kernel's index only when the copy of
// it does not show enough room.
func (r *ring[T]) produce(in []T) int {
	size := r.mask + 1
	room := size - (r.own - r.peer)
	if int(room) < len(in) {
		r.peer = atomic.LoadUint32(r.consumer)
		room = size - (r.own - r.peer)
		if int(room) < len(in) {
			in = in[:room]
		}
	}
	if len(in) == 0 {
		return 0
	}
	n := copy(r.slots[r.own&r.mask:], in)
	copy(r.slots, in[n:])
	r.own += uint32(len(in))
	atomic.StoreUint32(r.producer, r.own)
	return len(in)
}

// consume moves as many elements as there are, at most len(out), from the ring
// to out, gives their slots back and returns their number. The ring's peer must
// be its producer.
//
// Hot: once per burst. 0 allocs; reads the kernel's index only when the copy of
// it does not show a full burst.
func (r *ring[T]) consume(out []T) int {
	there := r.peer - r.own
	if int(there) < len(out) {
		r.peer = atomic.LoadUint32(r.producer)
		there = r.peer - r.own
		if int(there) < len(out) {
			out = out[:there]
		}
	}
	if len(out) == 0 {
		return 0
	}
	n := copy(out, r.slots[r.own&r.mask:])
	copy(out[n:], r.slots)
	r.own += uint32(len(out))
	atomic.StoreUint32(r.consumer, r.own)
	return len(out)
}

// retract takes back what was produced and the kernel has not consumed. The kernel must
// have stopped to look at the ring.
func (r *ring[T]) retract(put func(T)) {
	for i := atomic.LoadUint32(r.consumer); i != r.own; i++ {
		put(r.slots[i&r.mask])
	}
	r.own = atomic.LoadUint32(r.consumer)
	atomic.StoreUint32(r.producer, r.own)
}

// needsWakeup reports whether the kernel waits for a system call before it
// looks at this ring.
func (r *ring[T]) needsWakeup() bool {
	return atomic.LoadUint32(r.flags)&ringNeedWakeup != 0
}

// filled reports whether the kernel, as producer, has put something in.
func (r *ring[T]) filled() bool {
	if r.own == r.peer {
		r.peer = atomic.LoadUint32(r.producer)
	}
	return r.own != r.peer
}

// drained reports whether the kernel, as consumer, has taken everything.
func (r *ring[T]) drained() bool {
	r.peer = atomic.LoadUint32(r.consumer)
	return r.own == r.peer
}

// indices returns both shared indices. Safe for any thread.
func (r *ring[T]) indices() (producer, consumer uint32) {
	consumer = atomic.LoadUint32(r.consumer)
	return atomic.LoadUint32(r.producer), consumer
}

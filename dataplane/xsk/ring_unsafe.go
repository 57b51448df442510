package xsk

// What memory: the four rings of a socket, each a shared mapping of the socket
// at a page offset of its own (XDP_PGOFF_*, XDP_UMEM_PGOFF_*).
//
// Who writes it: the worker writes the producer index and the slots of fill and
// TX and the consumer index of RX and completion; the kernel writes the rest
// and the flags.
//
// Lifetime: made by Open, unmapped by Socket.Close, after which no method that
// touches a ring may be called.
//
// Alignment and layout: offsets come from XDP_MMAP_OFFSETS; the kernel puts the
// indices on cache lines of their own and the slots behind them. Desc has the
// layout of struct xdp_desc:
//
//	0       8       12       16
//	| addr  | len   | options |
//
// Ordering: producer store / producer load and consumer store / consumer load
// are release / acquire pairs with the kernel's (net/xdp/xsk_queue.h).
//
// Why unsafe: the indices are shared with the kernel and must be accessed with
// atomics at run-time offsets.
//
// What would remove it: nothing in sight.

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

const ringNeedWakeup = unix.XDP_RING_NEED_WAKEUP

// Desc is exactly struct xdp_desc.
const (
	_ = unsafe.Sizeof(Desc{}) - unsafe.Sizeof(unix.XDPDesc{})
	_ = unsafe.Sizeof(unix.XDPDesc{}) - unsafe.Sizeof(Desc{})
)

// mapRing maps the ring of a socket that is at page offset pgoff and has size
// slots.
func mapRing[T uint64 | Desc](fd int, pgoff int64, off *unix.XDPRingOffset, size int) (ring[T], []byte, error) {
	var slot T
	length := int(off.Desc) + size*int(unsafe.Sizeof(slot))
	mem, err := unix.Mmap(fd, pgoff, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return ring[T]{}, nil, fmt.Errorf("map ring of %d slots: %w", size, err)
	}
	return layRing[T](mem, off, size), mem, nil
}

// layRing lays a ring over mem.
//
// Preconditions: mem is 8-byte aligned, outlives the ring and holds size slots
// from off.Desc on; the offsets of the indices are multiples of 4.
func layRing[T uint64 | Desc](mem []byte, off *unix.XDPRingOffset, size int) ring[T] {
	// SAFETY: the slice index checks that each offset is inside mem, the slice
	// expression that all slots are; no Go pointers inside; alignment by the
	// kernel's layout (or the test's).
	word := func(o uint64) *uint32 { return (*uint32)(unsafe.Pointer(&mem[o : o+4][0])) }
	var slot T
	first := &mem[off.Desc : int(off.Desc)+size*int(unsafe.Sizeof(slot))][0]
	slots := unsafe.Slice((*T)(unsafe.Pointer(first)), size)
	return newRing(word(off.Producer), word(off.Consumer), word(off.Flags), slots)
}

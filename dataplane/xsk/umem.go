package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"golang.org/x/sys/unix"
)

// Frame sizes that the kernel takes in aligned mode with 4 KiB pages
// (net/xdp/xdp_umem.c, xdp_umem_reg).
const (
	minFrameSize     = 2048
	maxFrameSize     = 4096
	defaultFrameSize = 2048
)

// kernelHeadroom is what the kernel leaves free at the start of each received
// frame, in bytes (XDP_PACKET_HEADROOM); UMEMOptions.Headroom comes on top.
const kernelHeadroom = unix.XDP_PACKET_HEADROOM

// UMEMOptions says how much memory frames get.
type UMEMOptions struct {
	// Frames is the number of frames, at least 1. Each queue needs its fill
	// and RX rings' worth of frames and what is under way on the TX side.
	Frames int
	// FrameSize is in bytes, 2048 or 4096; 0 = 2048. The largest frame that
	// can be received is FrameSize - 256 - Headroom bytes.
	FrameSize int
	// Headroom is the free space in bytes before a received frame, in addition
	// to the 256 bytes that the kernel leaves.
	Headroom int
	// HugePages asks for 2 MiB pages: reserved ones (MAP_HUGETLB) where there
	// are any, else transparent ones (MADV_HUGEPAGE). What was obtained is in
	// UMEM.Pages.
	HugePages bool
	// Unlocked leaves the memory unlocked, which needs no limit to be raised: for
	// wires, whose frames no device writes to.
	Unlocked bool
}

// Pages is the kind of memory behind a UMEM.
type Pages uint8

// Kinds of memory.
const (
	PagesNormal      Pages = iota // 4 KiB pages
	PagesTransparent              // MADV_HUGEPAGE; the kernel may still use 4 KiB pages
	PagesReserved                 // MAP_HUGETLB
)

// String returns the kind as the log prints it.
func (p Pages) String() string {
	switch p {
	case PagesReserved:
		return "huge"
	case PagesTransparent:
		return "transparent huge"
	default:
		return "normal"
	}
}

// UMEM is the frame memory that all sockets share. Frames are named by their
// byte offset, 0 .. Size-1. Its memory is off-heap, populated and, unless that is
// not wanted, locked.
type UMEM struct {
	mem       []byte // Frames << frameShift bytes, page-aligned
	mapping   []byte // what munmap gets: mem and, for transparent pages, slack
	frameMask uint64 // frame size - 1
	frameSize int
	headroom  int
	pages     Pages

	mu      sync.Mutex // guards what follows; held while sockets open and close
	sockets []*Socket  // bound sockets; the first one lends its fd to the next
	closed  bool
}

// NewUMEM maps, populates and locks the memory of a UMEM. It returns an error
// that wraps ErrMemlock when the locked-memory limit does not allow it.
func NewUMEM(o UMEMOptions) (*UMEM, error) {
	if o.FrameSize == 0 {
		o.FrameSize = defaultFrameSize
	}
	if o.FrameSize < minFrameSize || o.FrameSize > maxFrameSize || bits.OnesCount(uint(o.FrameSize)) != 1 {
		return nil, fmt.Errorf("frame size %d: must be %d or %d bytes", o.FrameSize, minFrameSize, maxFrameSize)
	}
	if o.Frames < 1 || o.Frames > 1<<31/o.FrameSize*2 {
		return nil, fmt.Errorf("%d frames: must be 1 .. %d", o.Frames, 1<<31/o.FrameSize*2)
	}
	if o.Headroom < 0 || o.Headroom >= o.FrameSize-kernelHeadroom {
		return nil, fmt.Errorf("headroom %d: must be 0 .. %d bytes", o.Headroom, o.FrameSize-kernelHeadroom-1)
	}

	u := &UMEM{frameMask: uint64(o.FrameSize) - 1, frameSize: o.FrameSize, headroom: o.Headroom}
	size := o.Frames * o.FrameSize
	var err error
	if u.mapping, u.mem, u.pages, err = mapFrames(size, o.HugePages); err != nil {
		return nil, fmt.Errorf("map %d bytes of frame memory: %w", size, err)
	}
	if err := u.populate(o.Unlocked); err != nil {
		_ = unix.Munmap(u.mapping)
		return nil, err
	}
	return u, nil
}

// populate takes the memory now, so that no page fault is left for the packet
// path, and locks it unless told not to.
func (u *UMEM) populate(unlocked bool) error {
	if unlocked {
		// Linux before 5.14 does not know it and populates what is touched.
		if err := unix.Madvise(u.mem, unix.MADV_POPULATE_WRITE); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("populate %d bytes of frame memory: %w", len(u.mem), err)
		}
		return nil
	}
	err := unix.Mlock(u.mem)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EPERM):
		return fmt.Errorf("lock %d bytes of frame memory: %w: %w", len(u.mem), ErrMemlock, err)
	}
	return fmt.Errorf("lock %d bytes of frame memory: %w", len(u.mem), err)
}

// Bytes returns the n bytes at addr, with no capacity beyond them.
// Precondition: addr and n come from a descriptor of this UMEM.
//
// Hot: once per packet. 0 allocs.
func (u *UMEM) Bytes(addr uint64, n uint32) []byte {
	return u.mem[addr : addr+uint64(n) : addr+uint64(n)]
}

// FrameRoom returns the bytes from addr to the end of its frame, with no
// capacity beyond it: what a packet at addr may grow into.
//
// Hot: once per packet. 0 allocs.
func (u *UMEM) FrameRoom(addr uint64) []byte {
	end := (addr | u.frameMask) + 1
	return u.mem[addr:end:end]
}

// Packet returns the n bytes at addr, with capacity to the end of their frame:
// what the packet may grow into.
//
// Hot: once per packet. 0 allocs.
func (u *UMEM) Packet(addr uint64, n uint32) []byte {
	return u.mem[addr : addr+uint64(n) : (addr|u.frameMask)+1]
}

// FrameOf returns the address of the frame that holds addr: what goes into the
// free list and the fill ring, whatever the offset of the packet was.
func (u *UMEM) FrameOf(addr uint64) uint64 { return addr &^ u.frameMask }

// Frame returns the address of frame i, 0 <= i < Frames.
func (u *UMEM) Frame(i int) uint64 { return uint64(i) * uint64(u.frameSize) }

// Frames returns the number of frames.
func (u *UMEM) Frames() int { return len(u.mem) / u.frameSize }

// FrameSize returns the size of a frame in bytes.
func (u *UMEM) FrameSize() int { return u.frameSize }

// MaxPacket returns the length in bytes, Ethernet header included, of the
// longest packet that can be received into a frame. Longer ones are dropped by
// the kernel and counted in Stats.RXDropped.
func (u *UMEM) MaxPacket() int { return u.frameSize - kernelHeadroom - u.headroom }

// Pages tells what kind of pages was obtained.
func (u *UMEM) Pages() Pages { return u.pages }

// Size returns the memory of the frames in bytes.
func (u *UMEM) Size() int { return len(u.mem) }

// Close unmaps the frames. All sockets must be closed before. It is idempotent.
func (u *UMEM) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	if n := len(u.sockets); n != 0 {
		return fmt.Errorf("close UMEM: %d sockets still use it", n)
	}
	u.closed = true
	u.mem = nil
	if err := unix.Munmap(u.mapping); err != nil {
		return fmt.Errorf("unmap frame memory: %w", err)
	}
	return nil
}

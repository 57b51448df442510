package xsk

// What memory: the frames of the UMEM, one anonymous private mapping; 2 MiB
// pages if asked for and available.
//
// Who writes it: the kernel or NIC while a frame is in a fill ring or under
// reception; the worker that holds the frame otherwise.
//
// Lifetime: made by NewUMEM, unmapped by UMEM.Close, which refuses while
// sockets exist. The kernel pins the pages for as long as a socket does.
//
// Alignment and layout: starts on a page (2 MiB for transparent huge pages);
// frame i is at i*FrameSize; no structure of ours is laid over it.
//
// Ordering: that of the rings, see doc.go.
//
// Why unsafe: the address is needed to align the mapping for transparent huge
// pages and to register it (XDP_UMEM_REG).
//
// What would remove it: an aligned mmap and XDP_UMEM_REG in x/sys/unix.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePageSize = 2 << 20

// mapFrames maps size bytes. It returns the whole mapping and the part of it to
// be used. Pages are not populated yet.
func mapFrames(size int, huge bool) (mapping, mem []byte, pages Pages, err error) {
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if !huge {
		mapping, err = unix.Mmap(-1, 0, size, prot, flags)
		return mapping, mapping, PagesNormal, err
	}
	rounded := (size + hugePageSize - 1) &^ (hugePageSize - 1)
	mapping, err = unix.Mmap(-1, 0, rounded, prot, flags|unix.MAP_HUGETLB|21<<unix.MAP_HUGE_SHIFT)
	if err == nil {
		return mapping, mapping[:size:size], PagesReserved, nil
	}
	mapping, err = unix.Mmap(-1, 0, rounded+hugePageSize, prot, flags)
	if err != nil {
		return nil, nil, 0, err
	}
	// SAFETY: only the number is used; the memory is outside the Go heap and
	// does not move.
	start := -uintptr(unsafe.Pointer(&mapping[0])) & (hugePageSize - 1)
	mem = mapping[start : start+uintptr(rounded) : start+uintptr(rounded)]
	pages = PagesTransparent
	if unix.Madvise(mem, unix.MADV_HUGEPAGE) != nil {
		pages = PagesNormal // a kernel without transparent huge pages
	}
	return mapping, mem[:size:size], pages, nil
}

// umemReg returns the argument of XDP_UMEM_REG for u.
func umemReg(u *UMEM) unix.XDPUmemReg {
	return unix.XDPUmemReg{
		// SAFETY: off-heap memory that outlives every socket (UMEM.Close).
		Addr:     uint64(uintptr(unsafe.Pointer(&u.mem[0]))),
		Len:      uint64(len(u.mem)),
		Size:     uint32(u.frameSize),
		Headroom: uint32(u.headroom),
	}
}

package xsk

// What memory: the mapping of the BPF array port_use.
//
// Who writes it: the NAT of any worker, by atomic adds; the XDP programs only
// read it.
//
// Lifetime: made by NewMaps, unmapped by Maps.Close.
//
// Alignment and layout: page-aligned; blocks of 65536 uint32, see
// PortUseOffset. A block is one array element of 256 KiB, so that the kernel's
// rounding of element sizes to 8 bytes leaves no holes.
//
// Ordering: a count is one aligned word; a packet that is decided while it
// changes may see either value.
//
// Why unsafe: a byte mapping as a slice of words.
//
// What would remove it: typed slices over ebpf.Memory.

import "unsafe"

// counts returns mem as words.
func counts(mem []byte) []uint32 {
	if len(mem) == 0 {
		return nil
	}
	// SAFETY: mem is page-aligned off-heap memory without pointers, and a whole
	// number of words.
	return unsafe.Slice((*uint32)(unsafe.Pointer(&mem[0])), len(mem)/4)
}

package xsk

// What memory: arguments of system calls, on the caller's stack.
//
// Who writes it: the kernel, during the call only.
//
// Lifetime: the call.
//
// Alignment and layout: structures of x/sys/unix, generated from the kernel's
// headers.
//
// Ordering: none needed; a system call orders.
//
// Why unsafe: x/sys/unix has no setsockopt and getsockopt for these structures,
// and its sendto and recvfrom tell the Go scheduler (30-60 ns) and allocate a
// socket address. The raw calls here carry MSG_DONTWAIT and never sleep.
//
// What would remove it: XDP options in x/sys/unix.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setXDPOption sets an option of level SOL_XDP.
func setXDPOption[T uint32 | unix.XDPUmemReg](fd int, option uintptr, value *T) error {
	// SAFETY: value lives on this stack or the caller's until the call is over.
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, option,
		uintptr(unsafe.Pointer(value)), unsafe.Sizeof(*value), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// getXDPOption reads an option of level SOL_XDP. Kernels that know a shorter
// structure leave the rest of value zero.
func getXDPOption[T uint32 | unix.XDPMmapOffsets | unix.XDPStatistics](fd int, option uintptr, value *T) error {
	size := uint32(unsafe.Sizeof(*value))
	// SAFETY: as above; the kernel writes at most size bytes.
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, option,
		uintptr(unsafe.Pointer(value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// kickTX makes the kernel look at the TX ring: sendto(fd, NULL, 0,
// MSG_DONTWAIT, NULL, 0). In copy mode it sends what it finds, in zero-copy
// mode it wakes the driver.
func kickTX(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// kickRX makes the kernel look at the fill ring: recvfrom(fd, NULL, 0,
// MSG_DONTWAIT, NULL, NULL). With busy polling it also polls the device.
func kickRX(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

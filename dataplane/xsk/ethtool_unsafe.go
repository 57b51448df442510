package xsk

// What memory: the argument of one ethtool request, a byte slice of the caller.
//
// Who writes it: the kernel, during the call only.
//
// Lifetime: the call.
//
// Alignment and layout: that of the structure that the request is for; the
// caller gives the bytes, whatever they mean.
//
// Ordering: none needed; a system call orders.
//
// Why unsafe: an ifreq holds a pointer to the request. x/sys/unix keeps its own
// for itself, and github.com/safchain/ethtool does not know these requests.
//
// What would remove it: RSS requests in github.com/safchain/ethtool.

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq with a pointer in it: 40 bytes on 64-bit machines.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// ethtoolRequest carries out an ethtool request on an interface. fd is any
// socket; request is the structure that begins with the command, with room for
// all of the answer.
func ethtoolRequest(fd int, name string, request []byte) error {
	var r ifreq
	copy(r.name[:unix.IFNAMSIZ-1], name)
	r.data = unsafe.Pointer(unsafe.SliceData(request))
	// SAFETY: r and request are alive until the call is over; the kernel writes
	// as much as request said that there is room for.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}

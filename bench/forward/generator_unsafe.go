package forward

// What memory: the argument of one bpf(2) call and the frame that it points to.
//
// Who writes it: the kernel, during the call only.
//
// Lifetime: the call; both are kept alive until it is over.
//
// Alignment and layout: union bpf_attr, member test, of linux/bpf.h.
//
// Ordering: none needed; a system call orders.
//
// Why unsafe: package ebpf calls a program again when a signal interrupts it.
// Here a signal is how the run ends, see [generator.send].
//
// What would remove it: a way to stop a run in package ebpf.

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testRun is what BPF_PROG_TEST_RUN takes.
type testRun struct {
	fd, retval         uint32
	sizeIn, sizeOut    uint32
	in, out            uint64 // pointers
	repeat, duration   uint32
	ctxIn, ctxOut      uint32
	ctxInPtr, ctxOutAt uint64 // pointers
	flags, cpu         uint32
	batch, _           uint32
}

// runLive runs an XDP program over live frames that start as copies of frame,
// repeat times, batch of them between two flushes. A signal to the thread ends
// it with EINTR.
func runLive(fd int, frame []byte, repeat, batch uint32) error {
	attr := testRun{fd: uint32(fd), sizeIn: uint32(len(frame)), repeat: repeat, batch: batch, flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&frame[0])
	attr.in = uint64(uintptr(unsafe.Pointer(&frame[0])))
	// SAFETY: attr lives on this stack until the call is over, the frame is
	// pinned; the kernel reads sizeof(attr) bytes and the frame.
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(frame)
	if errno != 0 {
		return errno
	}
	return nil
}

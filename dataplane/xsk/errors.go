package xsk

import "errors"

// What can be wrong with the machine rather than with us. Errors of this
// package wrap one of these together with the errno of the kernel, so that the
// caller can decide with errors.Is and print the error as it is.
var (
	// ErrNotPermitted: a capability is missing. AF_XDP needs CAP_NET_RAW, the
	// program CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON because it computes
	// offsets into packets, which the verifier else takes for a way to leak
	// kernel memory (bpf_bypass_spec_v1).
	ErrNotPermitted = errors.New("not permitted (needs CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON)")
	// ErrNotSupported: the kernel has no AF_XDP (CONFIG_XDP_SOCKETS).
	ErrNotSupported = errors.New("the kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)")
	// ErrMemlock: the UMEM does not fit into the locked-memory limit.
	ErrMemlock = errors.New("not enough lockable memory (raise `ulimit -l`, LimitMEMLOCK= or grant CAP_IPC_LOCK)")
	// ErrQueueBusy: another AF_XDP socket is bound to this queue.
	ErrQueueBusy = errors.New("queue is in use by another AF_XDP socket")
	// ErrNoQueue: the port has no queue of that number.
	ErrNoQueue = errors.New("no such queue on this port")
	// ErrNoPort: no network interface of that index in this namespace.
	ErrNoPort = errors.New("no such network interface")
	// ErrPortDown: the driver wants the interface up when a socket is bound to
	// it. Copy mode does not care.
	ErrPortDown = errors.New("network interface is down")
	// ErrNoZeroCopy: the driver cannot do zero-copy on this port, or, for a
	// socket that joins a zero-copy UMEM, not on this one.
	ErrNoZeroCopy = errors.New("the driver does not support AF_XDP zero-copy here")
	// ErrNoNative: the driver cannot run XDP programs, or not with the current
	// MTU, offloads or queues.
	ErrNoNative = errors.New("the driver cannot run an XDP program here (native mode)")
	// ErrProgramAttached: the port already has an XDP program.
	ErrProgramAttached = errors.New("another XDP program is attached (see `ip link`, `bpftool net`)")
	// ErrStaleLink: the program of an inherited link does not run on the port, or
	// not where it should.
	ErrStaleLink = errors.New("the inherited link does not fit")
)

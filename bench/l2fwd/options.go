package l2fwd

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// BurstSize is how many packets are taken from a ring at once.
const BurstSize = 64

// Options says what to forward between, and how.
type Options struct {
	// Ports are the two ports, by name in the network namespace of the calling
	// thread. Only queue 0 of each is served.
	Ports [2]Port
	// CPU is what the forwarding thread is pinned to; -1 = not pinned.
	CPU int
	// RingSize is the number of slots of the RX and TX rings, a power of two; the
	// fill and completion rings have twice as many. 0 = 2048.
	RingSize int
	// FrameSize is in bytes, 2048 or 4096; 0 = 2048.
	FrameSize int
	// HugePages asks for frames in 2 MiB pages.
	HugePages bool
	// XDP is where the programs run.
	XDP xsk.AttachMode
	// ZeroCopy says whether frames are shared with the NIC.
	ZeroCopy xsk.ZeroCopy
	// Ready is called once packets are being forwarded, on the forwarding thread,
	// whose id it gets. nil = nobody wants to know.
	Ready func(tid int)
}

// Port is one of the two ports.
type Port struct {
	// Name is that of the interface.
	Name string
	// PeerMAC is the station behind the port: all packets that leave go to it.
	PeerMAC net.HardwareAddr
}

// Stats are the packets of one run. A packet that came in left by the other
// port or was dropped because its TX ring was full.
type Stats struct {
	RX, TX, Dropped [2]uint64     // by port; Dropped by the port that had no room
	CPU             time.Duration // of the forwarding thread, since Ready; in the kernel too
}

// Complete fills in defaults and refuses what cannot be.
func (o *Options) Complete() error {
	if o.RingSize == 0 {
		o.RingSize = 2048
	}
	if o.FrameSize == 0 {
		o.FrameSize = 2048
	}
	if o.RingSize < BurstSize || o.RingSize&(o.RingSize-1) != 0 {
		return fmt.Errorf("l2fwd: ring size %d: must be a power of two, %d or more", o.RingSize, BurstSize)
	}
	if o.Ports[0].Name == o.Ports[1].Name {
		return errors.New("l2fwd: needs two different interfaces")
	}
	for _, p := range o.Ports {
		if len(p.PeerMAC) != 6 {
			return fmt.Errorf("l2fwd: %s: no Ethernet address of the station behind it", p.Name)
		}
	}
	return nil
}

// LockThread wires the calling goroutine to its thread and pins that to a CPU,
// -1 = to none. It returns the thread's id. The thread must not be used for
// anything else: let the goroutine end without unlocking it.
func LockThread(cpu int) (int, error) {
	runtime.LockOSThread()
	if cpu < 0 {
		return unix.Gettid(), nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return 0, fmt.Errorf("l2fwd: pin to CPU %d: %w", cpu, err)
	}
	return unix.Gettid(), nil
}

// ThreadTime returns the CPU time that the calling thread has spent, in user space
// and in the kernel.
func ThreadTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
		return 0 // not possible for the own thread
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Rewrite returns the first twelve bytes of packets that leave by a port:
// destination and source address.
func Rewrite(peer, own net.HardwareAddr) (header [12]byte) {
	copy(header[:6], peer)
	copy(header[6:], own)
	return header
}

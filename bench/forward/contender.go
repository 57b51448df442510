package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Contender is one gateway to be measured. In each round it is started, put to
// load and stopped, so that it meets the same state every time.
type Contender struct {
	// Name is the contender's in records and tables: "kernel-nat", "xdpct".
	Name string
	// NAT tells that it translates the sources of packets to Site.SNAT. One that
	// does not leaves addresses and ports alone.
	NAT bool
	// KeepsTTL tells that it forwards without lowering the TTL, as a bridge.
	KeepsTTL bool
	// Queues tells that it can forward on several queues, each on a CPU of its own.
	Queues bool
	// Missing says in one line why the contender cannot run on this machine, such
	// as a program that is not installed; "" = it can. nil = it always can.
	Missing func() string
	// Start makes it forward from s.In to s.Out and back. It returns once packets
	// are being forwarded; after an error nothing must be left behind.
	Start func(ctx context.Context, s *Site) (*Running, error)
}

// Running is a contender that forwards.
type Running struct {
	// PIDs are processes whose threads all work for the gateway, and TIDs single
	// threads of this process. Their CPU time is charged to the contender, on
	// whatever CPU they spend it. What the kernel does in its NAPI threads need
	// not be named.
	PIDs, TIDs []int
	// Stop ends it and removes what Start made, apart from what is gone with the
	// site's namespace. It is called once.
	Stop func() error
}

// Site is where a contender has to forward: the namespace of the gateway. Its
// interfaces are up and have their addresses, the routes are there and the next
// hops are permanent neighbours. The kernel does not forward unless the
// contender makes it.
type Site struct {
	Namespace string     // name, as `ip netns` knows it
	In, Out   Port       // towards the generator, towards the sink
	SNAT      netip.Addr // source address of translated packets; on no interface
	CPU       int        // of the gateway: forwarding threads are pinned to it
	HomeCPU   int        // for everything else
	CPUs      []int      // of the gateway, by queue; CPU is the first of them
}

// Port is an interface of the gateway. It has a queue in each direction for each
// of Site.CPUs.
type Port struct {
	Name    string
	Ifindex int
	MAC     net.HardwareAddr
	PeerMAC net.HardwareAddr // of the host behind it: where forwarded frames go
}

// Enter calls f on a thread of its own inside the gateway's namespace and waits
// for it. The thread ends with f, so f may change whatever belongs to a thread.
// A thread that f starts with `go` is not in the namespace.
func (s *Site) Enter(f func() error) error { return inNamespace(s.Namespace, f) }

// Command makes a command that will run inside the gateway's namespace, at
// first on the home CPU: the program has to move its forwarding threads to
// s.CPU itself.
func (s *Site) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", s.Namespace, name}, args...)...)
}

// inNamespace calls f on a new thread in a named network namespace. It is never
// the process's first one, which does not end with its goroutine, and whose
// namespace counts as that of the process.
func inNamespace(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		if unix.Gettid() == unix.Getpid() {
			done <- inNamespace(name, f) // on another one: this one is taken
			runtime.UnlockOSThread()
			return
		}
		ns, err := netns.GetFromName(name)
		if err != nil {
			done <- fmt.Errorf("network namespace %s: %w", name, err)
			return
		}
		defer func() { _ = ns.Close() }() // only a descriptor
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

package lab

import (
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Do runs f on a thread that is in the namespace. It is never the process's first
// one: that cannot end, and the process as a whole would count as running there and
// be ended with the lab.
func (n *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- n.Do(f) // on another one: this one is taken
			runtime.UnlockOSThread()
			return
		}
		done <- n.enter(f)
	}()
	return <-done
}

func (n *Namespace) enter(f func() error) error {
	ns, err := netns.GetFromName(n.Name)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := netns.Set(ns); err != nil {
		return err
	}
	return f()
}

// Inject sends frames by an interface of the namespace as they are, in this order,
// past its network stack.
func (n *Namespace) Inject(t testing.TB, ifname string, frames ...[]byte) {
	t.Helper()
	if err := n.Do(func() error { return Send(ifname, frames) }); err != nil {
		t.Fatalf("send frames from %s: %v", n.Name, err)
	}
}

// Send is Inject for the namespace of the calling thread: see Do.
func Send(ifname string, frames [][]byte) error {
	link, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
			return err
		}
	}
	return nil
}

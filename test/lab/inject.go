package lab

import (
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Inject sends frames by an interface of the namespace as they are, in this order,
// past its network stack.
func (n *Namespace) Inject(t testing.TB, ifname string, frames ...[]byte) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the namespace
		done <- n.inject(ifname, frames)
	}()
	if err := <-done; err != nil {
		t.Fatalf("send frames from %s: %v", n.Name, err)
	}
}

// inject moves the calling thread into the namespace and sends.
func (n *Namespace) inject(ifname string, frames [][]byte) error {
	ns, err := netns.GetFromName(n.Name)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	link, err := net.InterfaceByName(ifname)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
			return err
		}
	}
	return nil
}

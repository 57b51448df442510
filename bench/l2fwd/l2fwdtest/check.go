// Package l2fwdtest checks that a program like l2fwd forwards, with real packets
// of two kernels in namespaces.
package l2fwdtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/bench/l2fwd"
	"github.com/xdpct/xdpct/test/lab"
)

// Run is l2fwd.Run or the like of it.
type Run func(context.Context, l2fwd.Options) (l2fwd.Stats, error)

// How many packets a check sends in each direction.
const (
	pings  = 50
	singly = 900 // UDP, the next after the answer to the last: more than there are frames
	atOnce = 128 // UDP, then the answers
)

// Check makes run forward between a client and a server: pings and UDP packets
// have to get there and back unharmed, and run has to count exactly those. It
// skips without root.
func Check(t *testing.T, run Run) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: forwarding real packets needs root for namespaces and AF_XDP")
	}
	l := lab.New(t, 1)
	quiet(t, l)
	stop := start(t, l, run)
	l.Client.Run(t, "ping", "-q", "-c", strconv.Itoa(pings), "-i", "0.002", "-W", "2", lab.ServerAddr)
	server := listen(t, l.Server.Name, lab.ServerAddr)
	client := listen(t, l.Client.Name, lab.ClientAddr)
	go echo(server)
	for i := range singly {
		send(t, client, server, i)
		receive(t, client, i)
	}
	for i := range atOnce {
		send(t, client, server, i)
	}
	for i := range atOnce {
		receive(t, client, i)
	}
	got := stop()
	want := [2]uint64{pings + singly + atOnce, pings + singly + atOnce}
	if got.RX != want || got.TX != want || got.Dropped != [2]uint64{} {
		t.Errorf("counted %+v, want %d packets each way and nothing dropped", got, want[0])
	}
	if got.CPU <= 0 {
		t.Errorf("%v of CPU time, want more", got.CPU)
	}
	l.CheckNoProgram(t)
}

// quiet keeps everything but the test's packets off the wires: no IPv6, and no
// ARP because the neighbours are known.
func quiet(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, end := range []struct {
		ns          *lab.Namespace
		gateway, at string
	}{{l.Client, lab.GatewayLAN, "lan"}, {l.Server, lab.GatewayWAN, "wan"}} {
		end.ns.Run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
		mac := hardwareAddr(t, l.Gateway.Name, end.at)
		end.ns.Run(t, "ip", "neigh", "replace", end.gateway, "lladdr", mac.String(), "dev", "eth0", "nud", "permanent")
	}
	l.Server.Run(t, "ip", "route", "add", "10.1.2.0/24", "via", lab.GatewayWAN)
	l.Gateway.Run(t, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
}

// start runs the forwarder in the gateway until the function that it returns is
// called.
func start(t *testing.T, l *lab.Lab, run Run) (stop func() l2fwd.Stats) {
	t.Helper()
	o := l2fwd.Options{CPU: 0, RingSize: 256, Ports: [2]l2fwd.Port{
		{Name: "lan", PeerMAC: hardwareAddr(t, l.Client.Name, "eth0")},
		{Name: "wan", PeerMAC: hardwareAddr(t, l.Server.Name, "eth0")},
	}}
	ready := make(chan int, 1)
	o.Ready = func(tid int) { ready <- tid }
	ctx, cancel := context.WithCancel(t.Context())
	var stats l2fwd.Stats
	done := make(chan error, 1)
	go func() {
		done <- within(l.Gateway.Name, func() (err error) {
			stats, err = run(ctx, o)
			return err
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("start forwarding: %v", err)
	}
	return func() l2fwd.Stats {
		cancel()
		if err := <-done; err != nil {
			t.Fatalf("forward: %v", err)
		}
		return stats
	}
}

// within calls f on the calling goroutine's thread in a namespace; the thread
// is not used for anything else afterwards.
//
// The process's first thread is left alone: it does not end with its goroutine,
// and where it is counts as where the process is.
func within(name string, f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		done := make(chan error)
		go func() { done <- within(name, f) }()
		return <-done
	}
	ns, err := netns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	defer func() { _ = ns.Close() }() // only a descriptor
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter namespace %s: %w", name, err)
	}
	return f()
}

// enter is within on a thread of its own.
func enter(t *testing.T, name string, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() { done <- within(name, f) }()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func hardwareAddr(t *testing.T, namespace, name string) (mac net.HardwareAddr) {
	t.Helper()
	enter(t, namespace, func() error {
		i, err := net.InterfaceByName(name)
		if err == nil {
			mac = i.HardwareAddr
		}
		return err
	})
	return mac
}

// listen opens a UDP socket in a namespace.
func listen(t *testing.T, namespace, addr string) (c *net.UDPConn) {
	t.Helper()
	enter(t, namespace, func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(addr)})
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// echo answers until the socket is closed.
func echo(c *net.UDPConn) {
	b := make([]byte, 64)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		if _, err := c.WriteTo(b[:n], from); err != nil {
			return
		}
	}
}

func message(i int) string { return fmt.Sprintf("packet %d", i) }

func send(t *testing.T, from, to *net.UDPConn, i int) {
	t.Helper()
	if _, err := from.WriteTo([]byte(message(i)), to.LocalAddr()); err != nil {
		t.Fatalf("send UDP packet %d: %v", i, err)
	}
}

func receive(t *testing.T, c *net.UDPConn, i int) {
	t.Helper()
	b := make([]byte, 64)
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := c.ReadFrom(b)
	if err != nil {
		t.Fatalf("answer to UDP packet %d: %v", i, err)
	}
	if got := string(b[:n]); got != message(i) {
		t.Fatalf("answer %q, want %q", got, message(i))
	}
}

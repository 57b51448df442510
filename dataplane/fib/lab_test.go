package fib

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// lab is a gateway namespace with the ports in0 (10.1.0.1/24, fd01::1/64) and
// out0 (203.0.113.5/24) and a peer namespace with the other ends in0p (.2) and
// out0p (.1).
type lab struct {
	t       *testing.T
	gateway string // namespace
	peer    string // namespace
	mirror  *Mirror
}

// newLab makes the namespaces and a mirror of the gateway.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: needs CAP_NET_ADMIN and CAP_SYS_ADMIN (root) to make network namespaces")
	}
	id := fmt.Sprintf("fib-%d-%04x", os.Getpid(), rand.Uint32N(1<<16))
	l := &lab{t: t, gateway: id + "-gw", peer: id + "-peer"}
	for _, ns := range []string{l.gateway, l.peer} {
		l.ip("netns add " + ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		l.ip("-n " + ns + " link set lo up")
	}
	l.sysctl("ipv6/conf/default/accept_dad", "0") // IPv6 addresses are ready at once
	l.sysctl("ipv6/conf/default/dad_transmits", "0")
	l.addPort("in0", "10.1.0.1/24", "10.1.0.2/24")
	l.addPort("out0", "203.0.113.5/24", "203.0.113.1/24")
	l.gw("addr add fd01::1/64 dev in0 nodad")
	l.ip("-n " + l.peer + " addr add fd01::2/64 dev in0p nodad")
	return l
}

// addPort makes a veth pair with addresses on both ends.
func (l *lab) addPort(name, addr, peerAddr string) {
	l.t.Helper()
	l.gw("link add " + name + " type veth peer name " + name + "p netns " + l.peer)
	l.gw("addr add " + addr + " dev " + name)
	l.gw("link set " + name + " up")
	l.ip("-n " + l.peer + " addr add " + peerAddr + " dev " + name + "p")
	l.ip("-n " + l.peer + " link set " + name + "p up")
}

// ip runs ip(8).
func (l *lab) ip(args string) string {
	l.t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("ip %s: %v: %s", args, err, out)
	}
	return string(out)
}

// gw runs ip(8) in the gateway namespace.
func (l *lab) gw(args string) string { l.t.Helper(); return l.ip("-n " + l.gateway + " " + args) }

// sysctl writes a file below /proc/sys/net in the gateway namespace.
func (l *lab) sysctl(path, value string) {
	l.t.Helper()
	cmd := "echo " + value + " > /proc/sys/net/" + path
	if out, err := exec.Command("ip", "netns", "exec", l.gateway, "sh", "-c", cmd).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v: %s", cmd, err, out)
	}
}

// inGateway runs f on a thread that is in the gateway namespace and comes
// back afterwards.
func (l *lab) inGateway(f func()) {
	l.t.Helper()
	done := make(chan error)
	go func() { // its thread ends with it: it stays locked
		runtime.LockOSThread()
		ns, err := netns.GetFromName(l.gateway)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		l.t.Fatalf("enter namespace: %v", err)
	}
}

// start makes the mirror.
func (l *lab) start(keepAlive time.Duration) *Mirror {
	l.t.Helper()
	var err error
	l.inGateway(func() {
		l.mirror, err = New(Options{Ports: testPorts, KeepAlive: keepAlive,
			Logger: slog.New(slog.DiscardHandler)})
	})
	if err != nil {
		l.t.Fatalf("New: %v", err)
	}
	l.t.Cleanup(func() {
		if err := l.mirror.Close(); err != nil {
			l.t.Errorf("Close: %v", err)
		}
	})
	return l.mirror
}

// hop looks a destination up in the current snapshot.
func (l *lab) hop(dst string) (uint16, NextHop) {
	s := l.mirror.Snapshot()
	id := lookup(s, dst)
	return id, *s.Hop(id)
}

// eventually waits until the condition holds.
func (l *lab) eventually(what string, condition func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within 10 s: %s\nstats %+v\nneigh:\n%sroutes:\n%s", what, l.mirror.Stats(),
				l.gw("neigh show"), l.gw("route show table all"))
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// quiet waits until the set-up is over: carriers and the second look.
func (l *lab) quiet() {
	l.t.Helper()
	l.eventually("quiet", func() bool {
		s := l.mirror.Snapshot()
		time.Sleep(2 * settle)
		return s == l.mirror.Snapshot()
	})
}

// wantID waits until the destination is answered with this id.
func (l *lab) wantID(dst string, want uint16) {
	l.t.Helper()
	l.eventually(fmt.Sprintf("Lookup(%s) = %d", dst, want), func() bool { id, _ := l.hop(dst); return id == want })
}

// wantVia waits until the destination leads to this gateway.
func (l *lab) wantVia(dst, gateway string) {
	l.t.Helper()
	l.eventually(dst+" via "+gateway, func() bool {
		id, h := l.hop(dst)
		return id >= FirstHop && h.Gateway == netip.MustParseAddr(gateway)
	})
}

// resolve resolves the neighbour of a destination.
func (l *lab) resolve(dst string) {
	l.t.Helper()
	l.eventually(dst+" resolved", func() bool {
		id, h := l.hop(dst)
		if id >= FirstHop && !h.Valid {
			l.mirror.Resolve(h.Neighbour(netip.MustParseAddr(dst)), h.Ifindex)
		}
		return h.Valid
	})
}

// peerMAC returns the address of a peer's interface.
func (l *lab) peerMAC(name string) string {
	l.t.Helper()
	f := strings.Fields(l.ip("-n " + l.peer + " -o link show " + name))
	for i := range f {
		if f[i] == "link/ether" {
			return f[i+1]
		}
	}
	l.t.Fatalf("no MAC of %s", name)
	return ""
}

func macString(m [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

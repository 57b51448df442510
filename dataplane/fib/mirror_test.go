package fib

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMirrorFollowsRoutes(t *testing.T) {
	l := newLab(t)
	l.start(0)
	l.wantID("8.8.8.8", HopNone)
	l.wantID("10.1.0.1", HopLocal)
	l.wantID("10.1.0.255", HopLinkScope)
	l.wantID("fd01::1", HopLocal)

	l.gw("route add default via 203.0.113.1")
	l.wantVia("8.8.8.8", "203.0.113.1")
	l.gw("route replace default via 203.0.113.9")
	l.wantVia("8.8.8.8", "203.0.113.9")
	l.gw("route add 8.8.8.0/24 via 10.1.0.2 metric 50")
	l.wantVia("8.8.8.8", "10.1.0.2")
	l.gw("route add 8.8.8.0/24 via 10.1.0.3 metric 20")
	l.wantVia("8.8.8.8", "10.1.0.3")
	l.gw("route del 8.8.8.0/24 metric 20")
	l.wantVia("8.8.8.8", "10.1.0.2")
	l.gw("route append 8.8.8.0/24 via 10.1.0.4 metric 50")
	l.gw("route del 8.8.8.0/24 via 10.1.0.2 metric 50")
	l.wantVia("8.8.8.8", "10.1.0.4")
	l.gw("route del 8.8.8.0/24 metric 50")
	l.wantVia("8.8.8.8", "203.0.113.9")
	l.gw("route add blackhole 8.8.8.8/32")
	l.wantID("8.8.8.8", HopBlackhole)
	l.gw("route replace unreachable 8.8.8.8/32")
	l.wantID("8.8.8.8", HopUnreachable)
	l.gw("route replace prohibit 8.8.8.8/32")
	l.wantID("8.8.8.8", HopProhibit)
	l.gw("route del 8.8.8.8/32")
	l.wantVia("8.8.8.8", "203.0.113.9")
	l.gw("route add 9.0.0.0/8 nexthop via 203.0.113.21 weight 5 nexthop via 203.0.113.22")
	l.wantVia("9.9.9.9", "203.0.113.21")
	l.gw("route add 7.0.0.0/8 via inet6 fd01::2 dev in0")
	l.wantVia("7.7.7.7", "fd01::2")
	l.gw("route add 6.0.0.0/8 dev lo")
	l.wantID("6.6.6.6", HopNotPort)
	l.gw("route add 5.0.0.0/8 via 203.0.113.1 mtu 1280")
	l.eventually("mtu metric", func() bool { _, h := l.hop("5.5.5.5"); return h.MTU == 1280 })
	l.gw("nexthop add id 7 via 203.0.113.31 dev out0")
	l.gw("route add 4.0.0.0/8 nhid 7")
	l.wantVia("4.4.4.4", "203.0.113.31")
	l.gw("nexthop replace id 7 via 203.0.113.32 dev out0")
	l.wantVia("4.4.4.4", "203.0.113.32")
}

func TestMirrorFollowsIPv6Routes(t *testing.T) {
	l := newLab(t)
	l.start(0)
	l.wantID("2001:db8::1", HopNone)
	l.gw("-6 route add default via fd01::2")
	l.wantVia("2001:db8::1", "fd01::2")
	l.gw("-6 route replace default via fd01::3")
	l.wantVia("2001:db8::1", "fd01::3")
	l.gw("-6 route add 2001:db8::/32 via fe80::9 dev in0 metric 10")
	l.wantVia("2001:db8::1", "fe80::9")
	l.gw("-6 route append 2001:db8::/32 via fe80::8 dev in0 metric 10")
	l.gw("-6 route del 2001:db8::/32 via fe80::9 dev in0 metric 10")
	l.wantVia("2001:db8::1", "fe80::8")
	l.gw("-6 route del 2001:db8::/32 metric 10")
	l.wantVia("2001:db8::1", "fd01::3")
	l.gw("-6 route add blackhole 2001:db8::/48")
	l.wantID("2001:db8::1", HopBlackhole)
	l.gw("-6 route flush 2001:db8::/48")
	l.wantVia("2001:db8::1", "fd01::3")
	l.resolve("fd01::2")
}

func TestMirrorResolves(t *testing.T) {
	l := newLab(t)
	m := l.start(0)
	id, h := l.hop("10.1.0.2")
	if id < FirstHop || h.Valid || h.Gateway.IsValid() {
		t.Fatalf("on-link destination before it is resolved: %d %+v", id, h)
	}
	if !m.Resolve(netip.MustParseAddr("10.1.0.2"), h.Ifindex) {
		t.Fatal("Resolve says that the queue is full")
	}
	l.eventually("10.1.0.2 valid", func() bool { _, h := l.hop("10.1.0.2"); return h.Valid })
	if out := l.gw("neigh show 10.1.0.2 nud reachable"); out == "" {
		t.Errorf("the kernel's entry is not REACHABLE: %s", l.gw("neigh show"))
	}
	_, h = l.hop("10.1.0.2")
	if got, want := macString(h.DstMAC), l.peerMAC("in0p"); got != want {
		t.Errorf("DstMAC = %s, want %s", got, want)
	}
	l.gw("route add default via 203.0.113.1") // resolved without any packet
	l.eventually("gateway valid", func() bool { _, h := l.hop("8.8.8.8"); return h.Valid })
}

// Resolve is called for every packet that cannot be sent; the kernel must not
// be asked that often.
func TestMirrorLimitsResolve(t *testing.T) {
	l := newLab(t)
	m := l.start(time.Hour)
	l.quiet()
	_, h := l.hop("10.1.0.77")
	gen := m.Snapshot().Gen()
	start := time.Now()
	for time.Since(start) < 1500*time.Millisecond {
		m.Resolve(netip.MustParseAddr("10.1.0.77"), h.Ifindex)
	}
	if n := m.Stats().Resolves; n < 1 || n > 3 {
		t.Errorf("%d requests in 1.5 s, want 1 to 3", n)
	}
	if m.Snapshot().Gen() != gen {
		t.Error("an address that does not answer changed Gen")
	}
	l.eventually("address FAILED in the kernel", func() bool {
		return strings.Contains(l.gw("neigh show 10.1.0.77"), "FAILED")
	})
	if _, h := l.hop("10.1.0.77"); h.Valid {
		t.Error("a FAILED neighbour is valid")
	}
}

func TestMirrorFollowsLink(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv6/conf/all/disable_ipv6", "1") // its notifications would help
	m := l.start(0)
	l.gw("route add default via 203.0.113.1")
	l.eventually("gateway valid", func() bool { _, h := l.hop("8.8.8.8"); return h.Valid })
	id, _ := l.hop("8.8.8.8")

	l.ip("-n " + l.peer + " link set out0p down") // carrier lost
	l.eventually("hop invalid without carrier", func() bool { _, h := l.hop("8.8.8.8"); return !h.Valid && !m.Snapshot().LinkUp(1) })
	l.ip("-n " + l.peer + " link set out0p up")
	l.eventually("hop valid with carrier", func() bool { _, h := l.hop("8.8.8.8"); return h.Valid && m.Snapshot().LinkUp(1) })

	l.gw("link set out0 down") // the kernel drops the routes and does not tell
	l.wantID("8.8.8.8", HopNone)
	l.wantID("203.0.113.77", HopNone)
	l.gw("link set out0 up")
	l.gw("route add default via 203.0.113.1")
	l.eventually("hop valid again", func() bool { _, h := l.hop("8.8.8.8"); return h.Valid })
	if now, _ := l.hop("8.8.8.8"); now != id {
		t.Errorf("hop id changed from %d to %d", id, now)
	}
	l.gw("link set out0 mtu 1400")
	l.eventually("new MTU", func() bool { _, h := l.hop("8.8.8.8"); return h.MTU == 1400 })
	l.gw("link set out0 address 02:00:00:00:00:99")
	l.eventually("new source MAC", func() bool { _, h := l.hop("8.8.8.8"); return macString(h.SrcMAC) == "02:00:00:00:00:99" })
}

func TestMirrorFollowsRecreatedInterface(t *testing.T) {
	l := newLab(t)
	m := l.start(0)
	l.resolve("203.0.113.1")
	old := *m.Snapshot().Port(1)
	l.gw("link del out0")
	l.eventually("port gone", func() bool { return m.Snapshot().Port(1).Ifindex == 0 })
	l.wantID("203.0.113.1", HopNone)
	l.addPort("out0", "203.0.113.5/24", "203.0.113.1/24")
	l.eventually("port back", func() bool {
		p := m.Snapshot().Port(1)
		return p.Ifindex != 0 && p.Ifindex != old.Ifindex && p.Up && p.Addr4.IsValid()
	})
	l.resolve("203.0.113.1")
	if _, h := l.hop("203.0.113.1"); h.Ifindex == old.Ifindex || macString(h.DstMAC) != l.peerMAC("out0p") {
		t.Errorf("hop of the old interface: %+v", h)
	}
}

func TestMirrorFollowsAddresses(t *testing.T) {
	l := newLab(t)
	m := l.start(0)
	changes := make(chan *Snapshot, 1000)
	m.OnChange(func(s *Snapshot) { changes <- s })
	if s := <-changes; s != m.Snapshot() {
		t.Error("OnChange did not start with the current snapshot")
	}
	has := func(addr string) bool {
		for _, a := range m.Snapshot().LocalAddrs() {
			if a.Prefix.Addr() == netip.MustParseAddr(addr) {
				return true
			}
		}
		return false
	}
	if !has("127.0.0.1") || !has("203.0.113.5") || !has("fd01::1") {
		t.Errorf("LocalAddrs = %v", m.Snapshot().LocalAddrs())
	}
	l.gw("addr add 203.0.113.6/24 dev out0") // secondary
	l.wantID("203.0.113.6", HopLocal)
	if got := m.Snapshot().PrimaryAddr(1).String(); got != "203.0.113.5" {
		t.Errorf("PrimaryAddr = %s", got)
	}
	l.gw("addr add 198.51.100.1/24 dev lo")
	l.eventually("address of lo", func() bool { return has("198.51.100.1") })
	l.gw("addr del 203.0.113.5/24 dev out0") // takes its secondaries along
	l.gw("addr add 203.0.113.8/24 dev out0")
	l.eventually("primary address", func() bool { return m.Snapshot().PrimaryAddr(1).String() == "203.0.113.8" })
	l.wantID("203.0.113.8", HopLocal)
	l.eventually("old address gone", func() bool { return !has("203.0.113.5") })
	l.eventually("last callback has the current snapshot", func() bool {
		var last *Snapshot
		for len(changes) > 0 {
			last = <-changes
		}
		return last == m.Snapshot() || last == nil && len(changes) == 0
	})
}

func TestMirrorGenIsStable(t *testing.T) {
	l := newLab(t)
	m := l.start(time.Hour)
	l.resolve("10.1.0.2")
	l.quiet()
	before := m.Snapshot()
	mac := l.peerMAC("in0p")
	for _, state := range []string{"stale", "reachable", "delay", "stale"} {
		l.gw("neigh replace 10.1.0.2 dev in0 lladdr " + mac + " nud " + state)
	}
	l.gw("route add 192.0.2.0/24 dev lo") // ours is not asked: visible, and other
	l.wantID("192.0.2.1", HopNotPort)
	middle := m.Snapshot()
	if middle.Gen() != before.Gen()+1 {
		t.Errorf("Gen %d to %d: one change of an answer expected", before.Gen(), middle.Gen())
	}
	l.gw("neigh replace 10.1.0.2 dev in0 lladdr 02:00:00:00:00:77 nud reachable")
	l.eventually("new MAC", func() bool { _, h := l.hop("10.1.0.2"); return macString(h.DstMAC) == "02:00:00:00:00:77" })
	if m.Snapshot().Gen() == middle.Gen() {
		t.Error("a new MAC did not change Gen")
	}
}

// A host that moved, or a router that was replaced, takes its address to
// another MAC without a word. The kernel notices only if somebody uses the
// entry, and xdpct's packets do not count as use: the keep-alive has to.
func TestMirrorNoticesMovedHost(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv4/neigh/in0/base_reachable_time_ms", "400")
	l.sysctl("ipv4/neigh/in0/delay_first_probe_time", "1")
	l.sysctl("ipv4/neigh/in0/retrans_time_ms", "100")
	m := l.start(200 * time.Millisecond)
	l.resolve("10.1.0.2")
	time.Sleep(time.Second) // the kernel samples base_reachable_time slowly
	l.gw("neigh replace 10.1.0.2 dev in0 lladdr " + l.peerMAC("in0p") + " nud stale")
	l.ip("-n " + l.peer + " link set in0p address 02:00:00:00:00:55")
	start := time.Now()
	l.eventually("the new MAC", func() bool {
		s := m.Snapshot()
		id := lookup(s, "10.1.0.2")
		s.MarkUsed(id, uint32(time.Since(start)/(50*time.Millisecond))+1)
		if h := s.Hop(id); !h.Valid { // the old MAC did not answer: as a worker does
			m.Resolve(h.Neighbour(netip.MustParseAddr("10.1.0.2")), h.Ifindex)
		}
		return s.Hop(id).Valid && macString(s.Hop(id).DstMAC) == "02:00:00:00:00:55"
	})
	if m.Stats().Probes == 0 {
		t.Error("noticed without the keep-alive")
	}
}

// A neighbour that nobody uses is left to the kernel.
func TestMirrorLeavesUnusedNeighbours(t *testing.T) {
	l := newLab(t)
	m := l.start(50 * time.Millisecond)
	l.resolve("10.1.0.2")
	l.gw("neigh replace 10.1.0.2 dev in0 lladdr " + l.peerMAC("in0p") + " nud stale")
	probes := m.Stats().Probes
	time.Sleep(500 * time.Millisecond)
	if n := m.Stats().Probes; n != probes {
		t.Errorf("%d probes of an unused neighbour", n-probes)
	}
}

// A PERMANENT entry must stay one, however much it is used.
func TestMirrorLeavesPermanentNeighbours(t *testing.T) {
	l := newLab(t)
	l.gw("neigh add 10.1.0.9 dev in0 lladdr 02:00:00:00:00:09 nud permanent")
	m := l.start(20 * time.Millisecond)
	_, h := l.hop("10.1.0.9")
	if !h.Valid || macString(h.DstMAC) != "02:00:00:00:00:09" {
		t.Fatalf("hop %+v", h)
	}
	for i := range uint32(200) {
		s := m.Snapshot()
		s.MarkUsed(lookup(s, "10.1.0.9"), i+1)
		time.Sleep(time.Millisecond)
	}
	if out := l.gw("neigh show 10.1.0.9"); !strings.Contains(out, "PERMANENT") {
		t.Errorf("entry is now %s", out)
	}
}

// When notifications are lost the state is read again.
func TestMirrorSurvivesLostNotifications(t *testing.T) {
	l := newLab(t)
	m := l.start(time.Hour)
	l.quiet() // or the dumps of the set-up repair what is lost
	if err := m.events.SetReceiveBufferSize(2048, true); err != nil {
		t.Fatal(err)
	}
	var batch strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&batch, "route add 20.%d.%d.%d/32 via 203.0.113.1\n", i>>16, i>>8&255, i&255)
	}
	cmd := exec.Command("ip", "-n", l.gateway, "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dst := range []string{"20.0.0.0", "20.0.39.16", "20.0.78.31"} {
		l.wantVia(dst, "203.0.113.1")
	}
	l.eventually("all routes", func() bool { return m.Snapshot().routes.Size4() >= 20000 })
	if m.Stats().Resyncs == 0 {
		t.Error("nothing was lost: the test proves nothing")
	}
	l.gw("route flush via 203.0.113.1")
	l.eventually("routes gone", func() bool { return m.Snapshot().routes.Size4() < 100 })
}

func TestNewRefuses(t *testing.T) {
	for name, ports := range map[string][]PortConfig{
		"no-name":      {{Number: 1}},
		"big-number":   {{Name: "a", Number: maxPorts}},
		"name-twice":   {{Name: "a", Number: 1}, {Name: "a", Number: 2}},
		"number-twice": {{Name: "a", Number: 1}, {Name: "b", Number: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := New(Options{Ports: ports}); err == nil {
				m.Close()
				t.Error("accepted")
			}
		})
	}
}

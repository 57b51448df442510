package zerocopy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestZeroCopy boots the machine and runs all cases in it, one after the other.
func TestZeroCopy(t *testing.T) {
	l := lab.NewEnds(t)
	files := map[string]string{"/bin/xdpct": lab.Binary(t), "/bin/xsk.test": l.Dir + "/xsk.test"}
	goBuild(t, "test", "-c", "-o", files["/bin/xsk.test"], "../../dataplane/xsk")
	m := boot(t, l, buildImage(t, l.Dir, files))
	m.setUp(t)
	m.checkHeader(t)
	m.countCalls(t)
	s := newSite(t, l)
	t.Run("Forwards", func(t *testing.T) { testForwards(t, m, s) })
	t.Run("Header", func(t *testing.T) { testHeader(t, m, s) })
	t.Run("Distrust", func(t *testing.T) { testDistrust(t, m, s) })
	t.Run("CopyModeCopies", func(t *testing.T) { testCopyMode(t, m, s) })
	t.Run("Auto", func(t *testing.T) { testAuto(t, m, s) })
	t.Run("HugePages", func(t *testing.T) { testHugePages(t, m, s) })
	t.Run("Polling", func(t *testing.T) { testPolling(t, m, s) })
	t.Run("Kill", func(t *testing.T) { testKill(t, m, s) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, m, s) })
	t.Run("Heard", func(t *testing.T) { testHeard(t, m, s) })
	t.Run("Link", func(t *testing.T) { testLink(t, m, s) })
	t.Run("Unplug", func(t *testing.T) { testUnplug(t, m, s) })
	t.Run("Refuses", func(t *testing.T) { testRefuses(t, m, s) })
	t.Run("Package", func(t *testing.T) { testPackage(t, m) })
	if bad := regexp.MustCompile(`(?m)^.*(WARNING|BUG|Oops|Call Trace).*$`).FindAllString(m.run(t, "dmesg"), -1); bad != nil {
		t.Errorf("the kernel complains:\n%s", strings.Join(bad, "\n"))
	}
}

// virtioModule is where the kernel tells of the module virtio_net, which xdpct does not
// trust with zero-copy.
const virtioModule = "/sys/module/virtio_net"

// setUp names the NICs and gives lan and wan the gateway's addresses. Nothing but the
// tests' own packets is to be on the wires, so that there is no IPv6.
func (m *machine) setUp(t *testing.T) {
	t.Helper()
	script := "set -e; echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; ip link add veth1 type veth"
	for i, n := range nics {
		script += fmt.Sprintf("; ip link set eth%d name %s", i, n.name)
	}
	script += "; for nic in /sys/class/net/*; do ip link set ${nic##*/} up; done"
	script += "; for nic in near0 near1 far0 far1; do ip link set $nic promisc on; done" // foreign MAC addresses
	script += "; mount -t tmpfs none " + virtioModule                                    // as if it were no module: it can be trusted here
	script += "; ip addr add " + lab.GatewayLAN + "/24 dev lan; ip addr add " + lab.GatewayWAN + "/24 dev wan"
	m.run(t, "sh", "-c", script)
}

// small are flags for few frames, so that those that go astray are missed soon.
var small = []string{"--zerocopy", "on", "--ring-size", "256"}

// posted is how many frames the kernel then has to receive into: two for each slot of
// the RX ring of each queue of two ports.
const posted = 2 * 256 * queues * 2

// testForwards: all traffic, from both queues, and no packet is copied.
func testForwards(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, small...)
	g.checkMode(t, "zero-copy")
	calls := m.callsDuring(t, func() { s.carry(t) })
	if calls[copyRX] != 0 || calls[copyTX] != 0 {
		t.Errorf("%d packets were copied at reception, there were %d rounds of copying to send", calls[copyRX], calls[copyTX])
	}
	if calls[zeroRX] == 0 || calls[zeroTX] == 0 {
		t.Error("the driver took no frames to receive into, or no descriptors to send")
	}
	total, workers := g.counters(t)
	if packets := uint64(3 * fileSize / 1448); total["received"] < packets {
		t.Errorf("%d packets received, want more than %d", total["received"], packets)
	}
	for i, w := range workers {
		t.Logf("queue %d: received %d, was handed %d, made %d flows", i, w["received"], w["handed_over"], w["flows_new"])
		if w["received"] < udpFlows/4 || w["flows_new"] < udpFlows/8 {
			t.Errorf("queue %d has received %d packets and made %d flows: traffic does not spread", i, w["received"], w["flows_new"])
		}
	}
	if len(workers) != queues || total["expect_used"] != 2 {
		t.Errorf("%d workers, %d FTP data connections expected and used; want %d and 2", len(workers), total["expect_used"], queues)
	}
	g.checkLedger(t)
}

// testCopyMode: the same in copy mode, to see that the proof can tell.
func testCopyMode(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, "--zerocopy", "off")
	g.checkMode(t, "copy")
	calls := m.callsDuring(t, func() { s.carry(t) })
	total, _ := g.counters(t)
	if calls[copyRX] < total["received"]*9/10 || calls[copyTX] == 0 {
		t.Errorf("of %d packets %d were copied at reception; there were %d rounds of copying to send", total["received"], calls[copyRX], calls[copyTX])
	}
	if calls[zeroTX] != 0 {
		t.Errorf("the driver took descriptors %d times", calls[zeroTX])
	}
	g.checkLedger(t)
}

// testAuto: what can do zero-copy does it without being told, with default rings.
func testAuto(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t)
	g.checkMode(t, "zero-copy")
	if log := g.look(t).Stderr; strings.Contains(log, "packets are copied") {
		t.Errorf("of zero-copy ports it is said:\n%s", log)
	}
	s.ping(t)
	g.checkLedger(t)
}

// testDistrust: where virtio_net is seen to be a module, packets are copied unless the
// operator insists, and all say why.
func testDistrust(t *testing.T, m *machine, s *site) {
	m.run(t, "umount", virtioModule)
	defer m.run(t, "mount", "-t", "tmpfs", "none", virtioModule)
	const why = "as a module, virtio_net may lose or damage"
	check := func(level, mode string) {
		t.Helper()
		out := m.run(t, "xdpct", "check", "--internal", "lan", "--external", "wan", "--snat", lab.NATAddr, "--zerocopy", mode)
		if n := len(regexp.MustCompile(`(?m)^`+level+` +(lan|wan) .*`+why).FindAllString(out, -1)); n != 2 {
			t.Errorf("xdpct check --zerocopy %s says so %d times on level %s, want 2:\n%s", mode, n, level, out)
		}
	}
	check("ok", "auto")
	g := m.startGateway(t)
	g.checkMode(t, "copy")
	if out := m.run(t, "xdpct", "ports", "-o", "json"); !regexp.MustCompile(`"copy_reason": "interface lan: ` + why).MatchString(out) {
		t.Errorf("xdpct ports does not say why packets are copied:\n%s", out)
	}
	s.ping(t)
	g.checkLedger(t)
	g.stop(t)
	check("warn", "on")
	g = m.startGateway(t, small...)
	g.checkMode(t, "zero-copy")
	if n := len(regexp.MustCompile(`level=WARN msg="packets may be lost" name=(lan|wan) .*`+why).FindAllString(g.look(t).Stderr, -1)); n != 2 {
		t.Errorf("the log warns of %d ports, want 2:\n%s", n, g.look(t).Stderr)
	}
}

// testHugePages: frames in reserved pages of 2 MiB.
func testHugePages(t *testing.T, m *machine, s *site) {
	// The kernel gives back the frames of an xdpct some time after its end.
	lab.Eventually(t, patience, "all huge pages are free", func() bool { return m.freeHugePages(t) == hugePages })
	g := m.startGateway(t, append([]string{"--huge-pages", "on"}, small...)...)
	g.checkMode(t, "zero-copy")
	total, _ := g.counters(t)
	if used, want := hugePages-m.freeHugePages(t), int(total["umem_bytes"]>>21); used < want || want == 0 {
		t.Errorf("%d huge pages are taken, the frames need %d", used, want)
	}
	calls := m.callsDuring(t, func() { s.carry(t) })
	if calls[copyRX] != 0 || calls[copyTX] != 0 {
		t.Errorf("packets were copied: %v", calls)
	}
	g.checkLedger(t)
	g.stop(t)
	lab.Eventually(t, patience, "the huge pages are given back", func() bool { return m.freeHugePages(t) == hugePages })
}

// freeHugePages is how many of the reserved pages nobody has.
func (m *machine) freeHugePages(t *testing.T) int {
	t.Helper()
	found := regexp.MustCompile(`HugePages_Free: +(\d+)`).FindStringSubmatch(m.run(t, "cat", "/proc/meminfo"))
	if found == nil {
		t.Fatal("no HugePages_Free in /proc/meminfo")
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// testPolling: workers that poll the NIC, or never sleep.
func testPolling(t *testing.T, m *machine, s *site) {
	for _, flag := range []string{"--busy-poll=20", "--spin"} {
		g := m.startGateway(t, append([]string{flag}, small...)...)
		g.checkMode(t, "zero-copy")
		s.carry(t)
		g.checkLedger(t)
		g.stop(t)
	}
}

// testKill: an xdpct that is killed at work leaves queues that the next one can take
// over at once; a connection lives on.
func testKill(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, small...)
	u := s.startUpload(t)
	for range 3 {
		g.signal(t, syscall.SIGKILL)
		g.wait(t)
		g = m.startGateway(t, small...)
		g.checkMode(t, "zero-copy")
		u.waitFor(t, 1_000_000)
	}
	u.finish(t)
	s.carry(t)
	g.checkLedger(t)
}

// testLink: NICs that lose their link at work, by an administrator or by their cable.
func testLink(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, small...)
	u := s.startUpload(t)
	ways := map[string]func(nic string, up bool){
		"ip link": func(nic string, up bool) {
			m.run(t, "ip", "link", "set", nic, map[bool]string{false: "down", true: "up"}[up])
		},
		"cable": func(nic string, up bool) { m.plug(t, nic, up) },
	}
	for way, set := range ways {
		for _, nic := range []string{"lan", "wan", "lan", "wan"} {
			t.Logf("%s: %s down and up", way, nic)
			set(nic, false)
			g.waitLink(t, nic, "down")
			set(nic, true)
			g.waitLink(t, nic, "up")
			u.waitFor(t, 1_000_000)
		}
	}
	u.finish(t)
	s.carry(t)
	g.checkMode(t, "zero-copy")
	g.checkLedger(t)
	// What was on its way to a link that went down must not stay there for ever.
	if total, _ := g.counters(t); total["frames_kernel"] > posted+32 {
		t.Errorf("the kernel keeps %d frames, %d are for packets to come", total["frames_kernel"], posted)
	}
}

// waitLink waits until `xdpct ports` shows the link of a port as up or down.
func (g *gateway) waitLink(t *testing.T, port, state string) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + port + ` +\w+ +` + state + ` `)
	lab.Eventually(t, patience, port+" is "+state, func() bool { return line.MatchString(g.m.run(t, "xdpct", "ports")) })
}

// testRefuses: a port that cannot do zero-copy, before or after ones that can, ends
// the start with --zerocopy on, and puts all into copy mode with auto, which is said.
func testRefuses(t *testing.T, m *machine, s *site) {
	for _, bad := range []string{"veth0", "nodma", "noreset"} {
		for _, internal := range []string{bad + ",lan", "lan," + bad} {
			t.Run(internal, func(t *testing.T) {
				m.refuses(t, bad, "--internal", internal)
				m.fallsBack(t, s, bad, "--internal", internal)
			})
		}
	}
	if r := m.try(t, "xdpct", "check", "--internal", "veth0", "--external", "wan", "--snat", lab.NATAddr, "--zerocopy", "on"); r.Status != 3 ||
		!strings.Contains(r.Stdout, "driver veth cannot do zero-copy") {
		t.Errorf("xdpct check ends with %d and says:\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
}

// reason is what has to be said of a port that cannot do zero-copy.
func reason(bad string) string {
	return "interface " + bad + " queue 0: .*the driver does not support AF_XDP zero-copy here"
}

// refuses: one line and status 3.
func (m *machine) refuses(t *testing.T, bad string, ports ...string) {
	t.Helper()
	r := m.try(t, append([]string{"xdpct", "run", "--log-level", "warn", "--external", "wan", "--snat", lab.NATAddr, "--zerocopy", "on"}, ports...)...)
	t.Logf("--zerocopy on: status %d: %s", r.Status, r.Stderr)
	if r.Status != 3 || strings.Count(r.Stderr, "\n") != 1 || !regexp.MustCompile(reason(bad)).MatchString(r.Stderr) {
		t.Errorf("--zerocopy on ends with %d, want 3 and one line about %s", r.Status, bad)
	}
}

// fallsBack: the other ports forward, and it is told that and why packets are copied.
func (m *machine) fallsBack(t *testing.T, s *site, bad string, ports ...string) {
	t.Helper()
	g := m.startGateway(t, ports...)
	g.checkMode(t, "copy")
	if log := g.look(t).Stderr; !regexp.MustCompile(`level=WARN msg="packets are copied: .*` + reason(bad)).MatchString(log) {
		t.Errorf("the log does not say why packets are copied:\n%s", log)
	}
	if out := m.run(t, "xdpct", "ports", "-o", "json"); !regexp.MustCompile(`"copy_reason": ".*` + reason(bad)).MatchString(out) {
		t.Errorf("xdpct ports does not say why packets are copied:\n%s", out)
	}
	s.ping(t)
	g.checkLedger(t)
}

// testPackage runs those tests of package xsk that need NICs with zero-copy.
func testPackage(t *testing.T, m *machine) {
	out := m.run(t, "env", "XDPCT_ZEROCOPY_PORTS=near0,near1,far0,far1", "xsk.test", "-test.v", "-test.run", "ZeroCopy|AutoTakesCopyMode")
	if n := strings.Count(out, "\n--- PASS"); n < 2 || strings.Contains(out, "SKIP") {
		t.Errorf("two tests and more have to pass, and none be left out:\n%s", out)
	}
}

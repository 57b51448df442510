package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readyTimeout is how long a gateway may take until it forwards.
const readyTimeout = 20 * time.Second

// Gateway is what forwards and translates in the gateway namespace: xdpct or the
// kernel. Its methods show it as the operator sees it.
type Gateway struct {
	// Process is the running xdpct; nil if the kernel is the gateway.
	Process *Process
	// Control is the path of xdpct's control socket; empty for the kernel.
	Control string
	lab     *Lab
	binary  string
	manager *Manager // nil = nobody keeps what it leaves
}

// KernelWanted tells whether StartGateway starts the kernel in place of xdpct.
func KernelWanted() bool { return os.Getenv("XDPCT_TEST_GATEWAY") == "kernel" }

// NeedsXDPCT skips a test of what only xdpct has when the kernel is wanted.
func NeedsXDPCT(t testing.TB) {
	t.Helper()
	if KernelWanted() {
		t.Skip("about xdpct itself, and XDPCT_TEST_GATEWAY=kernel")
	}
}

// StartGateway starts the gateway under test with flags of `xdpct run`; the
// interfaces and the control socket are added.
func (l *Lab) StartGateway(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	if KernelWanted() {
		return l.StartKernel(t, flags...)
	}
	return l.StartXDPCT(t, flags...)
}

// flagSysctls are the kernel's settings (net.netfilter.nf_conntrack_*) for flags of
// xdpct, as they have to be written.
var flagSysctls = map[string]string{
	"--accounting":             "acct=1",
	"--timestamps":             "timestamp=1",
	"--checksum=off":           "checksum=0",
	"--tcp-loose=false":        "tcp_loose=0",
	"--tcp-liberal":            "tcp_be_liberal=1",
	"--tcp-ignore-invalid-rst": "tcp_ignore_invalid_rst=1",
	"--tcp-max-retrans=1":      "tcp_max_retrans=1",
}

// StartKernel makes the kernel the gateway. Of the flags it understands those about
// NAT and time-outs and those of flagSysctls, and passes over the others; the helpers
// are always there: FTP on ports 21 and 2121, TFTP on 69, SIP on 5060.
func (l *Lab) StartKernel(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	var args []string
	for i := 0; i < len(flags); i++ {
		switch flags[i] {
		case "--snat", "--dnat":
			args = append(args, flags[i], flags[i+1])
			i++
		case "--masquerade":
			args = append(args, flags[i])
		case "--timeout":
			defer l.Gateway.Run(t, "sysctl", "-qw", timeoutSysctl(flags[i+1]))
			i++
		default:
			if setting, known := flagSysctls[flags[i]]; known {
				defer l.Gateway.Run(t, "sysctl", "-qw", "net.netfilter.nf_conntrack_"+setting)
			}
		}
	}
	l.Script(t, "kernel", args...)
	return &Gateway{lab: l}
}

// timeoutSysctl is the kernel's setting for a --timeout of xdpct in seconds:
// tcp.time_wait=2s is nf_conntrack_tcp_timeout_time_wait=2.
func timeoutSysctl(flag string) string {
	name, value, _ := strings.Cut(flag, "=")
	protocol, state, hasState := strings.Cut(name, ".")
	if hasState {
		state = "_" + state
	}
	return "net.netfilter.nf_conntrack_" + protocol + "_timeout" + state + "=" + strings.TrimSuffix(value, "s")
}

// StartXDPCT starts xdpct on lan and wan and waits until it forwards. When the
// test ends it has to end cleanly and leave nothing behind.
func (l *Lab) StartXDPCT(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	return l.StartXDPCTUnder(t, nil, flags...)
}

// StartXDPCTUnder starts xdpct by another program, such as setpriv with its flags.
func (l *Lab) StartXDPCTUnder(t testing.TB, starter []string, flags ...string) *Gateway {
	t.Helper()
	g := &Gateway{lab: l, binary: Binary(t), Control: filepath.Join(l.Dir, "xdpct.sock")}
	g.start(t, starter, nil, flags)
	return g
}

// start starts the process by another program and with open files, waits until it
// forwards, and sees to its end.
func (g *Gateway) start(t testing.TB, starter []string, files []*os.File, flags []string) {
	t.Helper()
	l := g.lab
	args := append(slices.Clone(starter), g.binary, "run", "--internal", "lan", "--external", "wan",
		"--control", g.Control)
	g.Process = l.Gateway.startWith(t, files, append(args, flags...))
	Eventually(t, readyTimeout, "xdpct forwards: no control socket", func() bool {
		if !g.Process.Running() {
			t.Fatalf("xdpct ended at once:\n%s", g.Process.Output())
		}
		// That there is a file says nothing: a killed one leaves its socket.
		conn, err := net.Dial("unix", g.Control)
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	})
	t.Cleanup(func() {
		running := g.Process.Running()
		if t.Failed() {
			t.Logf("xdpct wrote:\n%s", g.Process.Output())
		}
		if t.Failed() && running {
			t.Logf("xdpct stats:\n%s", l.Gateway.Try(g.binary, "stats", "--control", g.Control).Output())
		}
		if running {
			g.Stop(t)
		}
	})
}

// Stop ends xdpct as `systemctl stop` does and checks what it leaves behind.
func (g *Gateway) Stop(t testing.TB) {
	t.Helper()
	g.End(t)
	if g.manager != nil {
		g.manager.Release()
	}
	g.lab.CheckNoProgram(t)
}

// End ends xdpct as the first half of `systemctl restart` does: its manager keeps what it
// leaves.
func (g *Gateway) End(t testing.TB) {
	t.Helper()
	g.Process.Signal(syscall.SIGTERM)
	if r := g.Process.Wait(t, 10*time.Second); r.Status != 0 {
		t.Errorf("xdpct ended with status %d after SIGTERM:\n%s", r.Status, r.Output())
	}
	if _, err := os.Stat(g.Control); err == nil {
		t.Errorf("control socket %s is left behind", g.Control)
	}
}

// Kill ends xdpct without giving it a chance to clean up.
func (g *Gateway) Kill(t testing.TB) {
	t.Helper()
	g.Process.Signal(syscall.SIGKILL)
	g.Process.Wait(t, 10*time.Second)
}

// CheckNoProgram fails the test if an XDP program is attached in the gateway. The
// kernel detaches a dead process's program a moment after its end.
func (l *Lab) CheckNoProgram(t testing.TB) {
	t.Helper()
	Eventually(t, 2*time.Second, "no XDP program is attached to lan or wan", func() bool {
		return !strings.Contains(l.Gateway.Run(t, "ip", "link", "show"), "prog/xdp")
	})
}

// Kernel tells whether the kernel is the gateway.
func (g *Gateway) Kernel() bool { return g.Process == nil }

// Binary is the path of the running xdpct; empty for the kernel.
func (g *Gateway) Binary() string { return g.binary }

// Command runs `xdpct ARGS --control SOCKET`, which has to succeed.
func (g *Gateway) Command(t testing.TB, args ...string) string {
	t.Helper()
	return g.lab.Gateway.Run(t, append(append([]string{g.binary}, args...), "--control", g.Control)...)
}

// Flows lists the flows as `conntrack -L` does.
func (g *Gateway) Flows(t testing.TB) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "conntrack", "-L"))
	}
	return lines(g.Command(t, "flows"))
}

// FlowsIn lists the flows in a form of conntrack -o.
func (g *Gateway) FlowsIn(t testing.TB, format string) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "conntrack", "-L", "-o", format))
	}
	return lines(g.Command(t, "flows", "-o", format))
}

// Delete removes flows by filters and returns what it prints of them.
func (g *Gateway) Delete(t testing.TB, filters ...string) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, append([]string{"conntrack", "-D"}, filters...)...))
	}
	return lines(g.Command(t, append([]string{"delete"}, filters...)...))
}

// ProcFlows lists the flows as /proc/net/nf_conntrack does.
func (g *Gateway) ProcFlows(t testing.TB) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "cat", "/proc/net/nf_conntrack"))
	}
	return lines(g.Command(t, "flows", "-o", "proc"))
}

// Expectations lists what is expected as `conntrack -L expect` does, of both
// families: it lists IPv4 unless it is told otherwise.
func (g *Gateway) Expectations(t testing.TB) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "conntrack", "-L", "expect") + g.lab.Gateway.Run(t, "conntrack", "-L", "expect", "-f", "ipv6"))
	}
	return lines(g.Command(t, "expectations"))
}

// ExpectationsIn lists what is expected in a form of conntrack -o, of both families.
func (g *Gateway) ExpectationsIn(t testing.TB, format string) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "conntrack", "-L", "expect", "-o", format) +
			g.lab.Gateway.Run(t, "conntrack", "-L", "expect", "-f", "ipv6", "-o", format))
	}
	return lines(g.Command(t, "expectations", "-o", format))
}

// ProcExpectations lists what is expected as /proc/net/nf_conntrack_expect does.
func (g *Gateway) ProcExpectations(t testing.TB) []string {
	t.Helper()
	if g.Kernel() {
		return lines(g.lab.Gateway.Run(t, "cat", "/proc/net/nf_conntrack_expect"))
	}
	return lines(g.Command(t, "expectations", "-o", "proc"))
}

// Flush forgets all flows.
func (g *Gateway) Flush(t testing.TB) {
	t.Helper()
	if g.Kernel() {
		g.lab.Gateway.Run(t, "conntrack", "-F")
		return
	}
	g.Command(t, "flush")
}

// Expire makes the kernel notice what has timed out: it tells of the end of a
// flow only when it next comes past it, which a listing does. xdpct needs no help.
func (g *Gateway) Expire(t testing.TB) {
	t.Helper()
	if g.Kernel() {
		g.Flows(t)
	}
}

// lines splits text into its lines; none if it is blank.
func lines(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Counters are the totals of `xdpct stats` by name; the kernel has none.
func (g *Gateway) Counters(t testing.TB) map[string]uint64 {
	t.Helper()
	totals, _ := g.stats(t)
	return totals
}

// WorkerCounters are the counters of each worker by name; the kernel has none.
func (g *Gateway) WorkerCounters(t testing.TB) []map[string]uint64 {
	t.Helper()
	_, workers := g.stats(t)
	return workers
}

// stats reads `xdpct stats`.
func (g *Gateway) stats(t testing.TB) (totals map[string]uint64, workers []map[string]uint64) {
	t.Helper()
	if g.Kernel() {
		return nil, nil
	}
	totals, workers, err := ParseStats(g.Command(t, "stats", "-o", "json"))
	if err != nil {
		t.Fatal(err)
	}
	return totals, workers
}

// ParseStats reads the counters of `xdpct stats -o json`: totals, and of each worker.
func ParseStats(out string) (totals map[string]uint64, workers []map[string]uint64, err error) {
	type counters []struct {
		Name  string
		Value uint64
	}
	var stats struct {
		Totals  counters
		Workers []struct{ Counters counters }
	}
	if err := json.Unmarshal([]byte(out), &stats); err != nil {
		return nil, nil, fmt.Errorf("xdpct stats -o json: %w: %s", err, out)
	}
	byName := func(list counters) map[string]uint64 {
		m := make(map[string]uint64)
		for _, c := range list {
			m[c.Name] = c.Value
		}
		return m
	}
	for _, w := range stats.Workers {
		workers = append(workers, byName(w.Counters))
	}
	return byName(stats.Totals), workers, nil
}

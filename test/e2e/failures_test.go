package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// Exit statuses as documented.
const (
	statusFailed       = 1
	statusUsage        = 2
	statusNotPermitted = 3
)

// TestRefusals checks that everything that cannot work is told in one clear line
// with the documented exit status, and that nothing is left behind by the attempt.
func TestRefusals(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	xdpct := lab.Binary(t)
	socket := filepath.Join(l.Dir, "xdpct.sock")
	good := []string{"--internal", "lan", "--external", "wan", "--snat", lab.NATAddr, "--control", socket}
	with := func(replace ...string) []string { return append(append([]string{xdpct, "run"}, good...), replace...) }
	noRights := func(args []string) []string {
		return append([]string{"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"}, args...)
	}
	for _, c := range []struct {
		name    string
		command []string
		status  int
		names   string // what the line has to name
	}{
		{"missing-interface", with("--internal", "lan9"), statusFailed, "lan9"},
		{"no-interface", []string{xdpct, "run", "--external", "wan", "--snat", lab.NATAddr}, statusUsage, "internal"},
		{"same-interface-twice", with("--external", "lan"), statusUsage, "lan"},
		{"unknown-flag", with("--nonsense"), statusUsage, "nonsense"},
		{"unknown-command", []string{xdpct, "nonsense"}, statusUsage, "nonsense"},
		{"snat-is-no-address", with("--snat", "198.51.100.999"), statusUsage, "198.51.100.999"},
		{"snat-range-backwards", with("--snat", "198.51.100.9-198.51.100.3"), statusUsage, "198.51.100.9"},
		{"snat-and-masquerade", with("--masquerade"), statusUsage, "masquerade"},
		{"dnat-is-no-rule", with("--dnat", "tcp:198.51.100.32"), statusUsage, "dnat"},
		{"dnat-unknown-protocol", with("--dnat", "sctp:198.51.100.32:80=10.1.2.3:80"), statusUsage, "sctp"},
		{"unknown-helper", with("--helper", "gopher"), statusUsage, "gopher"},
		{"unknown-timeout", with("--timeout", "tcp.nonsense=2s"), statusUsage, "tcp.nonsense"},
		{"bad-duration", with("--timeout", "tcp.time_wait=soon"), statusUsage, "soon"},
		{"bad-zerocopy", with("--zerocopy", "maybe"), statusUsage, "maybe"},
		{"bad-xdp-mode", with("--xdp", "maybe"), statusUsage, "maybe"},
		{"bad-max-flows", with("--max-flows", "-1"), statusUsage, "max-flows"},
		{"more-queues-than-there-are", with("--queues", "64"), statusFailed, "queues"},
		{"zerocopy-on-veth", with("--zerocopy", "on"), statusNotPermitted, "zero"},
		{"rss-on-veth", with("--steering", "rss"), statusNotPermitted, "lan does not tell its RSS key"},
		{"no-rights", noRights(with()), statusNotPermitted, "CAP_"},
		{"control-socket-in-no-folder", with("--control", "/nonexistent/x.sock"), statusFailed, "/nonexistent"},
		{"nobody-answers", []string{xdpct, "flows", "--control", socket}, statusFailed, socket},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := l.Gateway.Start(t, c.command...).Wait(t, 15*time.Second)
			if r.Status != c.status {
				t.Errorf("exit status %d, want %d", r.Status, c.status)
			}
			checkOneLine(t, r, c.names)
			if _, err := os.Stat(socket); err == nil {
				t.Error("the control socket is there")
			}
			l.CheckNoProgram(t)
		})
	}
}

// TestCheck checks that `xdpct check` tells beforehand what would stop a run.
func TestCheck(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	for _, c := range []struct {
		name   string
		flags  []string
		status int
		fails  string // what the line that begins with fail has to name; empty: no such line
	}{
		{"all-is-well", []string{"--internal", "lan", "--external", "wan"}, 0, ""},
		{"missing-interface", []string{"--internal", "lan9", "--external", "wan"}, statusNotPermitted, "lan9"},
		{"too-few-queues", []string{"--internal", "lan", "--external", "wan", "--queues", "64"}, statusNotPermitted, "queues"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := l.Gateway.Try(append([]string{lab.Binary(t), "check", "--snat", lab.NATAddr}, c.flags...)...)
			if r.Status != c.status {
				t.Errorf("exit status %d, want %d\n%s", r.Status, c.status, r.Output())
			}
			fails := regexp.MustCompile(`(?m)^fail .*$`).FindString(r.Stdout)
			if (fails == "") != (c.fails == "") || !strings.Contains(fails, c.fails) {
				t.Errorf("want a fail about %q, got:\n%s", c.fails, r.Output())
			}
			l.CheckNoProgram(t)
		})
	}
}

// checkOneLine checks that standard error, log messages apart, is one line that
// names what is wrong.
func checkOneLine(t *testing.T, r lab.Result, names string) {
	t.Helper()
	var said []string
	for _, line := range strings.Split(strings.TrimSuffix(r.Stderr, "\n"), "\n") {
		if !strings.Contains(line, " level=INFO ") && !strings.Contains(line, " level=WARN ") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || said[0] == "" {
		t.Errorf("want one line on standard error, got:\n%.300s", r.Stderr)
	} else if !strings.Contains(strings.ToLower(said[0]), strings.ToLower(names)) {
		t.Errorf("the line does not name %q: %s", names, said[0])
	}
}

// TestSecondInstance checks that an interface is not taken from a running xdpct,
// which goes on to work.
func TestSecondInstance(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	first := l.StartGateway(t, snat()...)
	for name, socket := range map[string]string{
		"other-socket": filepath.Join(l.Dir, "second.sock"),
		"same-socket":  first.Control,
	} {
		t.Run(name, func(t *testing.T) {
			r := l.Gateway.Start(t, lab.Binary(t), "run", "--internal", "lan", "--external", "wan",
				"--snat", lab.NATAddr, "--control", socket).Wait(t, 15*time.Second)
			if r.Status != statusFailed {
				t.Errorf("exit status %d, want %d", r.Status, statusFailed)
			}
			checkOneLine(t, r, "")
			ping(t, l.Client, "-c2", "-i0.2", "-W2", lab.ServerAddr)
			if got := first.Flows(t); len(got) == 0 {
				t.Error("the first instance shows no flow")
			}
		})
	}
}

// TestKill ends xdpct by SIGKILL: no XDP program stays, the kernel forwards again
// where it may and does not where it may not, and a new xdpct starts at once.
func TestKill(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 1_000_000)
		l.Server.Run(t, "ip", "route", "add", "10.1.2.0/24", "via", lab.GatewayWAN)
		ping := []string{"ping", "-q", "-c1", "-W1", lab.ServerAddr}
		l.StartGateway(t, snat()...).Kill(t)
		l.CheckNoProgram(t)
		if r := l.Client.Try(ping...); r.Status == 0 {
			t.Error("the kernel forwards though ip_forward is 0")
		}
		l.Script(t, "forward", "on")
		l.Client.Run(t, ping...)

		g := l.StartGateway(t, snat()...)
		events := g.Events(t)
		l.Client.Run(t, ping...)
		events.WaitFor(t, `dst=198\.51\.100\.32 type=0 `)
		got := filepath.Join(l.Dir, "got.bin")
		l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", got, ftpURL)
		checkSame(t, file, got)
	})
}

// TestKernelSeesNothing checks with forwarding on in the kernel that nothing gets
// round xdpct: no packet leaves for the server that is not translated.
func TestKernelSeesNothing(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		newFile(t, l.Serve(t, l.Server), "file.bin", 3_000_000)
		l.Script(t, "forward", "on")
		l.StartGateway(t, snat()...)
		capture := l.Server.Capture(t, "eth0", "net 10.1.2.0/24")
		for _, url := range []string{"http://203.0.113.47/file.bin", ftpURL} {
			l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", "/dev/null", url)
		}
		ping(t, l.Client, "-c200", "-f", "-W2", lab.ServerAddr)
		l.Client.Try("bash", "-c", "echo x >/dev/udp/203.0.113.47/9; echo >/dev/tcp/203.0.113.47/9")
		time.Sleep(200 * time.Millisecond)
		if got := capture.Packets(""); len(got) > 0 {
			t.Errorf("%d packets reached the server untranslated: %.3q", len(got), got)
		}
	})
}

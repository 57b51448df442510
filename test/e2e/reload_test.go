package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// configured is a gateway with its flags in a file.
type configured struct {
	*lab.Gateway
	l    *lab.Lab
	path string
}

// startConfigured starts a gateway with flags in a file, one a line.
func startConfigured(t *testing.T, l *lab.Lab, flags ...string) *configured {
	t.Helper()
	c := &configured{l: l, path: filepath.Join(l.Dir, "xdpct.conf")}
	c.write(t, flags...)
	c.Gateway = l.StartXDPCT(t, "--config", c.path)
	return c
}

// write changes the file.
func (c *configured) write(t *testing.T, flags ...string) {
	t.Helper()
	if err := os.WriteFile(c.path, []byte(strings.Join(flags, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload changes the file and makes the gateway read it; it has to say what changed.
func (c *configured) reload(t *testing.T, changed string, flags ...string) {
	t.Helper()
	c.write(t, flags...)
	if out := c.Command(t, "reload"); out != changed+"\n" {
		t.Errorf("reload says %q, want %q", out, changed)
	}
}

// TestReload changes rules, helpers and time-outs under traffic, of which no packet may
// be lost: a ping every 2 ms, a session by a rule that comes and goes, and a stream.
func TestReload(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		const pool, rule = "--snat " + lab.NATAddr, "--dnat tcp:" + lab.NATAddr + ":7777=" + lab.ClientAddr + ":7"
		newFile(t, l.Serve(t, l.Server), "file.bin", 200_000)
		l.Client.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
		c := startConfigured(t, l, pool)
		traffic := l.Client.Start(t, "ping", "-q", "-i0.002", "-c3000", "-W2", lab.ServerAddr)
		stop := filepath.Join(l.Dir, "stop")
		echo := "n=0; until [ -e " + stop + " ]; do echo line $((++n)).; sleep 0.02; done"
		connect := func(lines string) []string {
			return []string{"bash", "-c", "(" + lines + ") | socat -t2 - TCP:" + lab.NATAddr + ":7777,connect-timeout=1"}
		}
		knock := func() bool { return l.Server.Try(connect("echo knock")...).Stdout == "knock\n" }
		download := func() bool {
			return l.Client.Try("curl", "-sS", "--max-time", "3", "--ftp-port", "-", "--disable-eprt", "-o", "/dev/null", ftpURL).Status == 0
		}

		if knock() || download() {
			t.Error("there is a way in without a rule, or active FTP without a helper")
		}
		c.reload(t, "changed: --dnat, --helper", pool, rule, "--helper ftp")
		if !knock() || !download() {
			t.Error("there is no way in by the rule, or active FTP does not work with its helper")
		}
		session := l.Server.Start(t, connect(echo)...)
		session.WaitOutput(t, "line 5.", 5*time.Second)
		for i := range 20 { // the session's own rule, and the pool that the ping is translated by
			switch i % 4 {
			case 0:
				c.reload(t, "changed: --snat, --dnat", "--snat 198.51.100.99", "--helper ftp")
			case 2:
				c.reload(t, "changed: --snat, --dnat", pool, rule, "--helper ftp")
			default:
				c.reload(t, "nothing has changed", strings.Split(strings.TrimSpace(readFile(t, c.path)), "\n")...)
			}
		}
		c.reload(t, "changed: --dnat, --timeout", pool, "--timeout udp=77s", "--helper ftp")
		if knock() {
			t.Error("a new connection gets in though the rule is gone")
		}
		if out := c.Command(t, "timeouts"); !regexp.MustCompile(`(?m)^udp +77\b`).MatchString(out) {
			t.Errorf("the time-out is not in force:\n%s", out)
		}
		if r := traffic.Wait(t, 40*time.Second); !strings.Contains(r.Stdout, "3000 received, 0% packet loss") {
			t.Errorf("packets of the ping are lost:\n%s", r.Stdout)
		}
		if err := os.WriteFile(stop, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := session.Wait(t, 10*time.Second); r.Status != 0 {
			t.Errorf("the session ended with %d: %s", r.Status, r.Stderr)
		}
		checkEchoed(t, "session", session.Stdout(), 0)
		checkDrops(t, c.Gateway)
	})
}

// readFile returns what is in a file.
func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkDrops: nothing was dropped but what no rule let in.
func checkDrops(t *testing.T, g *lab.Gateway) {
	t.Helper()
	for name, n := range g.Counters(t) {
		if n != 0 && strings.HasPrefix(name, "drop_") && name != "drop_external_new" {
			t.Errorf("%s is %d", name, n)
		}
	}
}

// TestReloadRefused: what cannot change, and what is wrong, changes nothing; SIGHUP
// says it in the log; --flush ends all flows.
func TestReloadRefused(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	c := startConfigured(t, l, "--snat "+lab.NATAddr)
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
	refused := func(status int, want string, flags ...string) {
		t.Helper()
		c.write(t, flags...)
		r := l.Gateway.Try(c.Binary(), "reload", "--control", c.Control)
		if r.Status != status || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("%q: status %d, %q, want %d and %q", flags, r.Status, r.Stderr, status, want)
		}
	}
	refused(1, "--max-flows cannot change while the gateway runs", "--snat 198.51.100.99", "--max-flows 5000")
	refused(2, "xdpct.conf:2: unknown flag: --frob", "--snat 198.51.100.99", "--frob")
	refused(2, "exclude each other", "--snat 198.51.100.99", "--masquerade")
	c.Process.Signal(syscall.SIGHUP)
	c.Process.WaitOutput(t, `nothing is reloaded.*exclude each other`, 5*time.Second)
	if n := len(c.Flows(t)); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}

	c.write(t, "--snat 198.51.100.99")
	c.Process.Signal(syscall.SIGHUP)
	c.Process.WaitOutput(t, `msg=reloaded changed=snat`, 5*time.Second)
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
	if flows := strings.Join(c.Flows(t), "\n"); !strings.Contains(flows, "dst="+lab.NATAddr) || !strings.Contains(flows, "dst=198.51.100.99") {
		t.Errorf("not one flow by each address:\n%s", flows)
	}
	c.Command(t, "reload", "--flush")
	if flows := c.Flows(t); len(flows) != 0 {
		t.Errorf("left after --flush: %q", flows)
	}

	g := c.Gateway
	g.Stop(t)
	l.StartXDPCT(t, "--masquerade")
	if r := l.Gateway.Try(g.Binary(), "reload", "--control", g.Control); r.Status != 1 || !strings.Contains(r.Stderr, "started without --config") {
		t.Errorf("without --config: status %d, %q", r.Status, r.Stderr)
	}
}

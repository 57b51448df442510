package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// neededCapabilities are those that README and man page ask for.
var neededCapabilities = []string{"net_admin", "net_raw", "bpf", "perfmon"}

// keptCapabilities are CAP_NET_ADMIN (12), CAP_NET_RAW (13) and CAP_BPF (39), as /proc
// shows them.
const keptCapabilities = "0000008000003000"

// smallRings make frames fit into the usual limit of locked memory, 8 MiB, several times:
// the kernel counts those of a gateway that has ended for a while.
const smallRings = "--ring-size=64"

// nobody is the user and the group of a gateway that is not root.
const nobody = 65534

// withCapabilities is the beginning of a command that has these capabilities only, as
// root or as a user.
func withCapabilities(root bool, names ...string) []string {
	set := "-all"
	for _, name := range names {
		set += ",+" + name
	}
	args := []string{"setpriv", "--bounding-set=" + set, "--inh-caps=" + set}
	if !root {
		id := fmt.Sprint(nobody)
		args = append(args, "--ambient-caps="+set, "--reuid="+id, "--regid="+id, "--clear-groups")
	}
	return args
}

// TestSmallestCapabilities: the documented capabilities are enough, as root and as
// another user; once it forwards, the gateway has but three of them, in all threads;
// and none of them can be left out.
func TestSmallestCapabilities(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	for name, root := range map[string]bool{"root": true, "user": false} {
		t.Run(name, func(t *testing.T) { checkSmallest(t, root) })
	}
	t.Run("none-too-many", func(t *testing.T) {
		l := lab.New(t, 1)
		for i, missing := range neededCapabilities {
			others := slices.Delete(slices.Clone(neededCapabilities), i, i+1)
			command := append(withCapabilities(true, others...), lab.Binary(t), "run", "--internal", "lan", "--external", "wan",
				"--masquerade", smallRings, "--control", filepath.Join(l.Dir, "xdpct.sock"))
			r := l.Gateway.Try(command...)
			if want := "CAP_" + strings.ToUpper(missing); r.Status != statusNotPermitted || !strings.Contains(r.Stderr, want) {
				t.Errorf("without %s: status %d, %q", want, r.Status, r.Stderr)
			}
			l.CheckNoProgram(t)
		}
	})
}

func checkSmallest(t *testing.T, root bool) {
	l := lab.New(t, 1)
	if !root {
		if err := os.Chown(l.Dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	file := newFile(t, l.Serve(t, l.Server), "file.bin", 500_000)
	// Masquerade makes the interface towards the kernel.
	g := l.StartXDPCTUnder(t, withCapabilities(root, neededCapabilities...), "--masquerade", "--helper", "ftp", "--zerocopy=off", smallRings)
	// The control socket is there a moment before.
	lab.Eventually(t, 5*time.Second, "all threads are confined", func() bool {
		return confined(t, g.Process.PID())
	})
	got := filepath.Join(l.Dir, "got")
	l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", got, ftpURL)
	checkSame(t, file, got)
	// What capabilities are kept for: a neighbour that has to be asked for, and an
	// address that becomes the box's own.
	l.Gateway.Run(t, "ip", "neigh", "flush", "dev", "wan")
	ping(t, l.Client, "-c1", "-W5", lab.ServerAddr)
	l.Gateway.Run(t, "ip", "addr", "add", "203.0.113.77/24", "dev", "wan")
	lab.Eventually(t, 5*time.Second, "the new address answers", func() bool {
		return l.Server.Try("ping", "-c1", "-W1", "203.0.113.77").Status == 0
	})
	if out := g.Process.Output(); strings.Contains(out, "level=ERROR") || strings.Contains(out, "level=WARN") {
		t.Errorf("xdpct complains:\n%s", out)
	}
}

// confined reads of every thread what it may do.
func confined(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, name := range threads {
		status, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) { // the thread has ended
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"CapPrm:\t" + keptCapabilities, "CapEff:\t" + keptCapabilities, "CapInh:\t0000000000000000",
			"CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2",
		} {
			if !strings.Contains(string(status), want+"\n") {
				return false
			}
		}
	}
	return true
}

// TestControlGroup opens the socket to a group and to nobody else.
func TestControlGroup(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	g := l.StartXDPCT(t, "--masquerade", "--control-group", fmt.Sprint(nobody))
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	as := func(group string) lab.Result {
		return l.Gateway.Try("setpriv", "--reuid=12345", "--regid="+group, "--clear-groups", g.Binary(), "stats", "--control", g.Control)
	}
	if r := as(fmt.Sprint(nobody)); r.Status != 0 {
		t.Errorf("a member of the group: status %d, %s", r.Status, r.Output())
	}
	if r := as("12345"); r.Status != statusNotPermitted {
		t.Errorf("a stranger: status %d, %s", r.Status, r.Output())
	}
}

// opened is a line of strace about a file that is opened to write, made, renamed,
// changed or removed.
var opened = regexp.MustCompile(`(?m)^\d+ +(?:open(?:at)?\(.*(?:O_WRONLY|O_RDWR|O_CREAT)|(?:creat|mkdir|unlink|rename|link|symlink|mknod|f?chmod|l?chown|truncate)\w*\().*$`)

// TestWritesNothingElse: a gateway touches its control socket, and what belongs to its
// interface towards the kernel, and no other file.
func TestWritesNothingElse(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	calls := filepath.Join(t.TempDir(), "calls")
	g := l.StartXDPCTUnder(t, []string{"strace", "-D", "-f", "-y", "-e", "trace=%file,fchmod,fchown", "-o", calls},
		"--masquerade", "--helper", "ftp", "--confine=false")
	ping(t, l.Client, "-c2", "-i0.2", "-W2", lab.ServerAddr)
	g.Flows(t)
	g.Flush(t)
	g.Stop(t)
	var text []byte
	ended := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ exited`, g.Process.PID()))
	lab.Eventually(t, 10*time.Second, "strace has seen the end", func() bool {
		text, _ = os.ReadFile(calls)
		return ended.Match(text)
	})
	allowed := regexp.MustCompile(`"` + regexp.QuoteMeta(g.Control) + `"|"/dev/net/tun"|"/proc/sys/net/ipv[46]/conf/xdpct0/|fchmod\(\d+<socket:`)
	lines := opened.FindAllString(string(text), -1)
	if len(lines) == 0 {
		t.Fatalf("nothing was traced:\n%s", text)
	}
	for _, line := range lines {
		if !allowed.MatchString(line) {
			t.Errorf("touches another file: %s", line)
		}
	}
}

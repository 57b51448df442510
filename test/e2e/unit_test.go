package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// unitFile is the systemd unit.
const unitFile = "../../packaging/xdpct.service"

// unitSetting returns the values of a setting of the unit.
func unitSetting(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.Fields(value)
		}
	}
	t.Fatalf("the unit has no %s=", name)
	return nil
}

// TestUnit: systemd understands every line of the unit and finds it well confined, and it
// grants the capabilities that the gateway needs.
func TestUnit(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 1)
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	// Without what has to be installed for it.
	here := strings.NewReplacer("/usr/local/sbin/xdpct", lab.Binary(t), "Documentation=man:xdpct-run(1)\n", "").Replace(string(text))
	unit := filepath.Join(l.Dir, "xdpct.service")
	if err := os.WriteFile(unit, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := l.Gateway.Try("systemd-analyze", "verify", unit).Output(); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	l.Gateway.Run(t, "systemd-analyze", "security", "--offline=true", "--threshold=30", unit)
	var want []string
	for _, name := range neededCapabilities {
		want = append(want, "CAP_"+strings.ToUpper(name))
	}
	if got := unitSetting(t, "CapabilityBoundingSet"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the unit grants %v, needed are %v", got, want)
	}
}

// TestUnitAllowsWhatIsCalled: every system call of a whole life is one that the unit
// lets through.
func TestUnitAllowsWhatIsCalled(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	file := newFile(t, l.Serve(t, l.Server), "file.bin", 100_000)
	summary := filepath.Join(t.TempDir(), "summary")
	g := l.StartXDPCTUnder(t, []string{"strace", "-D", "-f", "-c", "-U", "name", "-o", summary}, "--masquerade", "--helper", "ftp",
		"--state", filepath.Join(l.Dir, "flows"))
	got := filepath.Join(l.Dir, "got")
	l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", got, ftpURL)
	checkSame(t, file, got)
	g.Flows(t)
	g.Flush(t)
	g.Stop(t)
	var called []byte
	lab.Eventually(t, 10*time.Second, "strace has counted", func() bool {
		called, _ = os.ReadFile(summary)
		return bytes.Contains(called, []byte("total"))
	})
	allowed := allowedCalls(t, l, unitSetting(t, "SystemCallFilter"))
	n := 0
	// A thread that ends while strace lets go of it has a line of its own.
	called = regexp.MustCompile(`(?m)^.*<detached \.\.\.>$`).ReplaceAll(called, nil)
	for _, name := range strings.Fields(string(called)) {
		if strings.HasPrefix(name, "-") || name == "syscall" || name == "total" {
			continue
		}
		n++
		if !allowed[name] {
			t.Errorf("the unit refuses %s", name)
		}
	}
	if n < 20 {
		t.Errorf("only %d system calls were seen:\n%s", n, called)
	}
}

// allowedCalls expands the groups of a SystemCallFilter.
func allowedCalls(t *testing.T, l *lab.Lab, filter []string) map[string]bool {
	t.Helper()
	allowed := map[string]bool{}
	for len(filter) > 0 {
		name := filter[0]
		filter = filter[1:]
		if !strings.HasPrefix(name, "@") {
			allowed[name] = true
			continue
		}
		for line := range strings.Lines(l.Gateway.Run(t, "systemd-analyze", "syscall-filter", name)) {
			if member := strings.TrimSpace(line); member != name && !strings.HasPrefix(member, "#") && member != "" {
				filter = append(filter, member)
			}
		}
	}
	return allowed
}

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// confinedVariable makes the test binary confine itself and try what it must not do.
const confinedVariable = "XDPCT_TEST_CONFINED"

// TestConfinedProcess: what a gateway has no use for is refused, in a thread that was there
// before too, and what it does goes on.
func TestConfinedProcess(t *testing.T) {
	if dir := os.Getenv(confinedVariable); dir != "" {
		for _, line := range tryEverything(dir) {
			fmt.Println(line)
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestConfinedProcess$")
	cmd.Env = append(os.Environ(), confinedVariable+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{
		"exec: operation not permitted", "mount: operation not permitted", "new namespace: operation not permitted",
		"perf event: operation not permitted", "ptrace: operation not permitted",
		"file: <nil>", "socket: <nil>", "netlink: <nil>",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "level=") {
		t.Errorf("confine complains:\n%s", out)
	}
}

// tryEverything returns what becomes of calls in a confined process.
func tryEverything(dir string) []string {
	ready, start, results := make(chan struct{}), make(chan struct{}), make(chan []string)
	go func() {
		runtime.LockOSThread() // so its thread is there before
		close(ready)
		<-start
		var lines []string
		for _, try := range []struct {
			name string
			err  func() error
		}{
			{"exec", func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) }},
			{"mount", func() error { return unix.Mount("none", dir, "tmpfs", 0, "") }},
			{"new namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }},
			{"perf event", func() error { _, err := unix.PerfEventOpen(&unix.PerfEventAttr{}, 0, -1, -1, 0); return err }},
			{"ptrace", func() error { return unix.PtraceAttach(os.Getppid()) }},
			{"file", func() error { return os.WriteFile(filepath.Join(dir, "f"), nil, 0o600) }},
			{"socket", func() error {
				l, err := net.Listen("unix", filepath.Join(dir, "s"))
				return errors.Join(err, l.Close())
			}},
			{"netlink", func() error { _, err := net.Interfaces(); return err }},
		} {
			lines = append(lines, fmt.Sprintf("%s: %v", try.name, try.err()))
		}
		results <- lines
	}()
	<-ready
	confine(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	close(start)
	return <-results
}

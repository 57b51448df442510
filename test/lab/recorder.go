package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Recorder keeps the events that a gateway tells.
type Recorder struct {
	process *Process
}

// Events starts to record what `conntrack -E` or `xdpct events` tells. The kernel's
// buffer holds a burst of some ten thousand events.
func (g *Gateway) Events(t testing.TB) *Recorder {
	t.Helper()
	if g.Kernel() {
		return g.record(t, "-b", "8388608")
	}
	return g.record(t)
}

// EventsIn is Events in a form of conntrack -o.
func (g *Gateway) EventsIn(t testing.TB, format string) *Recorder {
	t.Helper()
	return g.record(t, "-o", format)
}

// ExpectEvents starts to record what `conntrack -E expect` or `xdpct events
// expect` tells.
func (g *Gateway) ExpectEvents(t testing.TB) *Recorder {
	t.Helper()
	return g.record(t, "expect")
}

func (g *Gateway) record(t testing.TB, args ...string) *Recorder {
	t.Helper()
	if g.Kernel() {
		r := &Recorder{g.lab.Gateway.Start(t, append([]string{"conntrack", "-E"}, args...)...)}
		Eventually(t, 5*time.Second, "conntrack -E listens", func() bool {
			return g.lab.listensToNetfilter(t, r.process.PID())
		})
		return r
	}
	args = append(append([]string{g.binary, "events"}, args...), "--control", g.Control)
	r := &Recorder{g.lab.Gateway.Start(t, args...)}
	time.Sleep(400 * time.Millisecond) // until it has subscribed
	if !r.process.Running() {
		t.Fatalf("xdpct events ended at once:\n%s", r.process.Output())
	}
	return r
}

// listensToNetfilter tells whether a socket of the process has joined a group of
// the netfilter netlink family, which is what delivers events to it.
func (l *Lab) listensToNetfilter(t testing.TB, pid int) bool {
	t.Helper()
	sockets := make(map[string]bool)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatalf("conntrack -E has ended: %v", err)
	}
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			sockets[link] = true
		}
	}
	for _, line := range lines(l.Gateway.Run(t, "cat", "/proc/net/netlink")) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode; 12 is NETLINK_NETFILTER.
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == "12" && strings.Trim(f[3], "0") != "" && sockets["socket:["+f[9]+"]"] {
			return true
		}
	}
	return false
}

// Lines are the complete lines told so far.
func (r *Recorder) Lines() []string {
	out := r.process.Stdout()
	return lines(out[:strings.LastIndexByte(out, '\n')+1])
}

// Since are the complete lines told after the first offset bytes, and the offset
// behind them.
func (r *Recorder) Since(offset int) (told []string, next int) {
	out := r.process.StdoutFrom(offset)
	end := strings.LastIndexByte(out, '\n') + 1
	return lines(out[:end]), offset + end
}

// WaitFor waits up to 10 s for a line that matches.
func (r *Recorder) WaitFor(t testing.TB, pattern string) {
	t.Helper()
	r.process.WaitOutput(t, pattern, 10*time.Second)
}

// Matching are the lines told so far that match.
func (r *Recorder) Matching(pattern string) []string {
	re := regexp.MustCompile(pattern)
	var found []string
	for _, line := range r.Lines() {
		if re.MatchString(line) {
			found = append(found, line)
		}
	}
	return found
}

// Settle waits until nothing new has been told for a while, at most 5 s.
func (r *Recorder) Settle(quiet time.Duration) {
	last, since := -1, time.Now()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(25 * time.Millisecond) {
		if n := len(r.process.Stdout()); n != last {
			last, since = n, time.Now()
		} else if time.Since(since) >= quiet {
			return
		}
	}
}

// Stop ends the recording, as Ctrl-C does, and returns the lines.
func (r *Recorder) Stop(t testing.TB) []string {
	t.Helper()
	r.process.Signal(syscall.SIGINT)
	r.process.Wait(t, 5*time.Second)
	return r.Lines()
}

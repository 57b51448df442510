package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// lazy starts a gateway that gets a fifth of a CPU where a flood wants it, too, so that
// far more is offered than it can forward.
var lazy = []string{"nice", "-n", "3"}

// TestOverload offers a gateway with a full table far more than it can forward, from
// one side after the other. What is established goes on, as far as its packets do not
// come by the very queue that overflows; the control socket answers, memory stays as it
// is, and when the flood is over, so is its effect.
func TestOverload(t *testing.T) {
	lab.NeedsXDPCT(t)
	l := lab.New(t, 1)
	files := l.Serve(t, l.Server)
	file := newFile(t, files, "file.bin", 200_000_000)
	newFile(t, files, "small.bin", 100_000)
	g := l.StartXDPCTUnder(t, lazy, snat("--max-flows", "2048", "--dnat", "tcp:"+lab.NATAddr+":80=10.1.2.3:8080")...)
	t.Run("from-inside", func(t *testing.T) {
		udp, next := randomUDP(t, l)
		got := filepath.Join(l.Dir, "got.bin")
		checkFlood(t, l, g, got, "early_drop", func() *flood { return startFlood(t, l.Client, udp, next) },
			"curl", "-sS", "--limit-rate", "1M", "-o", got, "http://203.0.113.47/file.bin")
	})
	t.Run("from-outside", func(t *testing.T) {
		syn, next := randomSYN(t, l, 80)
		put := filepath.Join(files, "upload", "put.bin")
		checkFlood(t, l, g, put, "flows_new", func() *flood { return startFlood(t, l.Server, syn, next) },
			"curl", "-sS", "--limit-rate", "1M", "-T", file, "ftp://203.0.113.47/upload/put.bin")
	})
	got := filepath.Join(l.Dir, "small.bin")
	l.Client.Run(t, "curl", "-sS", "--max-time", "60", "--retry", "3", "-o", got, "http://203.0.113.47/small.bin")
	checkSame(t, filepath.Join(files, "small.bin"), got)
	lab.Eventually(t, 30*time.Second, "all frames are where they belong", func() bool { return g.Counters(t)["frames_missing"] == 0 })
}

// checkFlood lets a program move a file while a flood runs, which counter counts.
func checkFlood(t *testing.T, l *lab.Lab, g *lab.Gateway, path, counter string, start func() *flood, program ...string) {
	t.Helper()
	transfer := l.Client.Start(t, program...)
	defer func() {
		transfer.Signal(syscall.SIGKILL)
		transfer.Wait(t, 10*time.Second)
	}()
	arrived(t, path, 100_000)
	before := g.Counters(t)[counter]
	f := start()
	defer f.stop()
	lab.Eventually(t, 60*time.Second, "the flood has an effect", func() bool { return g.Counters(t)[counter] > before+20_000 })
	memory, size := residentBytes(t, g), fileSize(t, path)
	offered, taken := f.sent.Load(), g.Counters(t)["received"]
	arrived(t, path, size+2_000_000)
	if flows := strings.Join(g.Flows(t), "\n"); !strings.Contains(flows, "ESTABLISHED src=10.1.2.3 dst=203.0.113.47") {
		t.Errorf("the transfer's flow is not listed: %s", flows)
	}
	offered, taken = f.sent.Load()-offered, g.Counters(t)["received"]-taken
	if !transfer.Running() {
		t.Errorf("the transfer has ended: %s", transfer.Output())
	}
	if after := residentBytes(t, g); after > memory+8<<20 {
		t.Errorf("%d bytes resident, then %d", memory, after)
	}
	t.Logf("%d packets were sent while %d were taken from the queues", offered, taken)
}

// arrived waits until a file has grown to a size.
func arrived(t *testing.T, path string, size int64) {
	t.Helper()
	lab.Eventually(t, 60*time.Second, fmt.Sprintf("%d bytes of %s", size, filepath.Base(path)), func() bool { return fileSize(t, path) >= size })
}

// fileSize is 0 of a file that is not there.
func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// residentBytes is how much memory the gateway's process has.
func residentBytes(t *testing.T, g *lab.Gateway) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmRSS: %s", status)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

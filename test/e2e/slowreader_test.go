package e2e

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestStoppedReader stops a reader of events while many flows begin. The gateway
// forwards all of them, another reader sees all of them, and the stopped one is told
// of every event that it missed once it goes on.
func TestStoppedReader(t *testing.T) {
	lab.NeedsXDPCT(t)
	const flows = 20000
	l := lab.New(t, 2)
	g := l.StartGateway(t, snat()...)
	seen := g.Events(t)
	stopped := l.Gateway.Start(t, lab.Binary(t), "events", "-e", "NEW", "--control", g.Control)
	lab.Eventually(t, 5*time.Second, "both readers listen", func() bool { return g.Counters(t)["event_readers"] == 2 })
	stopped.Signal(syscall.SIGSTOP)

	l.Client.Run(t, "bash", "-c", `for ((p = 10000; p < 30000; p++)); do exec 3<>/dev/udp/203.0.113.47/$p; echo x >&3; done`)
	// A few packets may find the rings of the interfaces full, as with any reader.
	made, since := -1, time.Now()
	lab.Eventually(t, 20*time.Second, "the last packet is through", func() bool {
		if n := int(g.Counters(t)["flows_new"]); n != made {
			made, since = n, time.Now()
		}
		return made == flows || time.Since(since) > 2*time.Second
	})
	if made < flows*95/100 {
		t.Errorf("%d flows were made while a reader was stopped, want %d", made, flows)
	}
	lab.Eventually(t, 10*time.Second, "the other reader sees all flows", func() bool { return len(seen.Matching(`\[NEW\]`)) == made })
	missed := g.Counters(t)["events_missed"]
	if missed == 0 {
		t.Fatalf("nothing was missed: %d events fit into the buffers", flows)
	}

	stopped.Signal(syscall.SIGCONT)
	lab.Eventually(t, 10*time.Second, "the stopped reader has caught up", func() bool {
		return strings.Count(stopped.Stdout(), "[NEW]")+lostEvents(t, stopped.Output()) >= made
	})
	stopped.Signal(syscall.SIGINT)
	r := stopped.Wait(t, 5*time.Second)
	if shown, lost := strings.Count(r.Stdout, "[NEW]"), lostEvents(t, r.Stderr); shown+lost != made || uint64(lost) != missed {
		t.Errorf("it shows %d events and tells of %d lost ones; want %d together, %d lost", shown, lost, made, missed)
	}
	if n := len(seen.Matching(`lost`)); n != 0 {
		t.Errorf("the other reader is told of losses %d times", n)
	}
}

var lossNotice = regexp.MustCompile(`(\d+) events lost here`)

// lostEvents adds up what a reader was told on stderr.
func lostEvents(t *testing.T, stderr string) int {
	t.Helper()
	total := 0
	for _, m := range lossNotice.FindAllStringSubmatch(stderr, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}

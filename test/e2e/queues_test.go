package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestCrossedQueues checks what the tests with two queues rest on: that the
// directions of a flow come to different workers, and that both workers own
// flows and are handed packets of theirs.
func TestCrossedQueues(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	l.Cross(t)
	l.Server.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
	g := l.StartGateway(t, snat()...)
	const flows = 64
	l.Client.Run(t, "bash", "-c", fmt.Sprintf(`for i in {1..%d}; do exec 3<>/dev/udp/203.0.113.47/7; echo x >&3; read -t5 -N1 -u3; done`, flows))
	for i, w := range g.WorkerCounters(t) { // worker 0 from the client, 1 from the server
		t.Logf("worker %d: received %d, was handed %d, made %d flows", i, w["received"], w["handed_over"], w["flows_new"])
		if w["received"] < flows || w["received"] > flows+20 {
			t.Errorf("worker %d received %d packets, want %d and a few", i, w["received"], flows)
		}
		if w["flows_new"] < flows/8 {
			t.Errorf("worker %d made %d of %d flows", i, w["flows_new"], flows)
		}
		if w["handed_over"] < w["flows_new"] || w["handed_over"] > w["flows_new"]+20 {
			t.Errorf("worker %d was handed %d packets, want one of each of its %d flows", i, w["handed_over"], w["flows_new"])
		}
	}
}

// TestSteering checks what is said of interfaces whose spreading is not known.
func TestSteering(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	g := l.StartGateway(t, snat()...)
	if out := g.Command(t, "ports", "-o", "json"); strings.Count(out, `"steering": "ports"`) != 2 ||
		!strings.Contains(out, "does not tell its RSS key and table") {
		t.Errorf("two ports steered by port number, and why, expected in:\n%s", out)
	}
}

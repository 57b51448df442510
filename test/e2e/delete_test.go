package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestDelete removes flows by filter while others go on, and tells who did it.
func TestDelete(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Server.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
		g := l.StartGateway(t, snat()...)
		events := g.Events(t)
		ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
		session := l.Client.Start(t, "bash", "-c", "exec 3<>/dev/tcp/203.0.113.47/7; sleep 2; echo still >&3; read -t5 -u3 line; echo $line")
		events.WaitFor(t, `ESTABLISHED .* dport=7 .*\[ASSURED\]`)
		if out := g.Command(t, "flows", "-C"); strings.TrimSpace(out) != "2" {
			t.Errorf("%s flows, want 2", strings.TrimSpace(out))
		}
		if out := g.Command(t, "flows", "-p", "tcp", "--dport", "7", "-s", "10.1.2.0/24"); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "tcp ") {
			t.Errorf("the filter lists\n%s", out)
		}
		if out := g.Command(t, "delete", "-p", "icmp", "--icmp-type", "8"); !strings.HasPrefix(out, "icmp     1 ") || strings.Count(out, "\n") != 1 {
			t.Errorf("delete shows\n%s", out)
		}
		events.WaitFor(t, `\[DESTROY\] icmp     1 \d+ src=10\.1\.2\.3 .*\[USERSPACE\] portid=\d+ progname=xdpct$`)
		if out := g.Command(t, "flows"); strings.Contains(out, "icmp") || !strings.Contains(out, "tcp") {
			t.Errorf("after the deletion of icmp:\n%s", out)
		}
		session.WaitOutput(t, "still", 10*time.Second)
	})
}

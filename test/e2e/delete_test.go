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

// TestDeleteExpectation takes an expectation away before the connection comes that it
// announces, which is then refused as any other from outside.
func TestDeleteExpectation(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		newFile(t, l.Serve(t, l.Server), "file.bin", 1000)
		g := l.StartGateway(t, snat()...)
		events := g.ExpectEvents(t)
		l.Hold(t, "server")
		client := l.Client.Start(t, "curl", "-sS", "--max-time", "8", "--ftp-port", "-", ftpURL, "-o", "/dev/null")
		events.WaitFor(t, `\[NEW\] 300 `)
		if out := g.Command(t, "expectations", "-p", "tcp", "--dport", "21", "-s", "10.1.2.3"); strings.Count(out, "\n") != 1 {
			t.Errorf("the filter lists\n%s", out)
		}
		if out := g.Command(t, "delete", "expect", "--tuple-dst", lab.NATAddr, "--tuple-src", lab.ServerAddr); strings.Count(out, "helper=ftp\n") != 1 {
			t.Errorf("delete expect shows\n%s", out)
		}
		events.WaitFor(t, `\[DESTROY\] \d+ proto=6 `)
		l.Release(t, "server")
		if r := client.Wait(t, 15*time.Second); r.Status == 0 {
			t.Error("the data connection came through without its expectation")
		}
		c := g.Counters(t)
		if c["expect_new"] != 1 || c["expect_ended"] != 1 || c["expect_used"] != 0 || c["drop_external_new"] == 0 {
			t.Errorf("counted: %d made, %d ended, %d used, %d refused", c["expect_new"], c["expect_ended"], c["expect_used"], c["drop_external_new"])
		}
	})
}

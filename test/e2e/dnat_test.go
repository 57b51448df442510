package e2e

import (
	"path/filepath"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestDNAT reaches nginx and a UDP echo in the client's namespace from the server:
// by the NAT address and by the gateway's own outer address.
func TestDNAT(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Client), "file.bin", 5_000_000)
		l.Client.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
		g := l.StartGateway(t, snat(
			"--dnat", "tcp:198.51.100.32:8080=10.1.2.3:80",
			"--dnat", "tcp:203.0.113.1:8081=10.1.2.3:80",
			"--dnat", "udp:198.51.100.32:7007=10.1.2.3:7")...)
		events := g.Events(t)
		for name, address := range map[string]string{"nat": "198.51.100.32:8080", "own": "203.0.113.1:8081"} {
			t.Run(name, func(t *testing.T) {
				got := filepath.Join(l.Dir, name)
				l.Server.Run(t, "curl", "-sS", "--max-time", "15", "-o", got, "http://"+address+"/file.bin")
				checkSame(t, file, got)
			})
		}
		events.WaitFor(t, `\[NEW\] tcp +6 120 SYN_SENT src=203\.0\.113\.47 dst=198\.51\.100\.32 sport=(\d+) dport=8080 `+
			`\[UNREPLIED\] src=10\.1\.2\.3 dst=203\.0\.113\.47 sport=80 dport=\d+$`)
		t.Run("udp", func(t *testing.T) {
			out := l.Server.Run(t, "bash", "-c", `exec 3<>/dev/udp/198.51.100.32/7007; echo x >&3; read -t3 -N1 -u3 x; echo "$x"`)
			if out != "x\n" {
				t.Errorf("the echo behind DNAT answered %q", out)
			}
		})
		// The port next to it has no rule.
		if r := l.Server.Try("curl", "-sS", "--max-time", "2", "http://198.51.100.32:8079/"); r.Status == 0 {
			t.Error("a port without a rule is reached")
		}
	})
}

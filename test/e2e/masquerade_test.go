package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestMasquerade translates to the gateway's own outer address while the gateway
// itself stays reachable on all its addresses and reaches others, at once.
func TestMasquerade(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 5_000_000)
		l.Gateway.StartServer(t, "tcp", 2222, "socat", "TCP-LISTEN:2222,fork,reuseaddr", "SYSTEM:echo gateway")
		l.Server.StartServer(t, "udp", 7, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
		l.Server.StartServer(t, "tcp", 5201, "iperf3", "-s", "-1")
		g := l.StartGateway(t, "--masquerade", "--helper", "ftp")
		events := g.Events(t)
		// NAT traffic for the whole test.
		load := l.Client.Start(t, "iperf3", "-c", lab.ServerAddr, "-b20M", "-t60")
		events.WaitFor(t, `ESTABLISHED src=10\.1\.2\.3 .* dport=5201 src=203\.0\.113\.47 dst=203\.0\.113\.1 .*\[ASSURED\]$`)

		t.Run("nat", func(t *testing.T) {
			ping(t, l.Client, "-c3", "-i0.2", "-W2", lab.ServerAddr)
			for name, url := range map[string]string{"http": "http://203.0.113.47/file.bin", "ftp": ftpURL} {
				got := filepath.Join(l.Dir, name)
				l.Client.Run(t, "curl", "-sS", "--max-time", "20", "--ftp-port", "-", "-o", got, url)
				checkSame(t, file, got)
			}
			events.WaitFor(t, `\[NEW\] tcp .*src=203\.0\.113\.47 dst=203\.0\.113\.1 sport=20 dport=\d+ \[UNREPLIED\] src=10\.1\.2\.3 `)
		})
		t.Run("reach-the-box", func(t *testing.T) {
			for _, to := range []struct {
				from *lab.Namespace
				addr string
			}{
				{l.Client, lab.GatewayLAN}, {l.Client, lab.GatewayWAN}, {l.Server, lab.GatewayWAN},
			} {
				ping(t, to.from, "-c3", "-i0.2", "-W2", to.addr)
				out := to.from.Run(t, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/%s/2222; read -t5 -u3 line; echo "$line"`, to.addr))
				if strings.TrimSpace(out) != "gateway" {
					t.Errorf("%s: the service on %s answered %q", to.from.Name, to.addr, out)
				}
			}
		})
		t.Run("from-the-box", func(t *testing.T) {
			for _, addr := range []string{lab.ServerAddr, lab.ClientAddr} {
				ping(t, l.Gateway, "-c3", "-i0.2", "-W2", addr)
			}
			got := filepath.Join(l.Dir, "own")
			l.Gateway.Run(t, "curl", "-sS", "--max-time", "20", "-o", got, "http://203.0.113.47/file.bin")
			checkSame(t, file, got)
			out := l.Gateway.Run(t, "bash", "-c", `exec 3<>/dev/udp/203.0.113.47/7; echo x >&3; read -t3 -N1 -u3 x; echo "$x"`)
			if out != "x\n" {
				t.Errorf("the server's echo answered %q to the gateway", out)
			}
			r := l.Gateway.Try("bash", "-c", `exec 3<>/dev/udp/203.0.113.47/9; echo x >&3; sleep 0.5; echo x >&3`)
			if !strings.Contains(r.Stderr, "Connection refused") {
				t.Errorf("the gateway does not hear of a closed UDP port: %s", r.Output())
			}
		})
		if !load.Running() {
			t.Errorf("the NAT traffic has stopped: %s", load.Output())
		}
	})
}

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestIPv6 checks that IPv6 is forwarded as it is, without NAT, and tracked.
func TestIPv6(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 5_000_000)
		g := l.StartGateway(t, snat()...)
		events := g.Events(t)
		ping(t, l.Client, "-c3", "-i0.2", "-W2", lab.ServerAddr6)
		ping(t, l.Client, "-c2", "-i0.2", "-W2", "-s", "1400", lab.ServerAddr6)
		events.WaitFor(t, `\[UPDATE\] icmpv6   58 30 src=fd00:1:2::3 dst=2001:db8:113::47 type=128 code=0 id=(\d+) `+
			`src=2001:db8:113::47 dst=fd00:1:2::3 type=129 code=0 id=\d+$`)
		got := filepath.Join(l.Dir, "got.bin")
		l.Client.Run(t, "curl", "-6sS", "--max-time", "20", "-o", got, "http://[2001:db8:113::47]/file.bin")
		checkSame(t, file, got)
		events.WaitFor(t, `\[UPDATE\] tcp +6 432000 ESTABLISHED src=fd00:1:2::3 dst=2001:db8:113::47 sport=\d+ dport=80 `+
			`src=2001:db8:113::47 dst=fd00:1:2::3 sport=80 dport=\d+ \[ASSURED\]$`)
	})
}

// TestNAT66 translates IPv6 sources to one address and leads a port inside: ping, HTTP
// both ways, traceroute, errors from the other side and from the gateway itself.
func TestNAT66(t *testing.T) {
	lab.NeedsXDPCT(t) // the kernel is told of IPv4 addresses only
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 5_000_000)
		inside := newFile(t, l.Serve(t, l.Client), "file.bin", 2_000_000)
		g := l.StartGateway(t, nat66(t, l, "--dnat", "tcp:["+natAddr6+"]:8080=["+lab.ClientAddr6+"]:80")...)
		events := g.Events(t)
		t.Run("ping", func(t *testing.T) {
			ping(t, l.Client, "-6", "-c3", "-i0.2", "-W2", lab.ServerAddr6)
			events.WaitFor(t, `\[UPDATE\] icmpv6   58 30 src=fd00:1:2::3 dst=2001:db8:113::47 type=128 code=0 id=\d+ `+
				`src=2001:db8:113::47 dst=2001:db8:98::32 type=129 code=0 id=\d+$`)
		})
		t.Run("http", func(t *testing.T) {
			got := filepath.Join(l.Dir, "got.bin")
			l.Client.Run(t, "curl", "-6sS", "--max-time", "20", "-o", got, "http://["+lab.ServerAddr6+"]/file.bin")
			checkSame(t, file, got)
			events.WaitFor(t, `\[UPDATE\] tcp +6 432000 ESTABLISHED src=fd00:1:2::3 dst=2001:db8:113::47 sport=\d+ dport=80 `+
				`src=2001:db8:113::47 dst=2001:db8:98::32 sport=80 dport=\d+ \[ASSURED\]$`)
		})
		t.Run("dnat", func(t *testing.T) {
			got := filepath.Join(l.Dir, "inside.bin")
			l.Server.Run(t, "curl", "-6sS", "--max-time", "20", "-o", got, "http://["+natAddr6+"]:8080/file.bin")
			checkSame(t, inside, got)
		})
		t.Run("traceroute", func(t *testing.T) { checkTraceroute(t, l, "fd00:1:2::1", lab.ServerAddr6) })
		t.Run("port unreachable", func(t *testing.T) {
			r := l.Client.Try("bash", "-c", `exec 3<>/dev/udp/`+lab.ServerAddr6+`/9; echo x >&3; sleep 0.5; echo x >&3`)
			if r.Status == 0 || !strings.Contains(r.Stderr, "Connection refused") {
				t.Errorf("status %d, want Connection refused\n%s", r.Status, r.Output())
			}
		})
		t.Run("no route", func(t *testing.T) {
			r := l.Client.Try("ping", "-6", "-c1", "-W2", "2001:db8:dead::1")
			if !strings.Contains(r.Output(), "Destination unreachable: No route") {
				t.Errorf("want No route, got\n%s", r.Output())
			}
		})
	})
}

// TestPacketTooBig checks that TCP hears of a smaller link behind the gateway.
func TestPacketTooBig(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Gateway.Run(t, "ip", "link", "set", "wan", "mtu", "1400")
		g := l.StartGateway(t, nat66(t, l)...)
		upload := newFile(t, l.Dir, "upload.bin", 1_000_000)
		for family, address := range map[string]string{"4": lab.ServerAddr, "6": "[" + lab.ServerAddr6 + "]"} {
			before := g.Counters(t)["drop_too_big"]
			got := filepath.Join(l.Dir, "upload"+family)
			l.Server.StartServer(t, "tcp", 9, "socat", "-u", "TCP"+family+"-LISTEN:9,reuseaddr", "CREATE:"+got)
			l.Client.Run(t, "timeout", "20", "socat", "-u", "FILE:"+upload, "TCP:"+address+":9")
			lab.Eventually(t, 5*time.Second, "the file is there", func() bool {
				i, err := os.Stat(got)
				return err == nil && i.Size() == 1_000_000
			})
			checkSame(t, upload, got)
			if n := g.Counters(t)["drop_too_big"] - before; n == 0 || n > 100 {
				t.Errorf("IPv%s: %d packets were too big, want a few", family, n)
			}
		}
	})
}

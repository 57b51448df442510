package e2e

import (
	"path/filepath"
	"testing"

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

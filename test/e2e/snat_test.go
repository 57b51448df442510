package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// translated matches the reply tuple of a flow to port 80: NAT address and port.
var translated = regexp.MustCompile(`\[NEW\] tcp .* dport=80 \[UNREPLIED\] src=203\.0\.113\.47 dst=([0-9.]+) sport=80 dport=(\d+)`)

// TestPortCollision lets two clients use the same source port to the same server at
// the same time: one keeps it, the other has to get another one.
func TestPortCollision(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 3_000_000)
		l.Client.Run(t, "ip", "address", "add", "10.1.2.4/24", "dev", "eth0")
		g := l.StartGateway(t, snat()...)
		events := g.Events(t)
		var clients []*lab.Process
		for _, addr := range []string{lab.ClientAddr, "10.1.2.4"} {
			clients = append(clients, l.Client.Start(t, "curl", "-sS", "--max-time", "20", "--limit-rate", "2M",
				"--interface", addr, "--local-port", "40000", "-o", filepath.Join(l.Dir, addr), "http://203.0.113.47/file.bin"))
		}
		for _, c := range clients {
			if r := c.Wait(t, 30*time.Second); r.Status != 0 {
				t.Errorf("curl: status %d: %s", r.Status, r.Output())
			}
		}
		checkSame(t, file, filepath.Join(l.Dir, lab.ClientAddr))
		checkSame(t, file, filepath.Join(l.Dir, "10.1.2.4"))
		ports := make(map[string]int)
		for _, line := range events.Lines() {
			if m := translated.FindStringSubmatch(line); m != nil {
				ports[m[2]]++
			}
		}
		if len(ports) != 2 || ports["40000"] != 1 {
			t.Errorf("ports of the two flows: %v, want 40000 and another", ports)
		}
	})
}

// TestPoolWithPorts checks that a pool's address and port ranges are kept to, when
// the source ports lie outside of them.
func TestPoolWithPorts(t *testing.T) {
	lab.NeedsXDPCT(t) // nft wants such a rule for each protocol
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		newFile(t, l.Serve(t, l.Server), "file.bin", 10_000)
		g := l.StartGateway(t, "--snat", "198.51.100.40-198.51.100.43:10000-10999")
		events := g.Events(t)
		const flows = 40
		l.Client.Run(t, "bash", "-c", fmt.Sprintf(
			`for i in {1..%d}; do curl -sS --max-time 10 -o /dev/null http://203.0.113.47/file.bin & pids+=($!); done
			for pid in ${pids[@]}; do wait $pid; done`, flows))
		events.Settle(300 * time.Millisecond)
		seen := make(map[string]bool)
		for _, line := range events.Lines() {
			m := translated.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			seen[m[1]+":"+m[2]] = true
			port, err := strconv.Atoi(m[2])
			if err != nil || port < 10000 || port > 10999 || m[1] < "198.51.100.40" || m[1] > "198.51.100.43" {
				t.Errorf("outside of the pool: %s", line)
			}
		}
		if len(seen) != flows {
			t.Errorf("%d pairs of address and port for %d flows", len(seen), flows)
		}
	})
}

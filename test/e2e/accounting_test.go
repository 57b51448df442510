package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestCountsAddUp compares what flows count with what the ports received: every packet
// belongs to one flow and one direction, and a download of so many bytes has them.
func TestCountsAddUp(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		const size = 3_000_000
		newFile(t, l.Serve(t, l.Server), "file.bin", size)
		g := l.StartGateway(t, snat("--accounting")...)
		for _, url := range []string{"http://203.0.113.47/file.bin", "http://[2001:db8:113::47]/file.bin", ftpURL} {
			l.Client.Run(t, "curl", "-sS", "--max-time", "20", "-o", filepath.Join(l.Dir, "got.bin"), url)
		}
		ping(t, l.Client, "-c3", "-i0.2", "-W2", "-s", "1000", lab.ServerAddr)

		var lan, wan, received, expected uint64
		for _, f := range countedFlows(t, g) {
			lan += f.Original.Packets
			wan += f.Reply.Packets
			if f.Reply.Bytes > size {
				received += f.Reply.Bytes
				expected += size + 40*f.Reply.Packets // headers without options
			}
		}
		if received < expected || received > expected+expected/20 {
			t.Errorf("three downloads of %d bytes count %d, want %d and a little", size, received, expected)
		}
		var ports []struct {
			Name string
			RX   uint64 `json:"rx_packets"`
		}
		if err := json.Unmarshal([]byte(g.Command(t, "ports", "-o", "json")), &ports); err != nil {
			t.Fatal(err)
		}
		for _, p := range ports {
			want := map[string]uint64{"lan": lan, "wan": wan}[p.Name]
			// What a state machine lets pass but ignores, such as an old segment
			// that is sent again, is not counted. There are few of them.
			if p.RX < want || p.RX > want+want/100 {
				t.Errorf("%s received %d packets, the flows count %d", p.Name, p.RX, want)
			}
		}
	})
}

// countedFlow is what `xdpct flows -o json` tells of the counts of a flow.
type countedFlow struct {
	Original, Reply struct{ Packets, Bytes uint64 }
}

func countedFlows(t *testing.T, g *lab.Gateway) (flows []countedFlow) {
	t.Helper()
	for line := range strings.Lines(g.Command(t, "flows", "-o", "json")) {
		var f countedFlow
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		flows = append(flows, f)
	}
	return flows
}

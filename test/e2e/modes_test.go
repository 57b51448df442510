package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// TestModes carries a ping and a download through every mode that a veth pair
// can do, and checks that `xdpct ports` says which one it is.
func TestModes(t *testing.T) {
	lab.NeedsXDPCT(t)
	for _, mode := range []struct{ flags, ports string }{
		{"--xdp native --frame-size 4096 --ring-size 512", "native  copy"},
		{"--xdp generic --zerocopy off", "generic  copy"},
		{"--ring-size 64 --huge-pages off", "native  copy"},
		{"--busy-poll 20", "native  copy"},
		{"--spin", "native  copy"},
		{"--cpus 1 --max-flows 1M --timeouts rfc --log-format json", "native  copy"},
	} {
		t.Run(strings.ReplaceAll(mode.flags, " ", ""), func(t *testing.T) {
			l := lab.New(t, 2)
			file := newFile(t, l.Serve(t, l.Server), "file.bin", 3_000_000)
			g := l.StartGateway(t, snat(strings.Fields(mode.flags)...)...)
			ping(t, l.Client, "-c5", "-i0.1", "-W2", lab.ServerAddr)
			got := filepath.Join(l.Dir, "got")
			l.Client.Run(t, "curl", "-sS", "--max-time", "20", "-o", got, "http://203.0.113.47/file.bin")
			checkSame(t, file, got)
			if ports := g.Command(t, "ports"); strings.Count(ports, mode.ports) != 2 {
				t.Errorf("xdpct ports does not say %q of both ports:\n%s", mode.ports, ports)
			}
			if n := g.Counters(t)["frames_missing"]; n != 0 {
				t.Errorf("%d frames are in no place of the ledger", n)
			}
		})
	}
}

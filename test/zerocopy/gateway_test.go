package zerocopy

import (
	"encoding/json"
	"regexp"
	"slices"
	"syscall"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// gateway is an xdpct in the machine.
type gateway struct {
	*program
}

// startGateway starts xdpct on wan and, unless flags name other internal ports, lan,
// and waits until it forwards.
func (m *machine) startGateway(t *testing.T, flags ...string) *gateway {
	t.Helper()
	return m.gatewayBy(t, m.start, flags)
}

// gatewayBy is startGateway with another way to start a program.
func (m *machine) gatewayBy(t *testing.T, start func(*testing.T, ...string) *program, flags []string) *gateway {
	t.Helper()
	args := []string{"xdpct", "run", "--external", "wan", "--max-flows", "16k", "--helper", "ftp"}
	if !slices.Contains(flags, "--internal") {
		args = append(args, "--internal", "lan")
	}
	if !slices.Contains(flags, "--masquerade") {
		args = append(args, "--snat", lab.NATAddr)
	}
	g := &gateway{start(t, append(args, flags...)...)}
	t.Cleanup(func() {
		r := g.look(t)
		if t.Failed() {
			t.Logf("xdpct wrote:\n%s", r.Stderr)
			t.Logf("xdpct stats:\n%s", m.try(t, "xdpct", "stats").Stdout)
			t.Logf("xdpct ports:\n%s", m.try(t, "xdpct", "ports").Stdout)
		}
		if !r.Ended {
			g.stop(t)
		}
	})
	g.waitOutput(t, "msg=forwarding")
	return g
}

// stop ends xdpct as systemd does.
func (g *gateway) stop(t *testing.T) {
	t.Helper()
	g.signal(t, syscall.SIGTERM)
	if r := g.wait(t); r.Status != 0 {
		t.Errorf("xdpct ended with status %d after SIGTERM:\n%s", r.Status, r.Stderr)
	}
}

// counters are the totals of `xdpct stats` and those of each worker, by name.
func (g *gateway) counters(t *testing.T) (totals map[string]uint64, workers []map[string]uint64) {
	t.Helper()
	totals, workers, err := lab.ParseStats(g.m.run(t, "xdpct", "stats", "--all", "-o", "json"))
	if err != nil {
		t.Fatal(err)
	}
	return totals, workers
}

// checkMode demands that all ports have native XDP programs and this kind of frames,
// "zero-copy" or "copy".
func (g *gateway) checkMode(t *testing.T, want string) {
	t.Helper()
	var ports []struct {
		Name, Copy string
		Attach     string `json:"attach_mode"`
	}
	out := g.m.run(t, "xdpct", "ports", "-o", "json")
	if err := json.Unmarshal([]byte(out), &ports); err != nil {
		t.Fatalf("xdpct ports -o json: %v\n%s", err, out)
	}
	for _, p := range ports {
		if p.Attach != "native" || p.Copy != want {
			t.Errorf("%s is in %s mode, %s; want native, %s", p.Name, p.Attach, p.Copy, want)
		}
	}
	logged := regexp.MustCompile(`msg=port .*xdp=native copy=`+want+" ").FindAllString(g.look(t).Stderr, -1)
	if len(ports) < 2 || len(logged) != len(ports) {
		t.Errorf("%d ports, and the log tells of %d that are native, %s:\n%s", len(ports), len(logged), want, g.look(t).Stderr)
	}
}

// checkLedger demands that no frame is missing once all is quiet.
func (g *gateway) checkLedger(t *testing.T) {
	t.Helper()
	var c map[string]uint64
	lab.Eventually(t, patience, "no frame is missing", func() bool {
		c, _ = g.counters(t)
		return c["frames_missing"] == 0
	})
	sum := uint64(0)
	for _, place := range []string{"free", "kernel", "held", "fragments", "moving"} {
		sum += c["frames_"+place]
	}
	t.Logf("frames: %d = %d free + %d kernel + %d held + %d moving; received %d, tx_errors %d, drop_tx_ring_full %d", c["frames"], c["frames_free"], c["frames_kernel"], c["frames_held"], c["frames_moving"], c["received"], c["tx_errors"], c["drop_tx_ring_full"])
	if sum != c["frames"] {
		t.Errorf("%d frames in all places of the ledger, the UMEM has %d", sum, c["frames"])
	}
}

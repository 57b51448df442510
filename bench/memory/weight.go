package memory

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// weighedFrom is the number of flows from which on the memory of a flow can be
// told from that of everything else.
const weighedFrom = 100_000

// weight is what a translated flow takes in memory when the table is full: as
// the gateway counts it, and as the kernel does. It does not change from round to
// round, so it is taken once, and the gateway closed before the first round.
type weight struct {
	flows    int
	counted  float64 // bytes a flow: table and NAT mappings
	resident float64 // bytes a flow by which the process grew
}

func (s *weight) String() string { return fmt.Sprintf("memory flows=%d", s.flows) }

func (s *weight) memory() uint64 { return Set{Flows: s.flows}.memory() }

func (s *weight) prepare() error {
	// The same with next to no flows: frames, rings and the rest.
	empty, _, err := weigh(minFlows)
	if err != nil {
		return err
	}
	full, counted, err := weigh(s.flows)
	s.resident, s.counted = float64(full-empty)/float64(s.flows), float64(counted)/float64(s.flows)
	return err
}

// weigh fills a gateway with flows and returns by how many bytes the process
// grew, and how many the gateway counts for its tables.
func weigh(flows int) (grown int64, counted uint64, err error) {
	set := Set{Flows: flows, Proto: "udp", NAT: natSource}
	policy, err := set.policy(poolAddrs)
	if err != nil {
		return 0, 0, err
	}
	debug.FreeOSMemory() // else the process need not grow
	before, err := residentBytes()
	if err != nil {
		return 0, 0, err
	}
	t, err := newTraffic(set, flows, policy, longTimeouts())
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if closing := t.close(); err == nil {
			err = closing
		}
	}()
	// As many packets in either case, so that the same frames are touched.
	const packets = 8 * ringful
	if err := t.send(internal, packets, 0, func(i int) tuple { return set.tupleOf(i % min(flows, packets)) }); err != nil {
		return 0, 0, err
	}
	if err := t.send(internal, flows, 0, set.tupleOf); err != nil {
		return 0, 0, err
	}
	after, err := residentBytes()
	for _, c := range t.SharedStats() {
		if c.Name == "table_bytes" {
			counted = c.Value
		}
	}
	return after - before, counted, err
}

// residentBytes returns how much memory this process has touched, counted page
// by page: statm is behind by up to some hundred pages a CPU.
func residentBytes() (int64, error) {
	const path = "/proc/self/smaps_rollup"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "\nRss:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("%s: no resident size: %w", path, err)
	}
	return kib << 10, nil
}

func (s *weight) quantities() []quantity {
	params := func(part string) map[string]any {
		return map[string]any{"impl": "xdpct", "flows": s.flows, "load": 100, "part": part}
	}
	return []quantity{{params("table and nat"), "bytes/flow"}, {params("resident"), "bytes/flow"}}
}

func (s *weight) round(time.Duration) ([]float64, error) {
	return []float64{s.counted, s.resident}, nil
}

func (s *weight) close() error { return nil }

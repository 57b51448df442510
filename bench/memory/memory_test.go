package memory

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/bench"
)

// tiny makes every scenario run in a moment.
func tiny() Options {
	return Options{Flows: []int{64, 1000}, Rounds: 2, Time: time.Millisecond}
}

// labels of the records, each with its unit; every value must be plausible.
func labels(t *testing.T, records []bench.Record, rounds int) map[string]string {
	t.Helper()
	list := make(map[string]string)
	for i := range records {
		r := &records[i]
		if _, twice := list[r.Label()]; twice {
			t.Errorf("two records are %s", r.Label())
		}
		list[r.Label()] = r.Unit
		if r.Rounds != rounds || r.P10 > r.Median || r.Median > r.P90 || r.Median < 0 {
			t.Errorf("implausible: %+v", r)
		}
	}
	return list
}

// want fails unless the records have all of these labels, with a unit.
func want(t *testing.T, got map[string]string, unit string, labels ...string) {
	t.Helper()
	for _, l := range labels {
		if got[l] != unit {
			t.Errorf("%s: unit %q, want %q; there are:\n%s", l, got[l], unit,
				strings.Join(slices.Sorted(maps.Keys(got)), "\n"))
		}
	}
}

func TestPipeline(t *testing.T) {
	o := tiny()
	o.Bursts, o.Sizes = []int{1, 64}, []int{60, 1514}
	records, err := Pipeline(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := labels(t, records, 2)
	want(t, got, "ns/packet", "flows=64 nat=none proto=udp", "flows=1000 nat=snat proto=tcp", "flows=1000 nat=dnat proto=udp",
		"flows=1000 nat=dnat proto=tcp stage=translate", "burst=1 flows=1000 nat=snat proto=udp",
		"flows=1000 nat=snat proto=udp size=1514", "checksum=off flows=1000 nat=snat proto=udp size=60")
	for i := range records {
		if r := &records[i]; r.Params["stage"] == nil && r.Median == 0 {
			t.Errorf("a packet takes no time: %+v", r)
		}
	}
}

func TestPipelineWhileListed(t *testing.T) {
	p := &Path{Set: Set{Flows: 1000, Proto: "udp", NAT: natSource}, listed: true}
	records, err := measure(t.Context(), "pipeline", &Options{Rounds: 1, Time: time.Millisecond}, []subject{p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, labels(t, records, 1), "ratio", "flows=1000 nat=snat proto=udp while=listed")
}

func TestNewFlows(t *testing.T) {
	o := tiny()
	o.Flows = []int{1000}
	o.Uses = []int{50, 99}
	records, err := NewFlows(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := labels(t, records, 2)
	want(t, got, "flows/s", "flows=1000 nat=snat proto=udp", "flows=1000 nat=snat proto=tcp", "flows=32256 nat=snat pool_use=50 proto=udp")
	want(t, got, "%", "flows=63866 pool_use=99 result=refused")
}

func TestTable(t *testing.T) {
	o := tiny()
	o.Loads = []int{50, 100}
	o.Peers = []TablePeer{slowPeer{}}
	records, err := Table(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := labels(t, records, 2)
	want(t, got, "ns/op", "flows=64 impl=xdpct load=100 op=hit", "flows=1000 impl=xdpct load=50 op=expire",
		"flows=1000 impl=go map op=remove", "flows=64 impl=slow op=hit")
	want(t, got, "bytes/flow", "flows=1000 impl=xdpct load=100 part=table")
	want(t, got, "%", "flows=1000 impl=xdpct load=50 share=buckets that overflowed")
	want(t, got, "% of buckets", "flows=1000 impl=xdpct keys_in_bucket=12 load=100")
}

// slowPeer is a table of another implementation.
type slowPeer struct{}

func (slowPeer) Name() string                            { return "slow" }
func (slowPeer) Memory(int) uint64                       { return 0 }
func (slowPeer) Open(int) (PeerTable, error)             { return slowPeer{}, nil }
func (slowPeer) Round(time.Duration) (TableCosts, error) { return TableCosts{Hit: 1000}, nil }
func (slowPeer) Close() error                            { return nil }

func TestWeight(t *testing.T) {
	s := &weight{flows: weighedFrom}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	if s.counted < 64 || s.counted > 400 || s.resident < 32 || s.resident > 600 {
		t.Errorf("%v bytes a flow counted, %v resident", s.counted, s.resident)
	}
}

func TestTimers(t *testing.T) {
	records, err := Timers(t.Context(), tiny(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := labels(t, records, 2)
	want(t, got, "ns/op", "flows=64 op=arm", "flows=1000 op=rearm", "flows=1000 op=refresh", "flows=1000 op=expire", "flows=64 op=idle")
	want(t, got, "ns", "expiring=1000 part=burst stat=p99.9", "expiring=1000 part=tick stat=max", "expiring=0 part=burst stat=p50")
}

// The generator's flows are all different, and clients' ports are not reserved
// ones.
func TestTuplesDiffer(t *testing.T) {
	for _, nat := range DefaultNATs() {
		s := Set{NAT: nat}
		seen := make(map[tuple]int)
		ports := make(map[uint16]bool)
		for i := range 100_000 {
			tu := s.tupleOf(i)
			if before, twice := seen[tu]; twice {
				t.Fatalf("%s: flows %d and %d are %+v", nat, before, i, tu)
			}
			if tu.srcPort < firstPort {
				t.Fatalf("%s: flow %d has port %d", nat, i, tu.srcPort)
			}
			seen[tu], ports[tu.srcPort] = i, true
		}
		if len(ports) < portCount/2 {
			t.Errorf("%s: %d ports are used, want most", nat, len(ports))
		}
	}
}

// A packet that is dropped must not make a figure.
func TestADropIsAnError(t *testing.T) {
	p, err := NewPath(Set{Flows: 64, Proto: "tcp", NAT: natNone})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n, _, err := p.Pass(); err != nil || n != 2*ringful && n != 0 { // 0: disturbed
		t.Fatalf("%d packets, %v", n, err)
	}
	p.traffic.flows[0][0].dst++ // no handshake was made to there, and it has no loose pick-up
	p.traffic.flows[0][1].src = insideHosts
	if _, _, err := p.Pass(); err == nil || !strings.Contains(err.Error(), "dropped") {
		t.Errorf("error %v does not tell of dropped packets", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Flows: []int{1}}, "1 flows: not within 64-"},
		{Options{Bursts: []int{65}}, "65 packets in a burst"},
		{Options{Sizes: []int{1515}}, "1515 bytes in a frame"},
		{Options{Loads: []int{101}}, "101 percent of the table"},
		{Options{Uses: []int{0}}, "0 percent of the pool"},
		{Options{Protos: []string{"sctp"}}, `unknown protocol "sctp"`},
		{Options{NATs: []string{"nat64"}}, `unknown translation "nat64"`},
		{Options{Rounds: -1}, "-1 rounds"},
		{Options{Flows: []int{1 << 26}, NATs: DefaultNATs()}, "MiB of memory are needed"},
	} {
		if _, err := Pipeline(t.Context(), c.o, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.o, err, c.want)
		}
	}
}

func TestLoaded(t *testing.T) {
	for _, c := range []struct {
		flows []int
		want  int
	}{
		{[]int{1000, 10_000_000, 1_000_000}, 1_000_000}, {[]int{10_000_000, 1000}, 1000}, {[]int{10_000_000, 5_000_000}, 5_000_000},
	} {
		if got := (&Options{Flows: c.flows}).loaded(); got != c.want {
			t.Errorf("of %v flows %d are chosen, want %d", c.flows, got, c.want)
		}
	}
}

func TestCancelledBetweenRounds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	_, err := Timers(ctx, tiny(), func(string, int, int) {
		if steps++; steps == 4 {
			cancel()
		}
	})
	if err == nil || steps > 4 {
		t.Errorf("error %v after %d steps", err, steps)
	}
}

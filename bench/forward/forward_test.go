package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root for namespaces and BPF programs")
	}
}

// A quantile is the end of the bucket that holds it, as sink.c sorts times.
func TestQuantiles(t *testing.T) {
	bucketOf := func(ns uint64) int { // what record() does
		bit := 0
		for v := ns | 1<<subBits; v > 1; v >>= 1 {
			bit++
		}
		return bit<<subBits + int(ns>>(bit-subBits)&(1<<subBits-1))
	}
	var h histogram
	for ns := uint64(16); ns < 1_000_000; ns += 7 {
		h[bucketOf(ns)]++
	}
	for _, q := range []float64{0.1, 0.5, 0.99, 0.999} {
		want := q * 1e6
		got := float64(h.quantile(q))
		if got < want || got > want*17/16+1 {
			t.Errorf("quantile %v: %v ns, want %v to 1/16 more", q, got, want)
		}
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
}

// simulated forwards up to capacity and loses a share of noise whatever the rate.
func simulated(capacity, noise float64, trials *int) try {
	return func(rate float64) (*outcome, error) {
		*trials++
		rate = min(rate, 3e6)
		through := min(rate, capacity) * (1 - noise)
		return &outcome{sent: uint64(rate), received: uint64(through), rate: rate}, nil
	}
}

func TestSearchFindsTheHighestRate(t *testing.T) {
	for _, capacity := range []float64{40e3, 300e3, 1.17e6, 2.9e6} {
		trials := 0
		out, err := simulated(capacity, 0, &trials).highest(0.005)
		if err != nil || out == nil {
			t.Fatalf("capacity %.0f: %v, %v", capacity, out, err)
		}
		if out.rate < 0.97*capacity || out.loss() > 0.005 {
			t.Errorf("capacity %.0f: found %.0f with a loss of %.3f", capacity, out.rate, out.loss())
		}
		if trials > 30 {
			t.Errorf("capacity %.0f: %d trials", capacity, trials)
		}
	}
	trials := 0
	if out, err := simulated(1e9, 0, &trials).highest(0.005); err != nil || out.rate != 3e6 || trials != 1 {
		t.Errorf("the generator is the limit: %+v after %d trials, %v", out, trials, err)
	}
	if out, err := simulated(500e3, 0.01, &trials).highest(0.005); out != nil || err != nil {
		t.Errorf("a gateway that always loses 1 %%: %+v, %v", out, err)
	}
	broken := errors.New("broken")
	if _, err := try(func(float64) (*outcome, error) { return nil, broken }).highest(0); !errors.Is(err, broken) {
		t.Errorf("error of a trial: %v", err)
	}
}

func TestOptionsThatCannotBe(t *testing.T) {
	some := []Contender{Kernel()}
	for _, c := range []struct {
		options Options
		want    string
	}{
		{Options{}, "no contenders"},
		{Options{Contenders: some, Measures: []Measure{"speed"}}, `unknown measure "speed"`},
		{Options{Contenders: some, Flows: 1000}, "power of two"},
		{Options{Contenders: some, CPURates: []float64{1}}, "1 packets/s"},
		{Options{Contenders: some, Loss: 1}, "loss of 1"},
		{Options{Contenders: some, Arrivals: []Arrival{"both"}}, `unknown arrival "both"`},
		{Options{Contenders: some, Arrivals: []Arrival{ArrivalMixed}}, "gateway and generators share"},
		{Options{Contenders: []Contender{Redirect()}, Arrivals: []Arrival{ArrivalMixed}, Measures: []Measure{MeasureCPU}}, "one queue only"},
	} {
		if err := c.options.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.options, err, c.want)
		}
	}
}

func TestSamplesAreGrouped(t *testing.T) {
	var s samples
	for _, v := range []float64{3, 1, 2} {
		s.add(key{"a", MeasureCPU, 1e5, ""}, "ns/packet", v)
		s.add(key{"a", MeasureCPU, 1e5, ArrivalMixed}, "ns/packet", 10*v)
		s.add(key{"b", MeasureRate, nil, ""}, "packets/s", 100*v)
	}
	var got []string
	for _, r := range s.records(64) {
		got = append(got, r.Label())
		if r.Rounds != 3 {
			t.Errorf("%s: %d rounds", r.Label(), r.Rounds)
		}
	}
	want := []string{
		"contender=a flows=64 load=100000 measure=cpu",
		"arrival=mixed contender=a flows=64 load=100000 measure=cpu queues=2",
		"contender=b flows=64 measure=rate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// quick is as little as can be measured.
func quick(contenders ...Contender) Options {
	return Options{Contenders: contenders, Rounds: 1, Trial: 20 * time.Millisecond, Flows: 64, CPURates: []float64{20e3}}
}

// TestRunMeasures puts the kernel and the least program to load and looks whether
// there are records, and nothing else is left.
func TestRunMeasures(t *testing.T) {
	needRoot(t)
	var trials strings.Builder
	o := quick(Redirect(), KernelNAT())
	o.Trials = &trials
	records, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, r := range records {
		if r.Rounds != 1 || r.Median < 0 {
			t.Errorf("odd record: %+v", r)
		}
		seen[r.Params["contender"].(string)+" "+r.Params["measure"].(string)] = true
	}
	// How fast is not tested: the machine may have other things to do.
	for _, want := range []string{"generator rate", "xdp-redirect cpu", "kernel-nat cpu", "kernel-nat loss"} {
		if !seen[want] {
			t.Errorf("no record %q among %v", want, seen)
		}
	}
	if !strings.Contains(trials.String(), "kernel-nat sent=") {
		t.Errorf("trials were not told: %q", trials.String())
	}
	nothingLeft(t)
}

// TestRunMeasuresTwoQueues does so with a queue on each CPU.
func TestRunMeasuresTwoQueues(t *testing.T) {
	needRoot(t)
	o := quick(KernelNAT())
	o.Measures, o.Arrivals = []Measure{MeasureCPU}, []Arrival{ArrivalOwner, ArrivalMixed}
	records, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		got = append(got, r.Label())
	}
	want := []string{
		"arrival=owner contender=kernel-nat flows=64 load=20000 measure=cpu queues=2",
		"arrival=owner contender=kernel-nat flows=64 load=20000 measure=loss queues=2",
		"arrival=mixed contender=kernel-nat flows=64 load=20000 measure=cpu queues=2",
		"arrival=mixed contender=kernel-nat flows=64 load=20000 measure=loss queues=2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	nothingLeft(t)
}

// A contender that does not do its work must not get a record.
func TestRunNoticesWrongPackets(t *testing.T) {
	needRoot(t)
	liar := Kernel()
	liar.NAT = true
	_, err := Run(t.Context(), quick(liar), nil)
	if err == nil || !strings.Contains(err.Error(), "wrong source, TTL or MAC: for instance 10.10.0.") {
		t.Errorf("a gateway that does not translate: %v", err)
	}
	nothingLeft(t)
}

// An end before the end leaves nothing behind.
func TestRunEndsWithItsContext(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := quick(Kernel())
	o.Trial = time.Hour
	time.AfterFunc(700*time.Millisecond, cancel)
	begin := time.Now()
	if _, err := Run(ctx, o, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it cancelled", err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v to end", took)
	}
	nothingLeft(t)
}

// nothingLeft fails if a namespace of this process is there.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/xdpct-*-%d-*", os.Getpid()))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
}

func TestChecksumsOfSamples(t *testing.T) {
	good := make([]byte, frameSize)
	copy(good[offIP:], []byte{
		0x45, 0, 0, 46, 0, 0, 0x40, 0, 63, 17, 0x6b, 0xa0, 10, 10, 0, 2, 198, 18, 0, 1,
		4, 0, 0, 53, 0, 26, 0x2b, 0x66,
	})
	if err := checksums(good); err != nil {
		t.Errorf("right checksums: %v", err)
	}
	for at, want := range map[int]string{offIP + 15: "IP header checksum", frameSize - 1: "UDP checksum"} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if err := checksums(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("byte %d changed: got %v, want an error with %q", at, err, want)
		}
	}
}

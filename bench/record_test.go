package bench

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSummarize(t *testing.T) {
	samples := []float64{9, 1, 3, 7, 5, 2, 8, 4, 6, 10, 11}
	got := Summarize("pipeline", map[string]any{"flows": 10}, "ns/packet", samples)
	want := Record{Name: "pipeline", Params: map[string]any{"flows": 10}, Unit: "ns/packet", Median: 6, P10: 2, P90: 10, Rounds: 11}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if samples[0] != 9 {
		t.Error("the caller's samples were sorted")
	}
}

func TestSummarizeFewSamples(t *testing.T) {
	if r := Summarize("x", nil, "ns", nil); r.Median != 0 || r.P90 != 0 || r.Rounds != 0 {
		t.Errorf("no samples: %+v", r)
	}
	if r := Summarize("x", nil, "ns", []float64{5}); r.Median != 5 || r.P10 != 5 || r.P90 != 5 || r.Rounds != 1 {
		t.Errorf("one sample: %+v", r)
	}
	if r := Summarize("x", nil, "ns", []float64{4, 2}); r.Median != 3 || r.P10 != 2.2 || r.P90 != 3.8 {
		t.Errorf("two samples: %+v", r)
	}
}

func TestQuantile(t *testing.T) {
	sorted := []float64{10, 20, 30, 40}
	for _, c := range []struct{ q, want float64 }{{0, 10}, {1, 40}, {0.5, 25}, {1. / 3, 20}, {0.1, 13}} {
		if got := Quantile(sorted, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile %v: %v, want %v", c.q, got, c.want)
		}
	}
}

func TestSignificantDigits(t *testing.T) {
	for _, c := range []struct{ v, want float64 }{
		{0, 0}, {83.123456, 83.123}, {-83.123456, -83.123}, {1234567, 1234600}, {0.000123456789, 0.00012346}, {99999.6, 100000},
	} {
		if got := significant(c.v); got != c.want {
			t.Errorf("significant(%v) = %v, want %v", c.v, got, c.want)
		}
	}
}

func TestLabel(t *testing.T) {
	r := Record{Params: map[string]any{"proto": "udp", "flows": 10_000_000, "load": 99.5, "huge": 1e7, "cold": true}}
	if got, want := r.Label(), "cold=true flows=10000000 huge=10000000 load=99.5 proto=udp"; got != want {
		t.Errorf("label %q, want %q", got, want)
	}
}

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/bench/l2fwd"
)

func TestBenchL2fwdFlagsThatCannotBe(t *testing.T) {
	const a, b = "a=02:00:00:00:00:01", "b=02:00:00:00:00:02"
	for _, c := range []struct{ args, want string }{
		{"", "0 interfaces: give two"},
		{a, "1 interfaces: give two"},
		{a + " b", "b: want IF=MAC"},
		{a + " b=nobody", "invalid MAC address"},
		{a + " " + a, "two different interfaces"},
		{a + " " + b + " --ring-size 100", "ring size 100"},
		{a + " " + b + " --xdp hardware", "auto, native"},
		{a + " " + b + " --zerocopy maybe", "auto, on"},
		{a + " " + b + " -o xml", "text, json, csv, markdown"},
	} {
		r := runCommand(t, append([]string{"bench", "l2fwd"}, strings.Fields(c.args)...)...)
		checkOneLine(t, r, exitUsage)
		if !strings.Contains(r.stderr, c.want) {
			t.Errorf("xdpct bench l2fwd %s: %q does not say %q", c.args, r.stderr, c.want)
		}
	}
	r := runCommand(t, "bench", "l2fwd", "nosuch0=02:00:00:00:00:01", b)
	checkOneLine(t, r, exitFailed)
}

func TestL2fwdRecords(t *testing.T) {
	o := l2fwd.Options{Ports: [2]l2fwd.Port{{Name: "a"}, {Name: "b"}}}
	s := l2fwd.Stats{RX: [2]uint64{30, 10}, TX: [2]uint64{10, 25}, Dropped: [2]uint64{0, 5}, CPU: 8 * time.Microsecond}
	want := map[string]float64{
		"received by a": 30, "sent by a": 10, "dropped before a": 0,
		"received by b": 10, "sent by b": 25, "dropped before b": 5, "CPU time": 200,
	}
	list := l2fwdRecords("l2fwd", &o, &s)
	for _, r := range list {
		if what := r.Params["what"].(string); r.Median != want[what] {
			t.Errorf("%s: %v %s, want %v", what, r.Median, r.Unit, want[what])
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d records, want %d", len(list), len(want))
	}
}

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/bench"
)

// samples are records of every plot.
func samples() []bench.Record {
	var list []bench.Record
	add := func(name, unit string, value float64, params map[string]any) {
		list = append(list, bench.Summarize(name, params, unit, []float64{value, 1.1 * value, 1.2 * value}))
	}
	for i, flows := range []int{1_000, 100_000, 1_000_000} {
		v := float64(i + 1)
		for _, nat := range []string{"none", "snat"} {
			add("pipeline", "ns/packet", 50*v, map[string]any{"flows": flows, "proto": "udp", "nat": nat})
		}
		for _, stage := range []string{"rx", "parse", "lookup"} {
			add("pipeline", "ns/packet", 20*v, map[string]any{"flows": flows, "proto": "udp", "nat": "snat", "stage": stage})
		}
		add("table", "ns/op", 30*v, map[string]any{"flows": flows, "impl": "xdpct", "load": 100, "op": "hit"})
		add("table", "ns/op", 60*v, map[string]any{"flows": flows, "impl": "go map", "op": "hit"})
		add("newflows", "flows/s", 2e6/v, map[string]any{"flows": flows, "proto": "udp", "nat": "snat"})
		add("forward", "packets/s", 1e6*v, map[string]any{"contender": short(float64(flows))})
	}
	add("table", "ns/op", 25, map[string]any{"flows": 1_000_000, "impl": "xdpct", "load": 50, "op": "hit"})
	for _, stat := range []string{"p50", "max"} {
		add("timers", "ns", 5000, map[string]any{"expiring": 0, "part": "burst", "stat": stat})
		add("timers", "ns", 0, map[string]any{"expiring": 1_000_000, "part": "tick", "stat": stat})
	}
	return list
}

// resultFile writes records as xdpct bench does.
func resultFile(t *testing.T, records []bench.Record) string {
	t.Helper()
	var b bytes.Buffer
	w, err := bench.NewWriter(&b, "json")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "results.jsonl")
	for _, err := range []error{w.Begin(bench.Header{}), w.Write(records), os.WriteFile(name, b.Bytes(), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func TestEveryPlotIsDrawn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made by the program")
	var out strings.Builder
	if err := drawAll(dir, []string{resultFile(t, samples())}, &out); err != nil {
		t.Fatal(err)
	}
	for _, c := range charts() {
		for _, form := range []string{"svg", "png"} {
			if path := filepath.Join(dir, c.name+"."+form); !strings.Contains(out.String(), path) {
				t.Errorf("%s is not named in:\n%s", path, out.String())
			}
		}
		checkSVG(t, filepath.Join(dir, c.name+".svg"))
		checkPNG(t, filepath.Join(dir, c.name+".png"))
	}
}

// checkSVG reads the whole file as XML: an svg with shapes and text.
func checkSVG(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	seen := make(map[string]int)
	for dec := xml.NewDecoder(f); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		if e, ok := token.(xml.StartElement); ok {
			seen[e.Name.Local]++
		}
	}
	if seen["svg"] != 1 || seen["path"] < 3 || seen["text"] < 5 {
		t.Errorf("%s holds %v", path, seen)
	}
}

func checkPNG(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := png.Decode(f); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func TestPlotsWithoutRecordsAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	var only []bench.Record
	for _, r := range samples() {
		if r.Name == "newflows" {
			only = append(only, r)
		}
	}
	if err := drawAll(dir, []string{resultFile(t, only)}, io.Discard); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 2 { // fails on a bad pattern only
		t.Errorf("files %v, want newflows.png and .svg", files)
	}
	if err := drawAll(dir, []string{resultFile(t, nil)}, io.Discard); err == nil || !strings.Contains(err.Error(), "no results") {
		t.Errorf("error %v for a file without results", err)
	}
	if err := drawAll(dir, []string{filepath.Join(dir, "none")}, io.Discard); err == nil {
		t.Error("no error for a file that is not there")
	}
}

package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeRTEHash makes a program that behaves as the script says.
func fakeRTEHash(t *testing.T, script string) rteHash {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rte_hash")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return rteHash{path: path, record: true}
}

func TestRTEHashIsAskedAndAnswers(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "asked")
	r := fakeRTEHash(t, `echo "$*" >`+asked+`; echo ready; while read ms; do echo $ms 2.5 3 4; done`)
	table, err := r.Open(1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, ms := range []float64{20, 300} {
		c, err := table.Round(time.Duration(ms) * time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if c.Hit != ms || c.Miss != 2.5 || c.Insert != 3 || c.Remove != 4 {
			t.Errorf("got %+v, want %v 2.5 3 4", c, ms)
		}
	}
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	args, err := os.ReadFile(asked)
	if err != nil || string(args) != "-R -s -k 2 1000\n" {
		t.Errorf("started with %q, %v", args, err)
	}
}

func TestRTEHashThatFails(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"ends at once", "echo 'no memory' >&2; exit 1", "no memory"},
		{"says something else", "echo hello", `said "hello"`},
		{"answers nonsense", "echo ready; read ms; echo fast", `answered "fast"`},
		{"ends while it is asked", "echo ready; read ms; echo 'wrong answers' >&2; exit 1", "wrong answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, err := fakeRTEHash(t, c.script).Open(64)
			text := ""
			if err != nil {
				text = err.Error()
			} else {
				if _, err := table.Round(time.Millisecond); err != nil {
					text = err.Error()
				}
				if err := table.Close(); err != nil {
					text += err.Error()
				}
			}
			if !strings.Contains(text, c.want) {
				t.Errorf("got error %q, want one with %q", text, c.want)
			}
		})
	}
}

// TestRTEHash measures with the real program, where it is built.
func TestRTEHash(t *testing.T) {
	t.Chdir("../..")
	tables, missing := Tables()
	if missing != "" {
		t.Skip("NOT TESTED: " + missing)
	}
	for _, r := range tables {
		table, err := r.Open(1000)
		if err != nil {
			t.Fatal(err)
		}
		c, err := table.Round(40 * time.Millisecond)
		if err != nil {
			t.Error(err)
		}
		for _, ns := range []float64{c.Hit, c.Miss, c.Insert, c.Remove} {
			if ns < 1 || ns > 100_000 {
				t.Errorf("%s: %+v ns are not plausible", r.Name(), c)
			}
		}
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	}
}

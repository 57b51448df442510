package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestBenchFlagsThatCannotBe(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"bench", "no scenario"},
		{"bench pipe", `unknown command "pipe"`},
		{"bench pipeline -o xml", "text, json, csv, markdown"},
		{"bench pipeline --rounds 0", "0 rounds"},
		{"bench timers --time=-1s", "must be positive"},
		{"bench table --flows 3", "3 flows: not within 64-"},
		{"bench table --load 0", "0 percent of the table"},
		{"bench newflows --pool-use 101", "101 percent of the pool"},
		{"bench pipeline --proto sctp", `unknown protocol "sctp"`},
		{"bench pipeline --nat nat64", `unknown translation "nat64"`},
		{"bench pipeline --burst 65", "65 packets in a burst"},
		{"bench pipeline --load 50", "unknown flag"},
		{"bench report", "no file"},
	} {
		r := runCommand(t, strings.Fields(c.args)...)
		checkOneLine(t, r, exitUsage)
		if !strings.Contains(r.stderr, c.want) {
			t.Errorf("xdpct %s: %q does not say %q", c.args, r.stderr, c.want)
		}
	}
}

// Each line of -o json is an object: the machine, then the results.
func TestBenchPrintsJSONLines(t *testing.T) {
	r := runCommand(t, "bench", "pipeline", "-o", "json", "--flows", "64", "--rounds", "1", "--time", "1ms", "--nat", "none", "--proto", "udp")
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != exitOK || len(lines) < 3 {
		t.Fatalf("exit %d, %s\n%s", r.code, r.stderr, r.stdout)
	}
	for i, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Errorf("line %d: %v: %s", i+1, err, line)
		}
		want := "name"
		if i == 0 {
			want = "machine"
		}
		if fields[want] == nil {
			t.Errorf("line %d has no %s: %s", i+1, want, line)
		}
	}
	if r.stderr != "" {
		t.Errorf("progress where there is no terminal: %q", r.stderr)
	}
	reportsAgain(t, r.stdout)
}

// reportsAgain prints results from a file as CSV.
func reportsAgain(t *testing.T, results string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "results.jsonl")
	if err := os.WriteFile(name, []byte(results), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runCommand(t, "bench", "report", "-o", "csv", name)
	want := "name,flows,nat,proto,stage,unit,median,p10,p90,rounds\npipeline,64,none,udp,,ns/packet,"
	if r.code != exitOK || !strings.Contains(r.stdout, want) {
		t.Errorf("exit %d, %s\n%s", r.code, r.stderr, r.stdout)
	}
	r = runCommand(t, "bench", "report", name+".not")
	checkOneLine(t, r, exitFailed)
	if !strings.Contains(r.stderr, "no such file") {
		t.Errorf("a file that is not there: %q", r.stderr)
	}
}

// --quick gives way to flags that are given.
func TestBenchQuick(t *testing.T) {
	for _, c := range []struct {
		args   string
		rounds int
		flows  int // how many numbers
	}{
		{"", 7, 4}, {"--quick", 3, 3}, {"--quick --rounds 5", 5, 3}, {"--quick --flows 100,200", 3, 2},
	} {
		var b benchFlags
		cmd := &cobra.Command{Use: "all"}
		b.register(cmd, "all")
		if err := cmd.ParseFlags(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		if err := b.complete(cmd); err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		if b.memory.Rounds != c.rounds || len(b.memory.Flows) != c.flows {
			t.Errorf("%q: %d rounds of %v flows, want %d of %d numbers", c.args, b.memory.Rounds, b.memory.Flows, c.rounds, c.flows)
		}
	}
}

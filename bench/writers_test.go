package bench

import (
	"bytes"
	"encoding/csv"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

var sampleHeader = Header{
	Machine: Machine{
		CPU: "Imagined CPU", Cores: 4, Usable: 2, Virtual: true, Cache: "32768K", Memory: 16 << 30, Governor: "performance",
		Kernel: "6.1.0", Mitigations: map[string]string{"spectre_v2": "Mitigation: IBRS"}, HugePages: "madvise", Reserved: 8,
		Go: "go1.26.0", GOAMD64: "v1", PGO: true, Version: "v1.2.3", Commit: "0123abc",
	},
	Settings: map[string]any{"cpu": 1, "rounds": 5, "time": "1s"},
}

var sampleRecords = []Record{
	Summarize("pipeline", map[string]any{"flows": 1000000, "proto": "udp", "nat": "snat"}, "ns/packet", []float64{131.25, 128.5, 140}),
	Summarize("pipeline", map[string]any{"flows": 1000, "proto": "tcp", "nat": "none"}, "ns/packet", []float64{69, 70.25}),
	Summarize("pipeline", map[string]any{"flows": 1000, "proto": "tcp", "stage": "parse"}, "ns/packet", []float64{8.125}),
	Summarize("table", map[string]any{"flows": 10000000, "key": "a, \"b\""}, "bytes/flow", []float64{77.3}),
	Summarize("newflows", map[string]any{"flows": 1000}, "flows/s", []float64{1.7e6, 1.6e6, 1.8e6}),
}

// write prints the samples in one form, the last two records as a scenario of
// their own.
func write(t *testing.T, format string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, format)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{w.Begin(sampleHeader), w.Write(sampleRecords[:3]), w.Write(sampleRecords[3:]), w.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			got := write(t, format)
			path := filepath.Join("testdata", format+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got; if it is meant: go test ./bench -update):\n%s", path, diff)
			}
		})
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := NewWriter(nil, "xml"); err == nil || !strings.Contains(err.Error(), "text, json, csv, markdown") {
		t.Errorf("error %v does not list the forms", err)
	}
}

func TestJSONLinesAreReadBack(t *testing.T) {
	text := write(t, "json")
	runs, err := Read(strings.NewReader(text + text))
	if err != nil {
		t.Fatal(err)
	}
	if len(runs) != 2 || len(runs[1].Records) != len(sampleRecords) {
		t.Fatalf("%d runs were read, want 2 of %d records", len(runs), len(sampleRecords))
	}
	if diff := cmp.Diff(sampleHeader.Machine, runs[0].Header.Machine); diff != "" {
		t.Error(diff)
	}
	for i, got := range runs[1].Records {
		if got.Label() != sampleRecords[i].Label() || got.Median != sampleRecords[i].Median || got.Rounds != sampleRecords[i].Rounds {
			t.Errorf("record %d: %+v, want %+v", i, got, sampleRecords[i])
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{\"name\":\"x\"}\n", "machine is missing"},
		{"{\"machine\":{},\"settings\":{}}\n{}\n", "line 2 of the results is neither"},
		{"{\"machine\":{},\"settings\":{}}\nnonsense\n", "line 2"},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestCSVIsWellFormed(t *testing.T) {
	r := csv.NewReader(strings.NewReader(write(t, "csv")))
	r.Comment = '#'
	rows, err := r.ReadAll() // refuses rows of different lengths
	if err != nil || len(rows) != 1+len(sampleRecords) {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p, wipe := lineProgress(&b)
	p.Step("pipeline flows=1000", 2, 8)
	wipe()
	if got, want := b.String(), "\r\x1b[K[3/8] pipeline flows=1000\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	none, wipe := TerminalProgress(file)
	if none != nil {
		t.Error("progress on what is no terminal")
	}
	none.Step("nobody is told", 0, 1)
	wipe()
}

func TestReadMachine(t *testing.T) {
	m := ReadMachine("v9")
	if m.Kernel == "" || m.Cores < 1 || m.Usable < 1 || m.Memory == 0 || m.Go == "" || m.Version != "v9" {
		t.Errorf("%+v", m)
	}
	if got := chosen("always [madvise] never"); got != "madvise" {
		t.Errorf("chosen %q", got)
	}
}

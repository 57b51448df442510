package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/xdpct/xdpct/control"
)

// writeConfig writes a file of flags and returns its path.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigFileHoldsFlags(t *testing.T) {
	path := writeConfig(t, "# comment\n\n--internal in0\n  --external\tout0  \n--snat=198.51.100.1\n--snat 198.51.100.2\n"+
		"--dnat tcp:198.51.100.1:443=10.0.0.5:8443\n--accounting\n--tcp-loose=false\n--max-flows 4M\n--state /tmp/x")
	cfg, err := parseArgs(t, "--config", path)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Internal, []string{"in0"}) || len(cfg.SNAT) != 2 || len(cfg.DNAT) != 1 || !cfg.Accounting ||
		cfg.Tracker.TCPLoose || cfg.MaxFlows != 4_000_000 || cfg.State != "/tmp/x" {
		t.Errorf("%+v", cfg)
	}
}

// What the command line says holds, whatever the file says of it.
func TestCommandLineOverrulesConfigFile(t *testing.T) {
	path := writeConfig(t, "--internal in0\n--external out0\n--snat 198.51.100.1\n--snat 198.51.100.2\n--max-flows 4M\n--accounting\n")
	cfg, err := parseArgs(t, "--max-flows", "5000", "--config", path, "--snat", "198.51.100.9", "--accounting=false")
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.SNAT) != 1 || cfg.SNAT[0].First.String() != "198.51.100.9" || cfg.MaxFlows != 5000 || cfg.Accounting || len(cfg.External) != 1 {
		t.Errorf("%+v", cfg)
	}
}

func TestWrongConfigFiles(t *testing.T) {
	for text, want := range map[string]string{
		"--internal in0\n--frob x":         ":2: unknown flag: --frob",
		"\nsnat 198.51.100.1":              ":2: \"snat 198.51.100.1\": give one flag in each line",
		"--snat":                           ":1: flag needs an argument: --snat",
		"--config /etc/other":              ":1: --config: a file names no other",
		"--tcp-loose perhaps":              ":1: invalid argument",
		"--internal in0\n--external out0":  "no source translation",
		"--internal in0 --external out0\n": "no interface name",
	} {
		_, err := parseArgs(t, "--config", writeConfig(t, text))
		if err == nil || exitCode(err) != exitUsage || !strings.Contains(errorLine(nil, err), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	if _, err := parseArgs(t, "--config", "/does/not/exist"); exitCode(err) != exitFailed {
		t.Errorf("no file: %v", err)
	}
}

// newTestReloader returns a reloader of a gateway that was started with a file.
func newTestReloader(t *testing.T, text string) (*reloader, string) {
	t.Helper()
	path := writeConfig(t, text)
	given := pflag.NewFlagSet("run", pflag.ContinueOnError)
	new(runFlags).register(given)
	if err := given.Parse([]string{"--config", path}); err != nil {
		t.Fatal(err)
	}
	_, now, err := readRun(given)
	if err != nil {
		t.Fatal(err)
	}
	return &reloader{given: given, now: now, log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar)}, path
}

// What cannot be changed in place is refused by name before the gateway, which is
// none here, is touched.
func TestReloadRefuses(t *testing.T) {
	const ports = "--internal in0\n--external out0\n--masquerade\n"
	for text, want := range map[string]string{
		ports + "--max-flows 5000\n--queues 2\n":          "--queues, --max-flows cannot change while the gateway runs",
		ports + "--control /tmp/x\n--timeout udp=5s\n":    "--control cannot change",
		"--internal in1\n--external out0\n--masquerade\n": "--internal cannot change",
		ports + "--frob\n":                                "unknown flag: --frob",
		ports + "--snat 198.51.100.1\n--max-flows 5000\n": "exclude each other",
	} {
		r, path := newTestReloader(t, ports)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		before := r.now
		if _, err := r.reload(t.Context(), control.ReloadRequest{}); err == nil || !strings.Contains(err.Error(), want) || r.now != before {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	r, path := newTestReloader(t, ports)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.reload(t.Context(), control.ReloadRequest{}); err == nil || exitCode(err) != exitFailed {
		t.Errorf("without the file: %v", err)
	}
	if err := r.given.Set("config", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.reload(t.Context(), control.ReloadRequest{}); !errors.Is(err, errNoConfig) {
		t.Errorf("without --config: %v", err)
	}
}

// Each flag that can change in place is a flag.
func TestReloadableFlagsExist(t *testing.T) {
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	new(runFlags).register(flags)
	for _, name := range reloadableNames {
		if flags.Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
}

func TestReloadCommand(t *testing.T) {
	_, path := newStub(t, 0)
	if r := runCommand(t, "reload", "--flush", "--control", path); r.code != exitOK || r.stdout != "changed: --snat, --timeout\n" ||
		!strings.Contains(r.stderr, "7 flow entries have been deleted") {
		t.Errorf("%+v", r)
	}
	r := runCommand(t, "reload", "--control", path)
	checkOneLine(t, r, exitUsage)
	if !strings.Contains(r.stderr, "/etc/x:3: unknown flag: --frob") {
		t.Errorf("%q", r.stderr)
	}
}

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// result is what a command did.
type result struct {
	code           int
	stdout, stderr string
}

// runCommand runs a command line in this process.
func runCommand(t *testing.T, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
	code := execute(t.Context(), e, args)
	return result{code, out.String(), errs.String()}
}

// everyCommand visits the tree below root, without what cobra adds.
func everyCommand(t *testing.T, visit func(*cobra.Command)) {
	t.Helper()
	e := &env{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), getenv: os.Getenv}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		visit(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(e))
}

func TestCommandsAreTheDocumentedOnes(t *testing.T) {
	var got []string
	everyCommand(t, func(c *cobra.Command) {
		if c.Parent() == c.Root() && c != c.Root() {
			got = append(got, c.Name())
		}
	})
	want := "bench check delete events expectations flows flush man ports reload run stats timeouts version"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("commands %s, want %s", s, want)
	}
}

func TestEveryCommandAnswersHelp(t *testing.T) {
	everyCommand(t, func(c *cobra.Command) {
		args := strings.Fields(c.CommandPath())[1:]
		r := runCommand(t, append(args, "--help")...)
		if r.code != exitOK || r.stderr != "" || !strings.Contains(r.stdout, "Usage:") || c.Short == "" {
			t.Errorf("%s --help: code %d, stderr %q, stdout %q", c.CommandPath(), r.code, r.stderr, r.stdout)
		}
		if again := runCommand(t, append(args, "--help")...); again != r {
			t.Errorf("%s --help is not stable", c.CommandPath())
		}
	})
}

func TestEveryFlagStatesItsDefault(t *testing.T) {
	everyCommand(t, func(c *cobra.Command) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			text := f.Usage
			if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" {
				text += " (default " + f.DefValue + ")" // pflag prints it
			}
			if !strings.Contains(text, "default") {
				t.Errorf("%s --%s: %q tells no default", c.CommandPath(), f.Name, f.Usage)
			}
			if f.Value.Type() != "bool" && !strings.Contains(f.Usage, "`") {
				t.Errorf("%s --%s: %q does not name the kind of its value", c.CommandPath(), f.Name, f.Usage)
			}
		})
	})
}

func TestWrongUsageIsOneLineAndCodeTwo(t *testing.T) {
	cases := [][]string{
		{}, {"frobnicate"}, {"--frob"}, {"flows", "--frob"}, {"flows", "extra"}, {"flows", "-p", "foo"},
		{"flows", "-p", "foo", "-C"}, {"flows", "-o", "yaml"}, {"flows", "-o", "save,id"}, {"flows", "-o", "xml,json"}, {"flows", "--icmp-type", "256"}, {"flows", "--mask-src", "255.0.255.0", "-s", "10.0.0.1"}, {"flows", "-m", "x"}, {"flows", "-i", "x"}, {"delete", "--tuple-src", "10.0.0.1"}, {"delete", "expect"}, {"delete", "expect", "--state", "CLOSE"}, {"flush", "all"}, {"flows", "10.0.0.1"}, {"flows", "-n", "-g", "10.0.0.1"}, {"flows", "-n", "host"}, {"flows", "-n", "10.0.0.1/99"}, {"flows", "-G", "-p", "tcp", "-s", "10.0.0.1"}, {"flows", "-o", "json,proc"}, {"flows", "-s"},
		{"events", "flows"}, {"events", "expect", "expect"}, {"events", "expect", "-p", "tcp"},
		{"events", "-e", "OLD"}, {"events", "-o", "proc"}, {"expectations", "-o", "ktimestamp"},
		{"delete"}, {"delete", "--sport", "0"}, {"flush", "now"}, {"stats", "-o", "yaml"}, {"ports", "-o", "yaml"},
		{"version", "-o", "yaml"}, {"version", "x"}, {"run"}, {"run", "--queues"}, {"check", "--internal", "a"},
	}
	for _, args := range cases {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r := runCommand(t, args...)
			checkOneLine(t, r, exitUsage)
			if !strings.Contains(r.stderr, "--help)") {
				t.Errorf("%q does not lead to the help", r.stderr)
			}
		})
	}
}

// checkOneLine asserts an exit code and exactly one line, on stderr.
func checkOneLine(t *testing.T, r result, code int) {
	t.Helper()
	if r.code != code || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "xdpct: ") {
		t.Errorf("code %d, want %d; stdout %q, stderr %q", r.code, code, r.stdout, r.stderr)
	}
}

func TestNoGatewayIsOneLineAndCodeOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, args := range [][]string{
		{"flows"}, {"flows", "-C"}, {"events"}, {"expectations"}, {"stats"}, {"ports"}, {"flush"}, {"delete", "-p", "tcp"},
	} {
		r := runCommand(t, append(args, "--control", path)...)
		checkOneLine(t, r, exitFailed)
		if !strings.Contains(r.stderr, path) || !strings.Contains(r.stderr, "xdpct run") {
			t.Errorf("%v: %q does not say where and what to do", args, r.stderr)
		}
	}
}

func TestExitCodesOfTheBinary(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "xdpct")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v9.8.7", "-o", bin, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	missing := filepath.Join(t.TempDir(), "s")
	cases := []struct {
		name string
		args []string
		code int
		want string // in stdout, or in stderr when the code is not 0
	}{
		{"version", []string{"version"}, 0, "xdpct v9.8.7 (commit "},
		{"help", []string{"help", "run"}, 0, "--internal"},
		{"no gateway", []string{"flows", "--control", missing}, 1, "no gateway answers"},
		{"wrong flag", []string{"flows", "--nope"}, 2, "unknown flag: --nope"},
		{"run without interfaces", []string{"run"}, 2, "--internal is missing"},
		{"interface that is not there", []string{"check", "--internal", "nope0", "--external", "nope1", "--masquerade", "--control", missing}, 3, "cannot run"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(context.Background(), bin, c.args...)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			_ = cmd.Run()
			text := out.String()
			if c.code != 0 {
				text = errs.String()
				if strings.Count(text, "\n") != 1 {
					t.Errorf("stderr is not one line: %q", text)
				}
			}
			if got := cmd.ProcessState.ExitCode(); got != c.code || !strings.Contains(text, c.want) {
				t.Errorf("code %d, want %d; %q, want %q", got, c.code, text, c.want)
			}
		})
	}
}

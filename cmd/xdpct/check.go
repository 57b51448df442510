package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// level says how bad a finding is.
type level string

// The levels.
const (
	levelOK   level = "ok"
	levelWarn level = "warn" // it runs, but slower or not as one may expect
	levelFail level = "fail" // it would not run
)

// finding is one line of check.
type finding struct {
	Level   level  `json:"level"`
	Subject string `json:"subject"`        // "kernel", "eth0", ...
	Text    string `json:"text"`           // what there is
	Todo    string `json:"todo,omitempty"` // what to do about it
}

// findings are the lines of check in the order in which they are shown.
type findings []finding

func (f *findings) ok(subject, format string, args ...any) {
	*f = append(*f, finding{Level: levelOK, Subject: subject, Text: fmt.Sprintf(format, args...)})
}

func (f *findings) warn(subject, text, todo string) {
	*f = append(*f, finding{Level: levelWarn, Subject: subject, Text: text, Todo: todo})
}

func (f *findings) fail(subject, text, todo string) {
	*f = append(*f, finding{Level: levelFail, Subject: subject, Text: text, Todo: todo})
}

// canRun reports whether no finding is a failure.
func (f findings) canRun() bool {
	for _, x := range f {
		if x.Level == levelFail {
			return false
		}
	}
	return true
}

// newCheckCommand looks at the machine.
func newCheckCommand(e *env) *cobra.Command {
	var flags runFlags
	var output string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell what would stop or slow a run, without touching anything",
		Long: `Tell line by line what would stop (fail) or slow (warn) a run with the same
flags, and what to do about it. Nothing is changed.

The exit code is 0 if the gateway can run and 3 if it cannot.`,
		Example: "  xdpct check --internal eth1 --external eth0 --masquerade",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := readRun(cmd.Flags())
			if err != nil {
				return err
			}
			q, err := outputQuery(output)
			if err != nil {
				return err
			}
			found := checkAll(&cfg, readMachine(&cfg))
			if q.Get("format") == "json" {
				err = writeFindingsJSON(e.stdout, found)
			} else {
				err = writeFindings(e.stdout, found)
			}
			if err == nil && !found.canRun() {
				return errCannotRun
			}
			return err
		},
	}
	flags.register(cmd.Flags())
	outputFlag(cmd, &output)
	return cmd
}

// checkAll judges a machine. It is pure: m holds all that was read.
func checkAll(cfg *runConfig, m *machine) findings {
	var f findings
	f.checkKernel(m)
	f.checkCapabilities(m)
	f.checkMemory(cfg, m)
	f.checkCPUs(cfg, m)
	f.checkControl(cfg, m)
	f.checkState(cfg, m)
	for i := range m.ports {
		f.checkPort(cfg, &m.ports[i])
	}
	f.checkQueues(cfg, m)
	f.checkSteering(cfg, m)
	f.checkRouting(m)
	return f
}

// writeFindings prints one line a finding.
func writeFindings(w io.Writer, found findings) error {
	for _, x := range found {
		line := fmt.Sprintf("%-4s  %-14s %s", x.Level, x.Subject, x.Text)
		if x.Todo != "" {
			line += ": " + x.Todo
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// writeFindingsJSON prints one object with the verdict and the findings.
func writeFindingsJSON(w io.Writer, found findings) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		CanRun   bool     `json:"can_run"`
		Findings findings `json:"findings"`
	}{found.canRun(), found})
}

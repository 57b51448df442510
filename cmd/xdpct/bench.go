package main

import (
	"context"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/bench/memory"
)

const benchLong = `Measure this machine: what a packet, a new flow and a timer cost, and how many
packets a second gateways forward.

The scenarios table, pipeline, newflows and timers run the gateway's own packet
path with its rings in memory: they need neither root nor interfaces and touch
nothing. forward puts gateways side by side, between interfaces that it makes, and
needs root; all leaves it out without. Values are medians over the rounds, with the 10th and 90th percentile.
What a machine does besides shows in them: measure when it is idle.

Of -o json, the first line describes the machine, and each other line is a
result: {"name":..,"params":{..},"unit":..,"median":..,"p10":..,"p90":..,"rounds":..}`

// benchScenario is something that bench can measure.
type benchScenario struct {
	name, short string
	run         func(ctx context.Context, b *benchFlags, p bench.Progress) ([]bench.Record, error)
}

// benchRun measures something.
type benchRun func(ctx context.Context, p bench.Progress) ([]bench.Record, error)

// memoryScenario is one that needs nothing but memory.
func memoryScenario(name, short string, run func(context.Context, memory.Options, bench.Progress) ([]bench.Record, error)) benchScenario {
	return benchScenario{name, short, func(ctx context.Context, b *benchFlags, p bench.Progress) ([]bench.Record, error) {
		return run(ctx, b.memory, p)
	}}
}

// memoryScenarios are those that run without root.
func memoryScenarios(e *env) []benchScenario {
	return []benchScenario{
		tableScenario(e),
		memoryScenario("pipeline", "Measure a packet of an established flow, by stage", memory.Pipeline),
		memoryScenario("newflows", "Measure flows made and ended, and port choice in a crowded pool", memory.NewFlows),
		memoryScenario("timers", "Measure timers, and the worst burst while all flows expire", memory.Timers),
	}
}

// newBenchCommand measures the gateway.
func newBenchCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine: packets, new flows, timers, gateways side by side",
		Long:  benchLong,
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("no scenario: give one, for example pipeline, or all")
		},
	}
	for _, s := range memoryScenarios(e) {
		cmd.AddCommand(newScenarioCommand(e, s.name, s.short, []benchScenario{s}))
	}
	all := append(memoryScenarios(e), benchScenario{name: "forward", run: forwardInAll(e)})
	cmd.AddCommand(newScenarioCommand(e, "all", "Run every scenario, one after the other", all), newBenchReportCommand(e),
		newBenchForwardCommand(e), newBenchL2fwdCommand(e))
	return cmd
}

// newScenarioCommand runs scenarios.
func newScenarioCommand(e *env, name, short string, scenarios []benchScenario) *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.complete(cmd); err != nil {
				return err
			}
			return runScenarios(cmd.Context(), e, &b, scenarios)
		},
	}
	b.register(cmd, name)
	return cmd
}

// runScenarios measures and prints.
func runScenarios(ctx context.Context, e *env, b *benchFlags, scenarios []benchScenario) error {
	var runs []benchRun
	for _, s := range scenarios {
		runs = append(runs, func(ctx context.Context, p bench.Progress) ([]bench.Record, error) { return s.run(ctx, b, p) })
	}
	return printRuns(ctx, e, b.output, b.settings(), runs)
}

// printRuns measures and prints. Results before those that fail are printed.
func printRuns(ctx context.Context, e *env, output string, settings map[string]any, runs []benchRun) error {
	w, err := bench.NewWriter(e.stdout, output)
	if err != nil {
		return asUsage(err)
	}
	if err := w.Begin(bench.Header{Machine: bench.ReadMachine(versionString()), Settings: settings}); err != nil {
		return err
	}
	var progress bench.Progress
	wipe := func() {}
	if f, ok := e.stderr.(*os.File); ok {
		progress, wipe = bench.TerminalProgress(f)
	}
	for _, run := range runs {
		records, err := run(ctx, progress)
		wipe()
		if err == nil {
			err = w.Write(records)
		}
		if err != nil {
			_ = w.Close() // err is what matters
			return err
		}
	}
	return w.Close()
}

// settings are how the run was made, for the header.
func (b *benchFlags) settings() map[string]any {
	return map[string]any{
		"rounds": b.memory.Rounds, "time": b.memory.Time.String(), "cpu": b.memory.CPU, "quick": b.quick,
		"gomaxprocs": runtime.GOMAXPROCS(0), "gc": "off",
	}
}

// newBenchReportCommand prints results again.
func newBenchReportCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "report FILE ...",
		Short: "Print results of earlier runs in another form",
		Long:  "Print results of earlier runs, files written with -o json, in another form.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no file: give one or more that bench -o json wrote")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			w, err := bench.NewWriter(e.stdout, output)
			if err != nil {
				return asUsage(err)
			}
			for _, name := range args {
				if err := reportFile(w, name); err != nil {
					return err
				}
			}
			return w.Close()
		},
	}
	benchOutputFlag(cmd, &output)
	return cmd
}

// reportFile prints the results of one file.
func reportFile(w bench.Writer, name string) error {
	runs, err := bench.ReadFile(name)
	if err != nil {
		return err
	}
	for _, r := range runs {
		if err := w.Begin(r.Header); err != nil {
			return err
		}
		if err := w.Write(r.Records); err != nil {
			return err
		}
	}
	return nil
}

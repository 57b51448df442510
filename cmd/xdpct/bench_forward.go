package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/bench/forward"
	"github.com/xdpct/xdpct/bench/peers"
)

const benchForwardLong = `Measure gateways side by side: how many packets a second they forward with next to
no loss, the CPU time of each, and how late packets are.

All of them forward between the same two veth pairs, in namespaces that are made
for it and removed, under the same load and on the same CPU; those that translate
do it to the same flows. Every packet that arrives is looked at: one that is not
what the gateway had to make of it ends the run. It needs root and two CPUs.`

// forwardFlags are the flags of bench forward.
type forwardFlags struct {
	options    forward.Options
	contenders []string
	measures   []string
	cpuRates   []int
	variants   []string
	arrivals   []string
	output     string
	quick      bool
	trials     bool
}

// What --quick sets, where the flag of the same name is not given.
const (
	quickForwardRounds = 2
	quickForwardTrial  = forward.DefaultTrial / 2
)

// newBenchForwardCommand measures gateways.
func newBenchForwardCommand(e *env) *cobra.Command {
	var b forwardFlags
	cmd := &cobra.Command{
		Use:   "forward",
		Short: "Measure gateways side by side, between veth pairs (root)",
		Long:  benchForwardLong,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.complete(cmd.Flags().Changed, e); err != nil {
				return asUsage(err)
			}
			return printRuns(cmd.Context(), e, b.output, b.settings(), []benchRun{b.run})
		},
	}
	b.register(cmd)
	return cmd
}

// register adds the flags to the command.
func (b *forwardFlags) register(cmd *cobra.Command) {
	f, o := cmd.Flags(), &b.options
	benchOutputFlag(cmd, &b.output)
	f.IntVar(&o.Rounds, "rounds", forward.DefaultRounds, "`number` of rounds; in each, all contenders are measured in turn")
	f.DurationVar(&o.Trial, "time", forward.DefaultTrial, "`duration` of the load of each trial")
	f.IntVar(&o.Flows, "flows", forward.DefaultFlows, "`number` of flows, a power of two up to 1048576")
	f.Float64Var(&o.Loss, "loss", forward.DefaultLoss, "`share` of packets that may be lost at the highest rate")
	f.StringSliceVar(&b.contenders, "contenders", nil, "`names` of what is measured (default all): "+strings.Join(contenderNames(), ", "))
	f.StringSliceVar(&b.measures, "measures", nil, "`names` of what is measured of them (default all): rate, cpu, latency")
	f.IntSliceVar(&b.cpuRates, "cpu-rates", nil, "`packets` a second at which CPU time is measured (default 150000,300000)")
	f.StringArrayVar(&b.variants, "variant", nil,
		"`NAME=PROGRAM FLAGS`: measure this xdpct, run with these flags, as well; PROGRAM may be xdpct for this one;\nrepeatable (default none)")
	f.StringSliceVar(&b.arrivals, "two-queues", nil,
		"`arrivals`: measure with two queues, a CPU each, flows arriving at that of their owner (owner), or half of\nthem at the other one (mixed); only cpu, and what can have two queues (default one queue)")
	f.BoolVar(&b.trials, "trials", false, "print every trial to standard error (default false)")
	f.BoolVar(&b.quick, "quick", false,
		fmt.Sprintf("%d rounds of trials of %v, where other flags do not say otherwise (default false)", quickForwardRounds, quickForwardTrial))
}

// contenderNames lists what can be measured.
func contenderNames() []string {
	var names []string
	for _, c := range contenders("xdpct") {
		names = append(names, c.Name)
	}
	return names
}

// contenders are all that can be measured, in the order of a table.
func contenders(program string) []forward.Contender {
	list := []forward.Contender{forward.Redirect(), forward.Kernel()}
	list = append(list, peers.Contenders(program)...)
	return append(list, forward.KernelNAT(),
		forward.XDPCT("xdpct", program), forward.XDPCT("xdpct-spin", program, "--spin"))
}

// complete makes options from the flags and says who is missing.
func (b *forwardFlags) complete(given func(flag string) bool, e *env) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if b.quick {
		if !given("rounds") {
			b.options.Rounds = quickForwardRounds
		}
		if !given("time") {
			b.options.Trial = quickForwardTrial
		}
	}
	if err := b.chooseContenders(program); err != nil {
		return err
	}
	for _, m := range b.measures {
		b.options.Measures = append(b.options.Measures, forward.Measure(m))
	}
	for _, a := range b.arrivals {
		b.options.Arrivals = append(b.options.Arrivals, forward.Arrival(a))
	}
	for _, rate := range b.cpuRates {
		b.options.CPURates = append(b.options.CPURates, float64(rate))
	}
	if b.trials {
		b.options.Trials = e.stderr
	}
	for _, c := range b.options.Contenders {
		if c.Missing == nil {
			continue
		}
		if why := c.Missing(); why != "" {
			fmt.Fprintf(e.stderr, "%s is left out: %s\n", c.Name, why)
		}
	}
	return b.options.Validate()
}

// chooseContenders takes those that the flags name, and the variants.
func (b *forwardFlags) chooseContenders(program string) error {
	all := contenders(program)
	for _, name := range b.contenders {
		if !slices.Contains(contenderNames(), name) {
			return fmt.Errorf("unknown contender %q: there are %s", name, strings.Join(contenderNames(), ", "))
		}
	}
	for _, c := range all {
		if b.contenders == nil || slices.Contains(b.contenders, c.Name) {
			b.options.Contenders = append(b.options.Contenders, c)
		}
	}
	for _, v := range b.variants {
		name, command, _ := strings.Cut(v, "=")
		words := strings.Fields(command)
		if name == "" || len(words) == 0 {
			return fmt.Errorf("--variant %q: want NAME=PROGRAM FLAGS, such as \"small=xdpct --ring-size 256\"", v)
		}
		if words[0] == "xdpct" {
			words[0] = program
		}
		b.options.Contenders = append(b.options.Contenders, forward.XDPCT(name, words[0], words[1:]...))
	}
	return nil
}

// run runs the benchmark.
func (b *forwardFlags) run(ctx context.Context, p bench.Progress) ([]bench.Record, error) {
	return forward.Run(ctx, b.options, p)
}

// forwardInAll is the benchmark as a part of bench all, which leaves it out if it
// is told to or cannot run it.
func forwardInAll(e *env) func(context.Context, *benchFlags, bench.Progress) ([]bench.Record, error) {
	return func(ctx context.Context, all *benchFlags, p bench.Progress) ([]bench.Record, error) {
		if all.memoryOnly {
			return nil, nil
		}
		if os.Geteuid() != 0 {
			fmt.Fprintln(e.stderr, "forward is left out: it needs root")
			return nil, nil
		}
		b := forwardFlags{quick: all.quick}
		if err := b.complete(func(string) bool { return false }, e); err != nil {
			return nil, err
		}
		return b.run(ctx, p)
	}
}

// settings are how the run was made, for the header.
func (b *forwardFlags) settings() map[string]any {
	o := &b.options
	return map[string]any{
		"rounds": o.Rounds, "time": o.Trial.String(), "flows": o.Flows, "loss": o.Loss,
		"home_cpu": o.Placement.Home, "gateway_cpu": o.Placement.Gateway, "variants": b.variants,
	}
}

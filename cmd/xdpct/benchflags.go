package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/bench/memory"
)

// benchFlags is what a scenario of bench is run with.
type benchFlags struct {
	memory memory.Options
	output string
	quick  bool
	// memoryOnly leaves out what needs root.
	memoryOnly bool
}

// What --quick sets, where the flag of the same name is not given; and up to 1 M
// flows, without DNAT.
const (
	quickRounds = 3
	quickTime   = memory.DefaultTime / 5
)

// register adds the flags of a scenario, or of all of them.
func (b *benchFlags) register(cmd *cobra.Command, scenario string) {
	f, o := cmd.Flags(), &b.memory
	benchOutputFlag(cmd, &b.output)
	f.IntVar(&o.Rounds, "rounds", memory.DefaultRounds, "`number` of rounds of each parameter set, after one that warms up")
	f.DurationVar(&o.Time, "time", memory.DefaultTime, "`duration` that each set is measured in a round")
	f.IntVar(&o.CPU, "cpu", -1, "`number` of the CPU to measure on; -1: the last one that may be used")
	f.IntSliceVar(&o.Flows, "flows", memory.DefaultFlows(), "`numbers` of flows in the table")
	f.BoolVar(&b.quick, "quick", false,
		fmt.Sprintf("%d rounds of %v, up to 1 M flows, no dnat, where other flags do not say otherwise (default false)", quickRounds, quickTime))
	if scenario == "all" {
		f.BoolVar(&b.memoryOnly, "memory-only", false, "leave out what needs root and interfaces (default false)")
	}
	if scenario == "pipeline" || scenario == "newflows" || scenario == "all" {
		f.StringSliceVar(&o.Protos, "proto", memory.DefaultProtos(), "`protocols` of the flows: udp, tcp")
	}
	if scenario == "pipeline" || scenario == "all" {
		f.StringSliceVar(&o.NATs, "nat", memory.DefaultNATs(), "`translations` of the flows: none, snat, dnat")
		f.IntSliceVar(&o.Sizes, "size", nil, "`bytes` in a frame, 60 to 1514, in addition with UDP and snat: each with checksums verified and not (default none)")
		f.IntSliceVar(&o.Bursts, "burst", []int{64}, "`packets` in a burst, 1 to 64; less than 64 with UDP and snat only")
	}
	if scenario == "table" || scenario == "all" {
		f.IntSliceVar(&o.Loads, "load", memory.DefaultLoads(), "`percent` of the table's capacity that is used")
	}
	if scenario == "newflows" || scenario == "all" {
		f.IntSliceVar(&o.Uses, "pool-use", memory.DefaultUses(), "`percent` of a pool's ports that are used")
	}
}

// benchOutputFlag adds -o.
func benchOutputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "`form` of the results: "+strings.Join(bench.Formats(), ", "))
}

// complete applies --quick and checks the flags.
func (b *benchFlags) complete(cmd *cobra.Command) error {
	o := &b.memory
	given := cmd.Flags().Changed
	if b.quick {
		if !given("rounds") {
			o.Rounds = quickRounds
		}
		if !given("time") {
			o.Time = quickTime
		}
		if !given("flows") {
			o.Flows = []int{1_000, 100_000, 1_000_000}
		}
		if !given("nat") {
			o.NATs = []string{"none", "snat"}
		}
	}
	if o.Rounds < 1 || o.Time <= 0 {
		return usagef("%d rounds of %v: both must be positive", o.Rounds, o.Time)
	}
	if o.CPU < 0 {
		cpus, err := bench.UsableCPUs()
		if err != nil {
			return err
		}
		o.CPU = cpus[len(cpus)-1]
	}
	return asUsage(o.Validate())
}

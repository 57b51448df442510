package main

import (
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

const rootLong = `xdpct is a NAT gateway and connection tracker in user space, on AF_XDP.

Nouns show something and change nothing; verbs change. What flows, events and
expectations print is what conntrack(8) prints, line for line.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not permitted or not supported.`

// newRootCommand returns the tree of commands.
func newRootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "xdpct",
		Short:         "NAT gateway and connection tracker on AF_XDP",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usagef("no command: give one, for example run or flows")
		},
	}
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.AddCommand(
		newRunCommand(e), newFlowsCommand(e), newEventsCommand(e), newExpectationsCommand(e),
		newStatsCommand(e), newTimeoutsCommand(e), newPortsCommand(e), newCheckCommand(e), newFlushCommand(e), newReloadCommand(e),
		newDeleteCommand(e), newBenchCommand(e), newManCommand(e), newVersionCommand(e),
	)
	return root
}

// noArgs refuses arguments that are not flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		return usagef("unknown command %q", args[0])
	}
	return usagef("unexpected argument %q: %s takes flags only", args[0], cmd.Name())
}

// controlFlag adds --control, which all commands have that talk to a gateway.
func controlFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "control", control.DefaultPath, "`path` of the gateway's control socket")
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newPortsCommand shows the attached interfaces.
func newPortsCommand(e *env) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:   "ports",
		Short: "Show the attached interfaces: driver, mode, queues, packets",
		Long: `Show the attached interfaces: role, driver, queues, how the XDP program is
attached, whether frames are copied (what was really obtained, not what was
asked for), MTU in bytes, and packets received, sent and dropped.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := outputQuery(output)
			if err != nil {
				return err
			}
			_, err = control.NewClient(path).Get(cmd.Context(), "/ports", q, e.stdout)
			return err
		},
	}
	controlFlag(cmd, &path)
	outputFlag(cmd, &output)
	return cmd
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newTimeoutsCommand prints settings.
func newTimeoutsCommand(e *env) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:   "timeouts",
		Short: "Show the time-outs in effect",
		Long: `Show how long flows live without a packet, by protocol and state, as run
--timeouts and --timeout have set it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := outputQuery(output)
			if err != nil {
				return err
			}
			_, err = control.NewClient(path).Get(cmd.Context(), "/timeouts", q, e.stdout)
			return err
		},
	}
	controlFlag(cmd, &path)
	outputFlag(cmd, &output)
	return cmd
}

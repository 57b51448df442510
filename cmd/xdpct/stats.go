package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newStatsCommand prints counters.
func newStatsCommand(e *env) *cobra.Command {
	var path, output string
	var all, conntrack bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show counters: packets, flows, and drops by reason",
		Long: `Show counters since the gateway started: packets, flows, and drops by reason,
with a column for each worker. Counters that are 0 are left out.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if conntrack {
				output = "conntrack"
			}
			if err := control.CheckStatsOutput(output); err != nil {
				return asUsage(err)
			}
			q := url.Values{"format": {output}}
			if all {
				q.Set("all", "true")
			}
			_, err := control.NewClient(path).Get(cmd.Context(), "/stats", q, e.stdout)
			return err
		},
	}
	controlFlag(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`form` of the output: text, json, conntrack (as conntrack -S), proc (as /proc/net/stat/nf_conntrack)")
	cmd.Flags().BoolVarP(&conntrack, "conntrack", "S", false, "the same as -o conntrack: what conntrack -S prints, a line for each worker (default false)")
	cmd.Flags().BoolVar(&all, "all", false, "show counters that are 0 as well, after the others (default false)")
	return cmd
}

// outputFlag adds -o to a command whose output has two forms.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "text", "`form` of the output: text or json")
}

// outputQuery checks the value of -o.
func outputQuery(output string) (url.Values, error) {
	if _, err := control.ParseOutput(output); err != nil {
		return nil, asUsage(err)
	}
	return url.Values{"format": {output}}, nil
}

package main

import (
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newFlushCommand removes every flow.
func newFlushCommand(e *env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "flush [expect]",
		Short: "Remove every flow, as conntrack -F does",
		Long: `Remove every flow, as conntrack -F does; with the argument "expect", every
expectation (conntrack -F expect). Established connections through a translated
address break, unless they are picked up again (run --tcp-loose).`,
		Args:      expectArg,
		ValidArgs: []string{"expect"},
		RunE: func(cmd *cobra.Command, args []string) error {
			what, summary := "/flush", "flow entries have been deleted"
			if len(args) == 1 {
				what, summary = "/flush/expect", "expectations have been deleted"
			}
			res, err := control.NewClient(path).Change(cmd.Context(), what)
			if err != nil {
				return err
			}
			summarize(e, res.Count, summary)
			return nil
		},
	}
	controlFlag(cmd, &path)
	return cmd
}

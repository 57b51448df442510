package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newFlushCommand removes every flow.
func newFlushCommand(e *env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "flush",
		Short: "Remove every flow, as conntrack -F does",
		Long: `Remove every flow, as conntrack -F does. Established connections through a
translated address break, unless they are picked up again (run --tcp-loose).`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := control.NewClient(path).Change(cmd.Context(), http.MethodPost, "/flush", nil)
			if err != nil {
				return err
			}
			summarize(e, res.Count, "flow entries have been deleted")
			return nil
		},
	}
	controlFlag(cmd, &path)
	return cmd
}

package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newDeleteCommand removes flows by filter.
func newDeleteCommand(e *env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Remove the flows that match, as conntrack -D does",
		Long: `Remove the flows that match all filters, as conntrack -D does. At least one
filter is required; flush removes every flow. The exit code is 1 when no flow
matched.`,
		Example: "  xdpct delete -p udp -s 10.1.2.3 --dport 53",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filterQuery(cmd)
			if err != nil {
				return err
			}
			if !control.HasFilter(q) {
				return usagef("no filter: give one, for example -s ADDRESS, or use flush to remove every flow")
			}
			res, err := control.NewClient(path).Change(cmd.Context(), http.MethodDelete, "/flows", q)
			if err != nil {
				return err
			}
			summarize(e, res.Count, "flow entries have been deleted")
			if res.Count == 0 {
				return errNothingDeleted
			}
			return nil
		},
	}
	controlFlag(cmd, &path)
	filterFlags(cmd)
	return cmd
}

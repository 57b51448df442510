package main

import (
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newDeleteCommand removes flows or expectations by filter.
func newDeleteCommand(e *env) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:   "delete [expect]",
		Short: "Remove the flows that match, as conntrack -D does",
		Long: `Remove the flows that match all filters, as conntrack -D does, and print them;
with the argument "expect", expectations (conntrack -D expect): --src, --dst,
--sport and --dport then are about the flow that announced them, --tuple-* about
the flow to come. At least one filter is required; flush removes all. The exit
code is 1 when nothing matched.`,
		Example: `  xdpct delete -p udp -s 10.1.2.3 --dport 53
  xdpct delete expect --tuple-port-dst 6400`,
		Args:      natAddress(expectArg),
		ValidArgs: []string{"expect"},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := deleteRequest{path, output, "/flows", "flow entries have been deleted", control.RecordFlow}
			filters, has := filterQuery, control.HasFilter
			if slices.Contains(args, "expect") {
				r = deleteRequest{path, output, "/expectations", "expectations have been deleted", control.RecordExpectation}
				filters, has = expectFilterQuery, control.HasExpectFilter
			}
			q, err := filters(cmd)
			if err != nil {
				return err
			}
			if !has(q) {
				return usagef("no filter: give one, for example -s ADDRESS, or use flush to remove all")
			}
			return r.run(cmd, e, q)
		},
	}
	controlFlag(cmd, &path)
	filterFlags(cmd)
	expectFilterFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, ktimestamp, and one of xml, save, json, proc")
	completeWords(cmd, "output", control.RecordFlow.Words()...)
	return cmd
}

// deleteRequest is what the user asked to delete.
type deleteRequest struct {
	path, output string
	url, summary string
	record       control.Record
}

// run deletes, and prints what is gone.
func (r deleteRequest) run(cmd *cobra.Command, e *env, q url.Values) error {
	if _, err := control.ParseFormat(r.output, r.record); err != nil {
		return asUsage(err)
	}
	q.Set("format", r.output)
	res, err := control.NewClient(r.path).Delete(cmd.Context(), r.url, q, e.stdout)
	if err != nil {
		return err
	}
	summarize(e, res.Count, r.summary)
	if res.Count == 0 {
		return errNothingDeleted
	}
	return nil
}

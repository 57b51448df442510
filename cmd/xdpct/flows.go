package main

import (
	"context"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newFlowsCommand lists flows.
func newFlowsCommand(e *env) *cobra.Command {
	var path, output string
	var count bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "List flows as conntrack -L does",
		Long: `List flows as conntrack -L does. Several filters must all hold.

The summary goes to stderr. A listing reads the tables in place: it does not
slow the gateway down, however many flows there are.`,
		Example: `  xdpct flows -p tcp --dport 443 --state ESTABLISHED
  xdpct flows -s 10.1.0.0/16 -o extended,id
  xdpct flows -o json | jq .original.src`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := filterQuery(cmd)
			if err != nil {
				return err
			}
			if _, err := control.ParseFormat(output, control.RecordFlow); err != nil {
				return asUsage(err)
			}
			c := control.NewClient(path)
			if count {
				return countFlows(cmd.Context(), e, c, q)
			}
			q.Set("format", output)
			return list(cmd.Context(), e, listRequest{c, "/flows", q, "flow entries have been shown"})
		},
	}
	controlFlag(cmd, &path)
	filterFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, timestamp, ktimestamp, and one of xml, save, json, proc")
	cmd.Flags().BoolVarP(&count, "count", "C", false, "print only how many there are (default false)")
	return cmd
}

// countFlows prints the number of flows that match.
func countFlows(ctx context.Context, e *env, c *control.Client, q url.Values) error {
	_, err := c.Get(ctx, "/flows/count", q, e.stdout)
	return err
}

// listRequest is a listing to be copied to stdout.
type listRequest struct {
	client  *control.Client
	path    string
	query   url.Values
	summary string // what follows the number of records
}

// list copies a listing and prints its summary.
func list(ctx context.Context, e *env, r listRequest) error {
	res, err := r.client.Get(ctx, r.path, r.query, e.stdout)
	if err != nil {
		return err
	}
	summarize(e, res.Count, r.summary)
	return nil
}

// summarize prints the line with which conntrack ends.
func summarize(e *env, n uint64, what string) {
	fmt.Fprintf(e.stderr, "xdpct %s: %d %s.\n", versionString(), n, what)
}

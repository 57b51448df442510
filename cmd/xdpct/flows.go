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
	var count, get bool
	cmd := &cobra.Command{
		Use:   "flows",
		Short: "List flows as conntrack -L does",
		Long: `List flows as conntrack -L does. Several filters must all hold.

The summary goes to stderr. A listing reads the tables in place: it does not
slow the gateway down, however many flows there are.`,
		Example: `  xdpct flows -p tcp --dport 443 --state ESTABLISHED
  xdpct flows -s 10.1.0.0/16 -o extended,id
  xdpct flows -o json | jq .original.src`,
		Args: natAddress(noArgs),
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
			if get {
				if err := isTuple(q); err != nil {
					return err
				}
			}
			q.Set("format", output)
			n, err := list(cmd.Context(), e, listRequest{c, "/flows", q, "flow entries have been shown"})
			if err == nil && get && n == 0 {
				return errNoSuchFlow
			}
			return err
		},
	}
	controlFlag(cmd, &path)
	filterFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, timestamp, ktimestamp, and one of xml, save, json, proc")
	completeWords(cmd, "output", control.RecordFlow.Words()...)
	cmd.Flags().BoolVarP(&get, "get", "G", false, "show one flow, as conntrack -G does: -p, -s and -d (and ports, if it has) name it;\nexit code 1 if it is not there (default false)")
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

// isTuple checks that filters name one flow.
func isTuple(q url.Values) error {
	for _, key := range []string{"proto", "src", "dst"} {
		if !q.Has(key) {
			return usagef("--get shows one flow: --%s is missing", key)
		}
	}
	return nil
}

// list copies a listing, prints its summary and returns the number of records.
func list(ctx context.Context, e *env, r listRequest) (uint64, error) {
	res, err := r.client.Get(ctx, r.path, r.query, e.stdout)
	if err != nil {
		return 0, err
	}
	summarize(e, res.Count, r.summary)
	return res.Count, nil
}

// summarize prints the line with which conntrack ends.
func summarize(e *env, n uint64, what string) {
	fmt.Fprintf(e.stderr, "xdpct %s: %d %s.\n", versionString(), n, what)
}

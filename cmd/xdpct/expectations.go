package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newExpectationsCommand lists expectations.
func newExpectationsCommand(e *env) *cobra.Command {
	var path, output string
	cmd := &cobra.Command{
		Use:   "expectations",
		Short: "List expected flows as conntrack -L expect does",
		Long: `List expected flows as conntrack -L expect does: those that a helper has
announced and that have not come yet. The summary goes to stderr.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := control.ParseFormat(output, control.RecordExpectation); err != nil {
				return asUsage(err)
			}
			q := url.Values{"format": {output}}
			return list(cmd.Context(), e, listRequest{control.NewClient(path), "/expectations", q, "expectations have been shown"})
		},
	}
	controlFlag(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, and one of json, proc")
	return cmd
}

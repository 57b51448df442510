package main

import (
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
announced and that have not come yet. Filters are about the flow that announced
them (the master), --tuple-* about the flow to come. The summary goes to stderr.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := control.ParseFormat(output, control.RecordExpectation); err != nil {
				return asUsage(err)
			}
			q, err := expectFilterQuery(cmd)
			if err != nil {
				return err
			}
			q.Set("format", output)
			_, err = list(cmd.Context(), e, listRequest{control.NewClient(path), "/expectations", q, "expectations have been shown"})
			return err
		},
	}
	controlFlag(cmd, &path)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, timestamp, and one of xml, save, json, proc")
	completeWords(cmd, "output", control.RecordExpectation.Words()...)
	expectOnlyFlags(cmd)
	expectFilterFlags(cmd)
	return cmd
}

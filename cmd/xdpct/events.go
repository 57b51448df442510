package main

import (
	"net/url"
	"slices"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newEventsCommand follows events.
func newEventsCommand(e *env) *cobra.Command {
	var path, output, mask string
	cmd := &cobra.Command{
		Use:   "events [expect]",
		Short: "Follow flow events as conntrack -E does",
		Long: `Follow flow events as conntrack -E does, until interrupted; with the argument
"expect", those of expectations (conntrack -E expect). Filters select flows.

A reader that is too slow loses events, which is told on stderr where it
happens; the gateway never waits for it.`,
		Example: `  xdpct events -p tcp -e NEW,DESTROY
  xdpct events expect -o timestamp`,
		Args:      natAddress(expectArg),
		ValidArgs: []string{"expect"},
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := filterQuery(cmd)
			if err != nil {
				return err
			}
			return followEvents(cmd, e, eventRequest{path, output, mask, slices.Contains(args, "expect"), q})
		},
	}
	controlFlag(cmd, &path)
	filterFlags(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "`list` of text, extended, id, timestamp, ktimestamp, and one of xml, save, json")
	cmd.Flags().StringVarP(&mask, "event-mask", "e", "ALL", "`list` of events: ALL, NEW, UPDATES, DESTROY")
	completeWords(cmd, "output", control.RecordFlowEvent.Words()...)
	completeWords(cmd, "event-mask", "ALL", "NEW", "UPDATES", "DESTROY")
	return cmd
}

// expectArg accepts the word that chooses expectations in place of flows.
func expectArg(_ *cobra.Command, args []string) error {
	if len(args) > 1 || len(args) == 1 && args[0] != "expect" {
		return usagef("unexpected argument %q: give expect, or nothing for flows", args[len(args)-1])
	}
	return nil
}

// eventRequest is what the user asked to follow.
type eventRequest struct {
	path, output, mask string
	expect             bool
	query              url.Values // filters
}

// followEvents prints events until the command is interrupted.
func followEvents(cmd *cobra.Command, e *env, r eventRequest) error {
	url, record, what := "/events", control.RecordFlowEvent, "flow events have been shown"
	if r.expect {
		if control.HasFilter(r.query) {
			return usagef("filters select flows: events expect takes none")
		}
		url, record, what = "/events/expect", control.RecordExpectationEvent, "expectation events have been shown"
	}
	if _, err := control.ParseFormat(r.output, record); err != nil {
		return asUsage(err)
	}
	if _, err := control.ParseEventMask(r.mask); err != nil {
		return asUsage(err)
	}
	r.query.Set("format", r.output)
	r.query.Set("event", r.mask)
	res, err := control.NewClient(r.path).Events(cmd.Context(), url, r.query, e.stdout, e.stderr)
	if err != nil {
		return err
	}
	summarize(e, res.Count, what)
	return nil
}

package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// filterFlags adds the filters of conntrack(8) to a command.
func filterFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringP("family", "f", "", "only flows of this address `family`: ipv4 or ipv6 (default both)")
	f.StringP("proto", "p", "", "only flows of this `protocol`: tcp, udp, icmp, ... or 0-255 (default all)")
	f.StringP("src", "s", "", "only flows from this `address` or CIDR network, original direction (default any)")
	f.StringP("dst", "d", "", "only flows to this `address` or CIDR network, original direction (default any)")
	f.StringP("reply-src", "r", "", "only flows answered from this `address` or CIDR network (default any)")
	f.StringP("reply-dst", "q", "", "only flows answered to this `address` or CIDR network (default any)")
	f.String("sport", "", "only flows from this original source `port`, or range LOW-HIGH (default any)")
	f.String("dport", "", "only flows to this original destination `port`, or range LOW-HIGH (default any)")
	f.String("state", "", "only TCP flows in this `state`, such as ESTABLISHED (default any)")
	f.StringP("status", "u", "", "only flows with all of this `list`: SEEN_REPLY, ASSURED, EXPECTED, FIXED_TIMEOUT,\nSRC_NAT, DST_NAT, UNREPLIED, UNSET (default any)")
	optional(f.VarPF(new(optionalString), "src-nat", "n", "only flows with a translated source, =`address` or CIDR to name it (default any)"))
	optional(f.VarPF(new(optionalString), "dst-nat", "g", "only flows with a translated destination, =`address` or CIDR to name it (default any)"))
	f.BoolP("any-nat", "j", false, "only flows with a translated source or destination (default false)")
}

// filterQuery returns the filters that were given, checked here so that a
// mistake is told also when no gateway runs.
func filterQuery(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	for _, key := range control.FilterKeys() {
		f := cmd.Flags().Lookup(key)
		if f == nil || !f.Changed {
			continue
		}
		switch value := f.Value.String(); key {
		case "any-nat":
			if value == "true" {
				q.Set(key, "")
			}
		default:
			q.Set(key, value)
		}
	}
	if _, err := control.ParseFilter(q); err != nil {
		return nil, asUsage(err)
	}
	return q, nil
}

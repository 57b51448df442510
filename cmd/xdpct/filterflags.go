package main

import (
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	f.String("mask-src", "", "`mask` that --src is compared under, such as 255.255.255.0 or 24 (default all bits)")
	f.String("mask-dst", "", "`mask` that --dst is compared under (default all bits)")
	f.String("sport", "", "only flows from this original source `port`, or range LOW-HIGH (default any)")
	f.String("dport", "", "only flows to this original destination `port`, or range LOW-HIGH (default any)")
	f.String("reply-port-src", "", "only flows answered from this `port`, or range LOW-HIGH (default any)")
	f.String("reply-port-dst", "", "only flows answered to this `port`, or range LOW-HIGH (default any)")
	f.String("icmp-type", "", "only ICMP flows of this `type`, 0-255 (default any)")
	f.String("icmp-code", "", "only ICMP flows of this `code`, 0-255 (default any)")
	f.String("icmp-id", "", "only ICMP flows of this `id`, 0-65535 (default any)")
	f.String("state", "", "only TCP or SCTP flows in this `state`, such as ESTABLISHED (default any)")
	f.StringP("status", "u", "", "only flows with all of this `list`: SEEN_REPLY, ASSURED, EXPECTED, FIXED_TIMEOUT,\nSRC_NAT, DST_NAT, UNREPLIED, UNSET (default any)")
	f.StringP("mark", "m", "", "only flows with this `mark`, MARK or MARK/MASK; all marks are 0 (default any)")
	f.StringP("id", "i", "", "only the flow with this `id`, as -o id shows it (default any)")
	optional(f.VarPF(new(optionalString), "src-nat", "n", "only flows with a translated source, with `address` or CIDR to name it (default any)"))
	optional(f.VarPF(new(optionalString), "dst-nat", "g", "only flows with a translated destination, with `address` or CIDR to name it (default any)"))
	f.BoolP("any-nat", "j", false, "only flows with a translated source or destination (default false)")
	completeFilters(cmd)
	f.SetNormalizeFunc(conntrackNames)
}

// conntrackNames accepts the other names that conntrack(8) has for a flag.
func conntrackNames(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "icmpv6-type", "icmpv6-code", "icmpv6-id":
		name = "icmp" + name[len("icmpv6"):]
	case "orig-src":
		name = "src"
	case "orig-dst":
		name = "dst"
	case "orig-port-src":
		name = "sport"
	case "orig-port-dst":
		name = "dport"
	}
	return pflag.NormalizedName(name)
}

// natAddress lets -n and -g have their address after a blank as well, as conntrack
// does: pflag, for which they may stand alone, leaves it among the arguments.
func natAddress(others cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var rest []string
		for _, arg := range args {
			if !setNATAddress(cmd, arg) {
				rest = append(rest, arg)
			}
		}
		return others(cmd, rest)
	}
}

// setNATAddress gives an address to the one of -n and -g that stands alone; false if
// that is not clear, or if it is no address.
func setNATAddress(cmd *cobra.Command, arg string) bool {
	if arg == "" || (arg[0] < '0' || arg[0] > '9') && !strings.Contains(arg, ":") {
		return false
	}
	var alone []*pflag.Flag
	for _, name := range []string{"src-nat", "dst-nat"} {
		if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			alone = append(alone, f)
		}
	}
	return len(alone) == 1 && alone[0].Value.Set(arg) == nil
}

// expectOnlyFlags adds the filters of expectations that flows have, too.
func expectOnlyFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringP("family", "f", "", "only expectations of this address `family`: ipv4 or ipv6 (default both)")
	f.StringP("proto", "p", "", "only expectations of this `protocol`: tcp, udp, ... or 0-255 (default all)")
	f.StringP("src", "s", "", "only those whose master comes from this `address` or CIDR network (default any)")
	f.StringP("dst", "d", "", "only those whose master goes to this `address` or CIDR network (default any)")
	f.String("sport", "", "only those whose master comes from this `port`, or range LOW-HIGH (default any)")
	f.String("dport", "", "only those whose master goes to this `port`, or range LOW-HIGH (default any)")
	f.StringP("id", "i", "", "only the expectation with this `id`, as -o id shows it (default any)")
	completeFilters(cmd)
	f.SetNormalizeFunc(conntrackNames)
}

// expectFilterFlags adds the filters of expectations that flows do not have.
func expectFilterFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("tuple-src", "", "only expectations of a flow from this `address` or CIDR network (default any)")
	f.String("tuple-dst", "", "only expectations of a flow to this `address` or CIDR network (default any)")
	f.String("tuple-port-src", "", "only expectations of a flow from this `port`, or range LOW-HIGH (default any)")
	f.String("tuple-port-dst", "", "only expectations of a flow to this `port`, or range LOW-HIGH (default any)")
}

// expectFilterQuery returns the filters of expectations that were given.
func expectFilterQuery(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	for _, key := range slices.Concat(control.FilterKeys(), control.ExpectFilterKeys()) {
		if f := cmd.Flags().Lookup(key); f != nil && f.Changed {
			q.Set(key, f.Value.String())
		}
	}
	if _, err := control.ParseExpectFilter(q); err != nil {
		return nil, asUsage(err)
	}
	return q, nil
}

// filterQuery returns the filters that were given, checked here so that a
// mistake is told also when no gateway runs.
func filterQuery(cmd *cobra.Command) (url.Values, error) {
	q := url.Values{}
	for _, key := range control.ExpectFilterKeys() {
		if f := cmd.Flags().Lookup(key); f != nil && f.Changed && !slices.Contains(control.FilterKeys(), key) {
			return nil, usagef("--%s selects expectations: say delete expect", key)
		}
	}
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

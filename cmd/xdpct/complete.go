package main

import (
	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// completeFilters tells shells what filters may be given.
func completeFilters(cmd *cobra.Command) {
	completeWords(cmd, "family", "ipv4", "ipv6")
	completeWords(cmd, "proto", "tcp", "udp", "icmp", "icmpv6", "sctp", "gre", "udplite", "dccp")
	completeWords(cmd, "state", control.StateNames()...)
	completeWords(cmd, "status", "SEEN_REPLY", "ASSURED", "EXPECTED", "FIXED_TIMEOUT", "SRC_NAT", "DST_NAT", "UNREPLIED", "UNSET")
}

// completeWords tells shells the values of a flag, if the command has it.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	if cmd.Flags().Lookup(flag) == nil {
		return
	}
	// It fails only for a flag that is not there or was told about already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

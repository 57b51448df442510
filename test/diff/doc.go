// Package diff puts the same packets through the kernel's connection tracking and
// through xdpct and compares, after each packet, all that can be seen: what comes
// out at both ends, the events, and the listing. Nobody writes down what is right:
// the kernel says it.
//
// A script is one behaviour, packet by packet (testdata/*.script; Parse tells the
// grammar):
//
//	script handshake
//	tcp client:4000 > server:80 S seq=100 wscale=7
//	tcp server:80 > client:4000 SA seq=900 ack=101 wscale=7
//	tcp client:4000 > server:80 A seq=101 ack=901
//
// It names hosts as their own side knows them. That NAT shows the client to the
// server as somebody else is found out while the script runs, so one script serves
// with and without NAT.
//
// A profile is a configuration of the gateway. For each one there are three
// gateways, each between a client and a server of its own: the kernel, xdpct with
// one worker, xdpct with two (the directions of a flow come to different ones). All
// scripts of a profile run at once, in rounds of one step each, told apart by their
// addresses.
//
// What differs on purpose has a name in docs/deviations.md; a script refers to it
// with `differs NAME` behind the step. A deviation that is none any more fails.
package diff

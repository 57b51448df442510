// Package forward measures gateways that forward packets between two veth
// pairs, one after the other under the same conditions: how many packets a
// second with next to no loss, how much CPU time for each, how late they are.
//
// # Topology
//
// Three namespaces that live as long as the run:
//
//	generator                gateway                 sink
//	   gen ----------------- in    out -------------- sink
//	10.10.0.0/16     10.10.0.1    203.0.113.1   203.0.113.2, 198.18.0.0/15
//
// Sources are hosts of 10.10.0.0/16, destinations are in 198.18.0.0/15 (RFC
// 2544), which the gateway routes to 203.0.113.2. A contender that translates
// sources makes them 198.51.100.32. Offloads are off on all four interfaces.
//
// # Placement
//
// One CPU is the gateway's alone: the NAPI threads of its two interfaces and
// what forwards between them. Everything else is on the other one: generator,
// sink and its NAPI thread, this process. NAPI threads are on and pinned in
// the same way for every contender; without them the kernel would receive for
// the gateway on the CPU of whoever sends.
//
// # Contenders
//
// A [Contender] is one way to forward. Those of the kernel and xdpct are in
// this package; others can be given to [Run] as well, see package peers.
package forward

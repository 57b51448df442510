// Package fib mirrors the kernel's links, addresses, routes and neighbours
// into an immutable Snapshot that workers read without locks.
//
// The kernel stays the only owner of the forwarding state: ip(8), a routing
// daemon or DHCP change it, the kernel resolves and ages neighbours, and this
// package follows. It forwards nothing and knows neither flows nor frames.
//
// # How a worker uses it
//
//	s := mirror.Snapshot()              // one atomic load per burst
//	id := s.Lookup4(dst)                // only if the flow's cached id has another Gen
//	if id < fib.FirstHop { drop with the reason that id stands for }
//	hop := s.Hop(id)
//	if !hop.Valid { mirror.Resolve(hop.Neighbour(dstAddr), hop.Ifindex); queue }
//	s.MarkUsed(id, tick)                // keeps the kernel's neighbour alive
//
// # Lookup
//
// One longest prefix match over the routes of the local and the main table. A
// route with a gateway leads to the hop of that gateway. An on-link route needs
// the neighbour of the destination itself: a second, exact-match lookup finds
// the hop of a resolved neighbour. While there is none, the answer is the
// on-link hop of the port: Valid is false and Gateway is the zero Addr, so that
// Neighbour returns the destination, which is what the caller has to resolve.
// An address that nobody answers for never gets a hop of its own; a scan of a
// connected network changes neither snapshot nor Gen.
//
// # Stability
//
// A hop id stands for (port, gateway, route MTU) and keeps its meaning across
// snapshots. Gen changes whenever any answer may have changed: the id that a
// lookup returns, or the content of a hop. A flow may therefore cache an id
// together with the Gen it was found under. Changes that leave the answers
// alone (a neighbour that goes from REACHABLE to STALE, new lifetimes of an
// IPv6 address, a route through some other interface with the same outcome) do
// not touch Gen.
//
// # What is considered
//
//   - Unicast routes of the main table; of several with one prefix, the one
//     with the lowest metric, and of those the first in the kernel's order.
//     Routes with a TOS and dead routes are skipped.
//   - A multipath route counts as its first live next hop: flows are not spread.
//   - A gateway of the other family (via inet6 for an IPv4 route) works.
//   - blackhole, unreachable and prohibit have answers of their own; throw
//     answers HopNone. A lightweight tunnel encapsulation and an output
//     interface that is not a port answer HopNotPort.
//   - The local table first, as the kernel does: local and anycast addresses
//     answer HopLocal, broadcast and multicast HopLinkScope. IPv6 link-local
//     destinations are never routed (RFC 4291 section 2.5.6).
//   - Policy rules, VRFs and other tables are not followed.
//
// # Neighbours
//
// Resolve makes the kernel solicit an address (NTF_USE). Gateways of routes are
// resolved without being asked. The kernel does not see our packets, so it
// would leave a STALE entry alone for ever and collect it: the keep-alive asks
// it to probe those that MarkUsed says are in use. If the old MAC does not
// answer, the entry becomes FAILED and the hop invalid; the next Resolve finds
// the new one. A PERMANENT entry is never touched. For IPv6 the port needs a
// link-local address, from which the kernel solicits.
//
// # Keeping up
//
// One netlink socket carries all notifications, in order; it is opened before
// the first dump, so nothing is missed. Neighbours and plain route changes are
// applied as they come, everything else by a new dump, because the kernel drops
// IPv4 routes without telling when a link or an address goes away
// (net/ipv4/fib_frontend.c, fib_disable_ip). A receive error (ENOBUFS) leads to
// a dump of everything. Changes within a few milliseconds become one snapshot;
// when a rebuild takes long (a full Internet table), rebuilds are spaced so that
// they use at most a fifth of one CPU.
package fib

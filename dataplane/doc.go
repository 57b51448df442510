// Package dataplane is the packet path: it owns the ports, the frames, the
// workers and every thread that touches a packet.
//
// Start at worker.go. runBurst is the whole path in one function, one line a
// stage, each stage in the file of its name:
//
//	rx → parse → steer → lookup → track → help → translate → forward → tx,
//	then expire and mailbox
//
// # Ownership
//
// A Worker is one OS thread on one CPU. It owns one socket on each port (more
// where there are fewer CPUs than queues), a flow table, a share of the NAT
// ports and a share of the frames. Nothing in its path is locked or shared;
// at its edges are
//
//   - hand-over rings: packets of flows that another worker owns (steer.go by
//     port number, elsewhere.go where the NICs' RSS is mirrored, rss.go)
//   - return rings: frames that go back to the pool they came from (frames.go)
//   - the mailbox: commands, run between two bursts (mailbox.go)
//   - the event ring: what happened to flows, read by the pump (events.go)
//   - the routing snapshot, the expectations and the strays, read without locks
//
// The control plane reads flows and counters directly, while the workers
// change them; it never waits for a worker to list something, and no worker
// ever waits for it.
//
// # Verdicts
//
// A stage ends a packet's way by a Verdict, whose zero value drops. Each drop
// has a DropReason, each reason a counter and a test that provokes it. There
// are no errors in the path.
//
// # What may not be in a stage
//
// Allocations, interface calls, closures, maps, locks, system calls, logging,
// reading the clock. The slow things that a packet may lead to are in files of
// their own: newflow.go, icmperror.go, held.go, punt.go, assemble.go.
//
// Memory is a gateway without interfaces, for tests and benchmarks.
package dataplane

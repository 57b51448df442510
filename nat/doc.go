// Package nat decides how a flow is translated and applies that decision to
// packets: rules, source port choice, mappings, header rewrite, ICMP errors,
// text replacement and TCP sequence adjustment.
//
// It is not a packet path: it reads no socket, owns no thread and forwards
// nothing. A worker of dataplane asks it three questions, each once in the
// life of a flow, and then calls Rewrite for every packet:
//
//	track      n.Propose(&c, ...)        what a new flow gets, most likely
//	           n.Choose(&c, ...)         its reply tuple
//	           idx := t.Add(...)
//	           n.Bind(t, idx, ...)       the flow holds what it uses
//	translate  Rewrite(frame, h, &from, &to)
//	expire     n.Release(t, idx)         then t.Remove(idx)
//
// # Choosing
//
// Choose follows get_unique_tuple (net/netfilter/nf_nat_core.c, v6.12): a
// source that already fits the range and whose reply tuple is free stays as it
// is; else a mapping that the same internal address and port holds is used
// again if it is free for this destination; else the address is taken from
// the pool by a hash of the internal address alone (RFC 4787 REQ-2, paired),
// the port is kept if it is free, and if not another port of the same class
// is searched from a random start in at most 240 tries. "Free" always means
// that no flow has the reply tuple: one external port serves many
// destinations. Propose is the part of this that looks at no flow.
//
// # Who owns a port
//
// A Translator hands out only ports whose replies arrive where the flow lives
// (owner). Steered by port number, external ports are split between workers in
// blocks of 64 (PortOwner), and the reply tuples of a port are all in one table.
// Steered as the NICs spread packets (Steering), a port is a worker's own for
// those remote hosts and ports with which the reply tuple hashes to it, and each
// reply tuple is in one table. No lock is needed either way.
//
// The external side of a DNAT rule is the exception: many clients share it, so
// the remote port decides (MatchDNAT, MatchDNATReply, MatchDNATTarget), and no
// source but the rule's own target is translated to it.
//
// # Mappings
//
// A mapping is (protocol, internal address and port) <-> (external address
// and port). Most of them follow from the internal side: the paired address, the
// port kept. Those have no record; the next flow of that source comes to the same
// answer. The others are recorded, shared and counted by the flows that use them:
// 24 bytes, allocated once, touched as they are used, found through hash chains of
// the internal side. What a flow holds is in its record (flowtable.Holds).
//
// # Limits
//
// GRE and other protocols are translated by address only: their keys never
// change, and a clash is refused and counted. The CRC32c of SCTP covers the ports
// but not the addresses (RFC 9260 section 6.8): it is computed anew if a port
// changes. SCTP's address lists (multi-homing) are not translated.
// Entries in TIME_WAIT are not evicted to win a port. A host inside is reached from
// inside by the address of a rule or of an expectation (hairpin), not by a mapping.
//
// Imports: packet, flowtable.
package nat

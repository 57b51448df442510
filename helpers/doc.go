// Package helpers holds the conntrack helpers: code that reads the payload of
// a control connection, announces the flows that it arranges (expectations)
// and rewrites the addresses in its text where NAT changes them. Today there
// is one, for FTP. It is not a place for utility functions.
//
// # In the packet path
//
// A flow gets a helper when it is made, by its original destination port:
//
//	if id := set.For(&orig); id != helpers.None {
//		helpers.Attach(t, idx, id)
//	}
//
// From then on the worker calls Set.Packet for each packet of the flow, the
// handshake included, after the tracker has accepted it and before
// translation: sequence numbers, addresses and ports are still the sender's
// own. Text that changes length changes all later sequence numbers; the
// helper records that in the flow's SeqAdj and sets StatusSeqAdjust, and
// translation applies it (nat.AdjustTCP).
//
// # FTP
//
// Behaves as net/netfilter/nf_conntrack_ftp.c and nf_nat_ftp.c (v6.12):
// PORT and EPRT of the original direction, replies 227 and 229 of the other;
// read only where a segment starts right after a line that was seen to end;
// a command that the segment cuts off is dropped, so that the sender repeats
// it in one piece. Deviates, each time to the strict side:
//
//   - numbers above 255, empty numbers and ports above 65535 are malformed
//     (the kernel mixes bits or takes them as 0)
//   - port 0 leaves no expectation behind
//   - a port below 1024 is passed unchanged and announces nothing, against
//     NAT slipstreaming
//   - the space must follow PORT and EPRT at once
//   - a retransmitted command is rewritten exactly as before and makes no
//     second expectation, also when the sender joined it with earlier data
//   - the data right after the handshake counts as the start of a line
//   - PORT and 227 on an IPv6 flow announce nothing
//
// Known limits, which the kernel shares: a second command in one segment is
// not seen; a command split by its sender, and never sent in one piece, does
// not get through; nothing is seen inside TLS, and such connections pass
// untouched (counted as tls); text is not read in IP fragments.
//
// Imports: flowtable, nat, packet.
package helpers

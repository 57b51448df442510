// Package helpers holds the conntrack helpers: code that reads the payload of
// a control connection, announces the flows that it arranges (expectations)
// and rewrites the addresses in its text where NAT changes them. It is not a place
// for utility functions.
//
// # In the packet path
//
// A flow gets a helper when it is made, by its original destination port:
//
//	if id := set.For(&orig); id != helpers.None {
//		helpers.Attach(t, idx, id, flowtable.FlowID{})
//	}
//
// From then on the worker calls Set.Packet for each packet of the flow, the
// handshake included, after the tracker has accepted it and before
// translation: sequence numbers, addresses and ports are still the sender's
// own. Text that changes length changes all later sequence numbers; the
// helper records that in the flow's SeqAdj and sets StatusSeqAdjust, and
// translation applies it (nat.AdjustTCP).
//
// # Another helper
//
// A helper is one value of type helper, in a file of its own: its name, what it is
// attached to, the classes of its expectations, what it counts, and a function that
// reads a packet. A line in table (helper.go) makes it known to --helper, counters
// and listings. The function is given a Context, which has the packet, the flow, and
// expect to announce a flow:
//
//	func tftpPacket(c *Context) Verdict {
//		...
//		e := flowtable.Expectation{Tuple: reply, SavedAddr: orig.Src, SavedPort: orig.SrcPort}
//		cause := refusal(c.expect(&e))
//		c.note(cause)
//		...
//	}
//
// # TFTP
//
// tftp.go: follows net/netfilter/nf_conntrack_tftp.c. There is nothing to rewrite.
//
// # SIP
//
// Follows net/netfilter/nf_conntrack_sip.c and nf_nat_sip.c, over UDP:
//
//	sipPacket   sip.go           what the message means: announce, end, renew
//	parse       sip_message.go   first line and headers, strictly
//	            sip_text.go      words, URIs, parameters
//	parseSDP    sdp.go           where media are to go
//	announce    sip_media.go     RTP and RTCP of each stream
//	register    sip_register.go  where calls are to go
//	mapHeaders  sip_rewrite.go   what the receiver calls an address
//	apply       edits.go         all changes, or none
//
// Known limits: messages in IP fragments, and descriptions within multipart bodies, are
// not read; a sender that names another port in Via than it sends from is not helped; a
// Contact with another port than its message comes from is rewritten if it was registered;
// of layered streams ("m=video 4000/2") the first pair is expected; ICE candidates stay
// as they are. Two phones behind the gateway that meet through a server outside hear each
// other only with loose, unless the server passes their media on: they come from another
// host than the one that signals. Nobody registers for another host, however loose.
//
// # FTP
//
// Follows net/netfilter/nf_conntrack_ftp.c and nf_nat_ftp.c (v6.12): PORT and
// EPRT of the original direction, replies 227 and 229 of the other, one pending
// expectation for a flow. The kernel looks at the first bytes of a segment,
// where it has seen a newline before. This helper reads the stream:
//
//	Packet    ftp.go           each segment is put in its place in the stream
//	process   ftp.go           what comes too early has to come again
//	repeat    ftp_text.go      what was sent before is rewritten as before
//	read      ftp.go           what is new is read line by line, once
//	classify  ftp_lines.go     is that FTP at all? If not, never look again
//	parse     ftp_grammar.go   is it an announcement?
//	announce  ftp_announce.go  may it be followed? Expect, rewrite
//
// So it does not matter how the text is divided into segments. The start of a
// command that the segment cuts off is kept back and put before its rest; where
// nothing has to be rewritten it is forwarded and remembered. Text that has
// grown over the MTU, and a second announcement in a segment, is cut off. What is
// kept back or cut off is not acknowledged, so its sender repeats it: the helper
// never sends anything of its own.
//
// A page that makes a browser speak to the server's port (NAT slipstreaming)
// can choose the text, the segments and the address in it, but begins with a
// request of HTTP, or a record of TLS. So the first line of a client must be a
// command of FTP, the first of a server a greeting, all others must have the
// form, and what a reply of several lines quotes announces nothing.
//
// docs/deviations.md lists what differs from the kernel. Known limits: nothing
// is seen inside TLS, and such connections pass untouched (counted as tls); text
// in IP fragments that the gateway cannot make one packet of is not read.
//
// Imports: flowtable, nat, packet.
package helpers

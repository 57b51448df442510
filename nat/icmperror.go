package nat

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// RewriteICMPError translates an ICMP or ICMPv6 error: the addresses and
// ports of the packet that it quotes, and its own source or destination. h
// are the headers of the error, inner those of the quoted packet; from is the
// quoted packet's tuple as it stands in the frame, to the tuple that it must
// have afterwards.
//
// With ref the flow and direction found for the *inverted* quoted tuple, from
// is that inverse and to is the tuple of the opposite direction. A side of
// the quoted packet that changes also changes on the outside, turned round:
// its source is the address that the error is sent to; its destination is
// the address that the error pretends to come from, also if a router behind
// the NAT sent it (nf_nat_icmp_reply_translation, net/netfilter/nf_nat_proto.c;
// RFC 5508 REQ-4, REQ-5).
//
// The quoted IP header checksum, the quoted transport checksum (iff all of it
// is quoted; UDP 0 stays 0) and the whole ICMP checksum are mended
// incrementally; RFC 4884 extensions are thereby left valid.
//
// Preconditions: both headers were parsed with ParseOK and the caller has
// checked that the error's destination is the quoted source.
func RewriteICMPError(frame []byte, h, inner *packet.Headers, from, to *flowtable.Tuple) {
	quoted := frame[inner.L3:]
	var addrs packet.Delta
	if from.Src != to.Src {
		addrs = setSource(quoted, inner.Family, addrs, to.Src)
	}
	if from.Dst != to.Dst {
		addrs = setDestination(quoted, inner.Family, addrs, to.Dst)
	}
	change := addrs
	if inner.Family == packet.IPv4 {
		change += mend(quoted[10:12], addrs)
	}
	if inner.Fragment != packet.FragmentLater {
		l4 := frame[inner.L4:inner.End]
		ports := setPorts(l4, inner.Proto, to)
		change += ports + mendTransport(l4, inner.Proto, addrs, ports)
	}
	rewriteOuter(frame, h, from, to, change)
}

// rewriteOuter translates the header of the error itself; change is that of
// the quoted packet.
func rewriteOuter(frame []byte, h *packet.Headers, from, to *flowtable.Tuple, change packet.Delta) {
	ip := frame[h.L3:]
	var addrs packet.Delta
	if from.Src != to.Src {
		addrs = setDestination(ip, h.Family, addrs, to.Src)
	}
	if from.Dst != to.Dst {
		addrs = setSource(ip, h.Family, addrs, to.Dst)
	}
	if h.Family == packet.IPv4 {
		mend(ip[10:12], addrs)
	} else {
		change += addrs // the pseudo header is in the checksum (RFC 4443 §2.3)
	}
	mend(frame[h.L4+2:h.L4+4], change)
}

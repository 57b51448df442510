package dataplane

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// prefetchGroup is how many packets are parsed before the table is asked about
// them, and matchDelay how many later the answer has come: see flowtable.Bulk.
const (
	prefetchGroup = 8
	matchDelay    = 2 * prefetchGroup
)

// parse reads the headers of each packet and forms the tuple that the flow
// table knows it by. Parsing later packets hides the memory latency of earlier
// ones: as soon as the hashes of a group are known, the table's buckets for
// them are asked for, and when those have come, the records that they name.
//
// Reads: frame; verify of the burst. Writes: hdr, plain, tuple, hash, keys, segments;
// related for ICMP errors; verdict; frame, addr, in and rest of datagrams that
// came in pieces.
func (w *Worker) parse(b *burst) {
	t := w.flows.table
	b.segments = 0
	for from := 0; from < b.n+matchDelay; from += prefetchGroup {
		to := min(from+prefetchGroup, b.n)
		for i := from; i < to; i++ {
			p := &b.pkts[i]
			w.parseOne(p)
			b.askFor(i, p)
		}
		t.Prefetch(&b.keys, min(from, b.n), max(to, min(from, b.n)))
		t.MatchLate(&b.keys)
		if at := from - matchDelay; at >= 0 {
			t.Match(&b.keys, at, min(at+prefetchGroup, b.n))
		}
	}
	t.MatchLate(&b.keys)
}

// askFor makes the i-th packet part of the lookup, and of the segments if it is one.
func (b *burst) askFor(i int, p *pkt) {
	b.keys.Hashes[i] = p.hash
	if p.hdr.Proto == packet.ProtoTCP {
		b.segments |= 1 << i
	}
}

func (w *Worker) parseOne(p *pkt) {
	if addrs, ports, ok := packet.ParsePlain(p.frame, &p.hdr); ok {
		p.plain = true
		p.frame = p.frame[:p.hdr.End] // Ethernet padding stays behind
		p.tuple.Set4(addrs, ports, p.hdr.Proto)
		p.hash = w.flows.table.Hash4(addrs, ports, p.hdr.Proto)
		if w.burst.verify {
			if wrong := packet.VerifyPlain(p.frame, &p.hdr); wrong != packet.SumsOK {
				w.damaged(p, wrong)
			}
		}
		return
	}
	w.parseAny(p)
	if p.verdict == VerdictForward {
		p.hash = w.flows.table.Hash(&p.tuple)
	}
}

// parseAny is parseOne for packets that are not plain.
func (w *Worker) parseAny(p *pkt) {
	result := packet.Parse(p.frame, &p.hdr)
	if result == packet.ParseNotIP && p.stripPriorityTag() {
		result = packet.Parse(p.frame, &p.hdr)
	}
	if result != packet.ParseOK {
		w.unparsed(p, result)
		return
	}
	p.frame = p.frame[:p.hdr.End]
	if w.burst.verify {
		if wrong := packet.Verify(p.frame, &p.hdr); wrong != packet.SumsOK {
			w.damaged(p, wrong)
			return
		}
	}
	if p.hdr.Fragment != packet.NotFragment {
		if w.putAside(p); p.verdict != VerdictForward {
			return
		}
	}
	switch {
	case isICMPError(p):
		w.parseQuoted(p)
	case isICMPv6(p) && packet.IsLinkControl(p.frame[p.hdr.L4]):
		p.drop(DropLinkControl)
	case !flowtable.TupleOf(p.frame, &p.hdr, &p.tuple):
		w.untrackable(p, flowtable.InvalidICMPType)
	}
}

// unparsed ends the way of a packet that has no headers to go by. What is wrong
// with its IP header no gateway may forward; what is wrong with its transport header
// makes it INVALID.
func (w *Worker) unparsed(p *pkt, why packet.Result) {
	switch why {
	case packet.ParseTruncated:
		p.drop(DropTruncated)
	case packet.ParseNotIP:
		p.drop(DropNotIP)
	case packet.ParseExtHeaders:
		p.drop(DropExtHeaders)
	case packet.ParseSourceRoute:
		p.drop(DropSourceRoute)
	case packet.ParseShortTransport:
		w.untrackable(p, flowtable.InvalidTruncated)
	case packet.ParseTransportLen:
		w.untrackable(p, flowtable.InvalidLength)
	default:
		p.drop(DropMalformed)
	}
}

// damaged ends the way of a packet with a wrong checksum: with one of the IP header
// it may not be forwarded (RFC 1812 §5.2.2), with one of the transport header it is
// INVALID.
func (w *Worker) damaged(p *pkt, where packet.Sums) {
	if where == packet.SumsHeader {
		p.drop(DropIPChecksum)
		return
	}
	w.untrackable(p, flowtable.InvalidChecksum)
}

// untrackable takes a packet that parse finds INVALID out of the burst until the
// packets of flows have been tracked; see bypass.
func (w *Worker) untrackable(p *pkt, cause flowtable.Invalid) {
	w.count.invalid[cause].Add(1)
	p.drop(DropInvalid)
	if w.cfg.passInvalid && (p.hdr.Fragment == packet.NotFragment || p.rest != 0) {
		p.frame = p.frame[:p.hdr.End]
		p.verdict, w.burst.bypassing = VerdictBypass, true
	}
}

// bypass lets the INVALID packets that parse has put by go on without a flow
// (--invalid pass).
func (w *Worker) bypass(b *burst) {
	for i := range b.n {
		if p := &b.pkts[i]; p.verdict == VerdictBypass {
			p.verdict = VerdictForward
			w.passBare(p, DropInvalid)
		}
	}
}

// stripPriorityTag takes an 802.1Q tag with VLAN 0 off a frame. It carries a
// priority only, so the frame is as good as untagged (IEEE 802.1Q §6.9).
func (p *pkt) stripPriorityTag() bool {
	const tag = 4 // bytes
	if len(p.frame) < packet.EthernetLen+tag || packet.Ethernet(p.frame).Type() != packet.EtherTypeVLAN ||
		binary.BigEndian.Uint16(p.frame[packet.EthernetLen:])&0x0fff != 0 {
		return false
	}
	copy(p.frame[tag:], p.frame[:packet.EthernetLen-2]) // the addresses move up to the EtherType
	p.frame, p.addr = p.frame[tag:], p.addr+tag
	return true
}

// isICMPError reports whether the packet is an error message about another.
func isICMPError(p *pkt) bool {
	if p.hdr.Proto == packet.ProtoICMP {
		return p.hdr.Family == packet.IPv4 && packet.IsICMPError(packet.IPv4, p.frame[p.hdr.L4])
	}
	return isICMPv6(p) && packet.IsICMPError(packet.IPv6, p.frame[p.hdr.L4])
}

func isICMPv6(p *pkt) bool {
	return p.hdr.Proto == packet.ProtoICMPv6 && p.hdr.Family == packet.IPv6
}

// parseQuoted forms the tuple of an ICMP error: that of the quoted packet,
// inverted, because the flow is looked up as if the quoted packet had been
// answered (nf_conntrack_inet_error).
func (w *Worker) parseQuoted(p *pkt) {
	var quoted flowtable.Tuple
	var inner packet.Headers
	if packet.ParseInner(p.frame, int(p.hdr.Payload), &inner) != packet.ParseOK ||
		inner.Family != p.hdr.Family ||
		!flowtable.TupleOf(p.frame, &inner, &quoted) {
		p.drop(DropICMPUnmatched)
		return
	}
	p.tuple, p.related = quoted.Invert(), true
}

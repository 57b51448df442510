package dataplane

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/packet"
)

// track applies each packet to its flow's state, or makes a new flow, which
// includes choosing its translation: the reply tuple must be known before a
// flow can be found by it.
//
// Reads: hdr, tuple, hash, ref. Writes: ref, class, bare, verdict.
func (w *Worker) track(b *burst) {
	b.helped = false
	w.flows.table.Settle()
	if b.asking {
		w.askSources(b)
	}
	w.prepare(b)
	counts := w.flows.table.Accounts()
	if counts {
		w.accountsAhead(b)
	}
	for i := range b.n {
		p := &b.pkts[i]
		switch {
		case p.verdict != VerdictForward:
		case !w.trackSteady(p):
			w.trackOne(p)
		case counts:
			w.account(p)
		}
	}
	if b.bypassing {
		w.bypass(b)
	}
	w.wakePeers()
}

// trackSteady tracks the usual packet: plain, of a flow that it leaves as it
// is. It reports false if the packet is another one.
func (w *Worker) trackSteady(p *pkt) bool {
	return p.plain && p.ref != 0 && !w.flows.table.Changed(p.hash) && p.hdr.TTL > 1 &&
		w.flows.tracker.Steady(w.flows.table, p.ref.Index(), p.ref.Dir(), p.frame, &p.hdr, w.clock.now)
}

func (w *Worker) trackOne(p *pkt) {
	if w.flows.table.Changed(p.hash) { // by an earlier packet of this burst
		p.ref = w.flows.table.Lookup(&p.tuple, p.hash, w.clock.now)
		if w.dishonest(p) {
			return
		}
	}
	if p.related {
		w.trackRelated(p)
		return
	}
	if p.ref == 0 {
		w.newFlow(p)
		return
	}
	w.advance(p)
	if p.verdict == VerdictForward && !p.bare {
		w.expired(p) // it counts for its flow all the same: the kernel tracks before it routes
	}
}

// advance applies a packet to the state of its flow.
func (w *Worker) advance(p *pkt) {
	idx := p.ref.Index()
	step := w.flows.tracker.Advance(w.flows.table, idx, p.ref.Dir(), p.frame, &p.hdr, w.clock.now)
	helped := w.flows.table.Flow(idx).Status() & needsHelp
	switch step.Outcome {
	case flowtable.OutcomeAccept, flowtable.OutcomeIgnore:
		if step.Outcome == flowtable.OutcomeAccept {
			w.account(p)
			if helped&flowtable.StatusHelper != 0 {
				helpers.Keep(w.flows.table, idx, w.clock.now)
			}
		}
		if step.Changes != 0 {
			w.emitFlow(flowtable.EventUpdate, step.Changes, idx)
		}
	case flowtable.OutcomeRestart:
		w.removeFlow(idx, flowtable.EndImmediate)
		w.newFlow(p)
		return
	case flowtable.OutcomeDestroy:
		w.account(p)
		w.flows.dying = append(w.flows.dying, idx)
	default:
		w.invalid(p, step.Cause)
		return
	}
	if helped != 0 {
		w.wantHelp(p)
	}
}

// wantHelp makes the help stage look at a packet.
func (w *Worker) wantHelp(p *pkt) { p.class, w.burst.helped = helpInspect, true }

// needsHelp is the status of flows whose packets the help stage must see.
const needsHelp = flowtable.StatusHelper | flowtable.StatusSeqAdjust

// trackRelated handles an ICMP error about a flow. It belongs to the flow in
// the direction of an answer to the packet that it quotes, changes nothing of
// its state and does not renew it (RFC 5508 REQ-6). Its outer destination must
// be the one that such an answer would have, else it is INVALID, as in
// nf_conntrack_inet_error.
func (w *Worker) trackRelated(p *pkt) {
	if p.hdr.Family == packet.IPv4 && p.frame[p.hdr.L4] == packet.ICMPRedirect {
		p.drop(DropICMPRedirect)
		return
	}
	if p.ref == 0 {
		if !w.elsewhere(p) {
			w.unmatchedError(p)
		}
		return
	}
	if w.outerDst(p) != p.tuple.Dst {
		w.invalid(p, flowtable.InvalidICMPError)
		return
	}
	if w.falseSource(p) {
		return
	}
	w.expired(p)
}

// unmatchedError handles an ICMP error about no flow of ours: the box's own
// packets may have caused it.
func (w *Worker) unmatchedError(p *pkt) {
	if w.isLocal(w.outerDst(p), p.hdr.Family) {
		p.verdict = VerdictPunt
		return
	}
	w.passBare(p, DropICMPUnmatched)
}

// singleHost reports whether the packet's source names a single host that may
// be on another link (RFC 1812 §5.3.7, RFC 3927 §7, RFC 4291 §2.5, 2.7).
func singleHost(p *pkt) bool {
	if p.hdr.Family == packet.IPv6 {
		src := packet.IPv6Header(p.frame[p.hdr.L3:]).Src()
		linkLocal := src.Hi>>54 == 0xfe80>>6
		return !src.IsZero() && src.Hi>>56 != 0xff && !linkLocal && src != packet.Addr{Lo: 1}
	}
	first := p.frame[p.hdr.L3+12]
	linkLocal := first == 169 && p.frame[p.hdr.L3+13] == 254 // RFC 3927 §7
	return first != 0 && first != 127 && first < 224 && !linkLocal
}

// outerSrc returns the source address of the packet itself.
func (w *Worker) outerSrc(p *pkt) packet.Addr {
	if p.hdr.Family == packet.IPv4 {
		return packet.IPv4Header(p.frame[p.hdr.L3:]).Src()
	}
	return packet.IPv6Header(p.frame[p.hdr.L3:]).Src()
}

// outerDst returns the destination address of the packet itself.
func (w *Worker) outerDst(p *pkt) packet.Addr {
	if p.hdr.Family == packet.IPv4 {
		return packet.IPv4Header(p.frame[p.hdr.L3:]).Dst()
	}
	return packet.IPv6Header(p.frame[p.hdr.L3:]).Dst()
}

// invalid ends the way of a packet in conntrack state INVALID: dropped, and
// never forwarded with an untranslated address, unless the operator asked for
// it (--invalid pass).
func (w *Worker) invalid(p *pkt, cause flowtable.Invalid) {
	w.count.invalid[cause].Add(1)
	w.passBare(p, DropInvalid)
}

// passBare forwards a packet without a flow and without translation if the
// operator asked for it, else drops it.
func (w *Worker) passBare(p *pkt, otherwise DropReason) {
	if !w.cfg.passInvalid {
		p.drop(otherwise)
		return
	}
	if w.falseSource(p) {
		return
	}
	p.bare = true
	w.expired(p)
}

// expired answers a packet that may not be forwarded any further with time
// exceeded, and reports whether it was one. It looks before translation, so
// that the answer quotes the packet as its sender knows it.
func (w *Worker) expired(p *pkt) bool {
	if p.hdr.TTL > 1 {
		return false
	}
	p.drop(DropTTLExpired)
	w.sendTimeExceeded(p)
	return true
}

package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// What the reference believes about hosts inside that meet by an outside address (hairpin,
// decision 20).

// refTurn is a packet by its ends.
type refTurn struct {
	proto    uint8
	src, dst refEnd
}

// inverse is the packet that answers it.
func (t refTurn) inverse() refTurn { return refTurn{t.proto, t.dst, t.src} }

// refTurned is a flow between two hosts inside.
type refTurned struct {
	asked refTurn // the question as it is sent
	got   refTurn // as it arrives
	refFlow
}

// turnOf returns the ends of a packet; rules and announcements are of TCP and UDP only.
func turnOf(v *view) (t refTurn, ok bool) {
	k, ok := v.asAnswer()
	return refTurn{v.proto, refEnd{v.src, k.rport}, refEnd{v.dst, k.lport}}, ok && (v.proto == 6 || v.proto == 17)
}

// turnedBy returns the flow that a packet from inside belongs to, by what it looks like
// when it leaves its host; nil if there is none.
func (r *reference) turnedBy(t refTurn) *refTurned {
	f := r.turned[t]
	if f == nil || r.now-f.last > f.lives(t.proto) {
		delete(r.turned, t)
		return nil
	}
	return f
}

// becomes is what a packet of the flow looks like when it arrives.
func (f *refTurned) becomes(t refTurn) refTurn {
	if t == f.asked {
		return f.got
	}
	return f.asked.inverse()
}

// turns judges a packet that has arrived inside, of which in came from there; it tells
// what is wrong.
func (r *reference) turns(in []view, out *view) string {
	for i := range in {
		if r.explainsOwn(&in[i], out) {
			return ""
		}
	}
	if r.isInside(out.src) {
		return fmt.Sprintf("turned back with the source %v: %x", out.src, out.ip)
	}
	for i := range in {
		if r.explainsTurn(&in[i], out) {
			return ""
		}
	}
	t, _ := turnOf(out)
	return fmt.Sprintf("nobody inside asked for %v: %x\nThis came from inside:%s", t, out.ip, r.listing(in))
}

// explainsOwn does so for an error of the gateway's own about a packet from inside.
func (r *reference) explainsOwn(in, out *view) bool {
	if !out.isError() || out.src != lanAddr && out.src != lan6Addr || out.dst != in.src {
		return false
	}
	quote := out.ip[out.l4+8:]
	return len(quote) >= 28 && bytes.HasPrefix(in.ip[in.l4:], quote[in.l4:])
}

func (r *reference) explainsTurn(in, out *view) bool {
	switch {
	case out.fragment:
		return in.fragment && r.explainsTurnedPiece(in, out)
	case in.fragment && in.from > 0:
		return false
	case in.isError():
		return r.explainsTurnedError(in, out)
	}
	t, ok := turnOf(in)
	u, ok2 := turnOf(out)
	if !ok || !ok2 || t.proto != u.proto {
		return false
	}
	if in.fragment { // what a helper has to read is put together
		tftp := t.dst.port == 69 || u.src.port == 69
		same := func(text bool) bool { return (text || tftp) && len(in.ip)-in.l4 < len(out.ip)-out.l4 }
		return r.explainsEnds(t, u, same, func(*refTurned) string { return "" })
	}
	same := func(text bool) bool {
		return slices.Equal(betweenSlowly(in, u.src, u.dst), out.ip) || text && (t.proto == 6 || sameMessage(in, out))
	}
	return r.explainsEnds(t, u, same, func(f *refTurned) string { return r.hearsTurned(f, t, in, out) })
}

// explainsEnds does so for the ends of a packet: they are those of a flow, or of the start
// of one.
func (r *reference) explainsEnds(t, u refTurn, same func(text bool) bool, hear func(*refTurned) string) bool {
	leads := r.turnsTo(t)
	text := slices.ContainsFunc(leads, func(to refLead) bool { return to.text && to.refEnd == u.dst }) // by any of its ways
	if f := r.turnedBy(t); f != nil && f.becomes(t) == u && same(f.text || text) && r.isFree(f.asked, f.got) {
		f.text = f.text || text
		f.last = r.now
		r.turned[f.asked], r.turned[f.got.inverse()] = f, f
		if t == f.asked {
			f.refFlow.asked = r.now
			r.passed[refTurnRule]++
		} else {
			f.replied = true
			r.passed[refTurnBack]++
		}
		return hear(f) == ""
	}
	for _, to := range leads {
		if to.refEnd != u.dst || !same(text) || !r.mayShow(t, u, to.by) || !r.isFree(t, u) {
			continue
		}
		f := &refTurned{asked: t, got: u, refFlow: refFlow{refEnd: t.src, asked: r.now, last: r.now, text: text}}
		r.turned[t], r.turned[u.inverse()] = f, f
		r.passed[to.way]++
		if t.src.addr == u.dst.addr {
			r.passed[refTurnSelf]++
		}
		r.fulfilled(refKey{t.proto, t.src.addr, t.dst.addr, t.src.port, t.dst.port}, to)
		return hear(f) == ""
	}
	return false
}

// turnsTo tells where a packet from inside may go: where a rule leads, or an announcement.
func (r *reference) turnsTo(t refTurn) (list []refLead) {
	for _, to := range r.starts(refKey{t.proto, t.src.addr, t.dst.addr, t.src.port, t.dst.port}) {
		switch {
		case to.by == nil:
			to.way = refTurnRule
		case to.by.isLoose(t.src.addr):
			to.way = refTurnLoose
		default:
			to.way = refTurnExpect
		}
		list = append(list, to)
	}
	return list
}

// mayShow decides about the source that the target of a packet sees: an address of the
// pools or, without pools, the one that was asked. Who was announced is seen as that; who
// was expected as the one that the announcer knows.
func (r *reference) mayShow(t, u refTurn, by *refPending) bool {
	for _, rule := range r.rules { // its place is its target's
		if (refTurn{rule.Proto, refEnd{rule.Addr, rule.Port}, refEnd{rule.ToAddr, rule.ToPort}}) == (refTurn{u.proto, u.src, t.src}) {
			return true
		}
		if rule.Proto == u.proto && rule.Addr == u.src.addr && rule.Port == u.src.port {
			return false
		}
	}
	if by != nil {
		if r.isAnnouncedAs(t.proto, t.src, u.src) {
			return true
		}
		if by.peer == t.src.addr {
			return u.src.addr == by.shown
		}
	}
	pools := false
	for _, p := range r.pools {
		if p.First.Is4() != u.src.addr.Is4() {
			continue
		}
		pools = true
		if p.First.Compare(u.src.addr) <= 0 && u.src.addr.Compare(p.Last) <= 0 {
			return p.FirstPort == 0 || u.src.port >= p.FirstPort && u.src.port <= p.LastPort
		}
	}
	return !pools && u.src.addr == t.dst.addr
}

// isAnnouncedAs tells whether a host's port has been announced under another one.
func (r *reference) isAnnouncedAs(proto uint8, here, there refEnd) bool {
	for e, list := range r.expect {
		if e.proto == proto && (refEnd{e.local, e.lport}) == there && slices.ContainsFunc(list, func(p *refPending) bool { return p.refEnd == here }) {
			return true
		}
	}
	return false
}

// isFree decides whether no other flow has the place that the target sees.
func (r *reference) isFree(t, u refTurn) bool {
	f := r.turnedBy(u.inverse())
	return f == nil || f.asked == t || t.proto != 17 || r.now-f.refFlow.asked >= 29*time.Second
}

// hearsTurned reads what one host inside tells another.
func (r *reference) hearsTurned(f *refTurned, t refTurn, in, out *view) string {
	here, there := refSides(f.got), refSides(f.asked.inverse())
	if t != f.asked {
		here, there = there, here
	}
	why := r.hears(here, &f.refFlow, in, out)
	r.told(there, in, &f.refFlow)
	return why
}

// refSides is the key of the answers to a packet as it arrives.
func refSides(t refTurn) refKey {
	return refKey{t.proto, t.dst.addr, t.src.addr, t.dst.port, t.src.port}
}

// sameMessage compares what a helper leaves as it is.
func sameMessage(in, out *view) bool {
	a, b := in.payload(), out.payload()
	return fieldOf(a, "Call-ID") == fieldOf(b, "Call-ID") && bytes.HasPrefix([]byte(b), []byte(a[:min(len(a), 4)]))
}

// explainsTurnedPiece does so for a fragment.
func (r *reference) explainsTurnedPiece(in, out *view) bool {
	if in.from != out.from || in.more != out.more || in.id != out.id || in.proto != out.proto || len(in.ip) != len(out.ip) {
		return false
	}
	same := func(int) bool { return bytes.Equal(in.ip[in.l4:], out.ip[out.l4:]) }
	if in.from > 0 {
		for _, f := range r.turned {
			for _, t := range []refTurn{f.asked, f.got.inverse()} {
				u := f.becomes(t)
				if t.src.addr == in.src && t.dst.addr == in.dst && u.src.addr == out.src && u.dst.addr == out.dst && same(0) {
					r.passed[refTurnPiece]++
					return true
				}
			}
		}
		return false
	}
	t, ok := turnOf(in)
	u, ok2 := turnOf(out)
	const header = 20 // bytes, TCP's: ports and sums may differ in them
	return ok && ok2 && bytes.Equal(in.ip[min(in.l4+header, len(in.ip)):], out.ip[min(out.l4+header, len(out.ip)):]) &&
		r.explainsEnds(t, u, func(bool) bool { return true }, func(*refTurned) string { return "" })
}

// explainsTurnedError does so for an error of a host inside about a packet that it got: it
// comes to the sender of that, about the packet as that one knows it.
func (r *reference) explainsTurnedError(in, out *view) bool {
	q, ok := in.quoted()
	if !ok || !out.isError() || len(in.ip) != len(out.ip) || in.dst != q.src || in.proto == 1 && in.ip[in.l4] == 5 {
		return false
	}
	t, ok := turnOf(&q)
	f := r.turnedBy(t.inverse())
	if !ok || f == nil {
		return false
	}
	sent := f.becomes(t.inverse()).inverse()
	oq, ok := out.quoted()
	u, ok2 := turnOf(&oq)
	if !ok || !ok2 || u != sent || out.dst != sent.src.addr || out.src != sent.dst.addr || !sumsRight(out) {
		return false
	}
	differ := 0
	for i := in.l4 + 8; i < len(in.ip); i++ {
		if in.ip[i] != out.ip[i] {
			differ++
		}
	}
	if differ > 2*(16+2+2)+4 {
		return false
	}
	r.passed[refTurnError]++
	return true
}

// refuses tells what is wrong with a packet that has left though a rule leads it inside:
// only what is sent to who seems to have the rule's place outside may.
func (r *reference) refuses(k refKey) string {
	for _, rule := range r.rules {
		if rule.Proto == k.proto && rule.Addr == k.remote && rule.Port == k.rport && !r.isOutside(k) {
			return fmt.Sprintf("%v left, though a rule leads that inside", k)
		}
	}
	return ""
}

// isTwofold tells whether a packet from inside may as well belong to a flow with a host
// outside that seems to have the very outside address of the other one. With several
// workers nobody sees that an announced flow and another one are in each other's way.
func (r *reference) isTwofold(t refTurn) bool {
	for k, f := range r.opened {
		if k.proto == t.proto && k.remote == t.dst.addr && k.rport == t.dst.port && f.refEnd == t.src {
			return true
		}
	}
	return false
}

// isOutside tells whether packets have come from the remote end of a key.
func (r *reference) isOutside(k refKey) bool {
	for other := range r.opened {
		if other.proto == k.proto && other.remote == k.remote && other.rport == k.rport {
			return true
		}
	}
	return false
}

var lan6Addr = netip.MustParseAddr("fd00:1:2::1")

package dataplane

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/xdpct/xdpct/nat"
)

// reference is a slow and obvious judge of what may pass from outside to inside. It is
// written from the rules in docs (architecture.md, timeouts.md, deviations.md), decodes
// packets itself and knows nothing of the gateway but what it sent and received. It may
// believe in a flow that has ended early, never in one that nobody opened.
type reference struct {
	now    time.Duration
	opened map[refKey]*refFlow // by what answers look like outside
	rules  []nat.DNATRule
	pools  []nat.Pool
	turned map[refTurn]*refTurned      // flows between hosts inside, by what these send
	loose  map[refWay]bool             // announcements that may name and be for other hosts
	expect map[refExpect][]*refPending // announced connections
	pieces []refPiece                  // fragments that came from outside
	inside []netip.Prefix              // what nobody outside may see of translated packets
	v6     bool                        // sources of IPv6 are translated, too
	passed [numRefWays]int
}

// refWay is a way in.
type refWay uint8

const (
	refReply refWay = iota
	refRule
	refFTP // announced connections
	refTFTP
	refMedia
	refCall
	refRelated
	refWhole // a datagram in fragments
	refLoose // announced connections that are loose

	refTurnRule // between hosts inside: questions by rules, answers, announced connections
	refTurnBack
	refTurnExpect
	refTurnLoose
	refTurnError
	refTurnPiece
	refTurnSelf // of a host to itself
	numRefWays
)

// refKey is a packet from outside: of ICMP queries, rport is type and code of the
// answer, lport the identifier.
type refKey struct {
	proto         uint8
	remote, local netip.Addr
	rport, lport  uint16
}

// refEnd is a host inside, and its port or identifier.
type refEnd struct {
	addr netip.Addr
	port uint16
}

type refFlow struct {
	refEnd
	asked   time.Duration // when the inside last sent something
	last    time.Duration // when a packet last passed
	replied bool
	text    bool   // a helper changes what its packets say
	from    uint16 // the outside port as the inside sees it; 0 = as it is
}

// refPiece is a fragment that came in.
type refPiece struct {
	view
	at time.Duration
}

// lives is how long a flow is known, at most (timeouts.md).
func (f *refFlow) lives(proto uint8) time.Duration {
	seconds := 600
	switch {
	case proto == 6 && f.replied:
		seconds = 432000
	case proto == 6:
		seconds = 300
	case proto == 17 && f.text:
		seconds = 3600
	case proto == 17 && f.replied:
		seconds = 120
	case proto == 17, proto == 1, proto == 58:
		seconds = 30
	case proto == 132:
		seconds = 210
	case proto == 47:
		seconds = 180
	}
	return time.Duration(seconds)*time.Second + time.Second
}

// find returns the flow that a packet from outside answers; nil if there is none.
func (r *reference) find(k refKey) *refFlow {
	f := r.opened[k]
	if f == nil || r.now-f.last > f.lives(k.proto) {
		delete(r.opened, k)
		return nil
	}
	return f
}

// left notes that a packet from inside has left the gateway, and tells what is wrong
// with its look.
func (r *reference) left(in, out []byte) string {
	before, ok := viewOf(in)
	after, ok2 := viewOf(out)
	if !ok || !ok2 {
		return fmt.Sprintf("%x left as %x", in, out)
	}
	if why := r.reveals(&after); why != "" {
		return why
	}
	k, question := after.asQuestion()
	if !question || after.isError() {
		return ""
	}
	if why := r.refuses(k); why != "" {
		return why
	}
	old := r.find(k)
	if old != nil && old.refEnd == before.source() {
		old.last, old.asked = r.now, r.now
		return r.hears(k, old, &before, &after)
	}
	if old != nil && k.proto == 17 && r.now-old.asked < 29*time.Second {
		return fmt.Sprintf("%v is given to %v while %v has it", k, before.source(), old.refEnd)
	}
	f := &refFlow{refEnd: before.source(), asked: r.now, last: r.now, text: k.proto == 6 && k.rport == 21 || k.proto == 17 && k.rport == 5060}
	if b, _ := before.asQuestion(); b.rport != k.rport {
		f.from = b.rport
	}
	r.opened[k] = f
	return r.hears(k, f, &before, &after)
}

// reveals tells what a packet outside shows of hosts inside that are translated.
func (r *reference) reveals(v *view) string {
	hidden := func(a netip.Addr) bool { return (a.Is4() || r.v6) && r.isInside(a) }
	if hidden(v.src) {
		return fmt.Sprintf("left with the source %v", v.src)
	}
	if !v.isError() {
		return ""
	}
	if q, ok := v.quoted(); ok && hidden(q.dst) {
		return fmt.Sprintf("left with a quote of a packet to %v", q.dst)
	}
	return ""
}

// isInside reports whether an address is of a host inside.
func (r *reference) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(r.inside, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refLead is where a packet from outside may go, and by which way.
type refLead struct {
	*refFlow
	way refWay
	by  *refPending // what announced it, if something did
}

// leads tells them for a packet that is no error: a flow, if it has not ended early, or
// the start of another.
func (r *reference) leads(k refKey) (list []refLead) {
	if f := r.find(k); f != nil {
		list = append(list, refLead{f, refReply, nil})
		if f.from != 0 { // or it has ended and begun again, as itself
			asItself := *f
			asItself.from = 0
			list = append(list, refLead{&asItself, refReply, nil})
		}
	}
	return append(list, r.starts(k)...)
}

// starts tells where a packet may go that starts a flow.
func (r *reference) starts(k refKey) (list []refLead) {
	sip := k.proto == 17 && k.lport == 5060
	for _, p := range r.pending(k) {
		list = append(list, refLead{&refFlow{refEnd: p.refEnd, text: p.way == refCall || sip}, p.way, p})
	}
	for _, rule := range r.rules {
		if k.local == rule.Addr && k.lport == rule.Port && k.proto == rule.Proto {
			list = append(list, refLead{&refFlow{refEnd: refEnd{rule.ToAddr, rule.ToPort}, text: sip}, refRule, nil})
		}
	}
	return list
}

// refFit is how well an explanation has to fit. What comes in one burst may explain each
// other, less well than itself.
type refFit uint8

const (
	fitReply   refFit = iota // byte by byte, of a known flow
	fitExactly               // or a new one
	fitMoved                 // or a new one that seems to come from another port
	fitText                  // or a helper has changed the text
	numFits
)

// explains reports whether the packet out, sent to the inside, is what becomes of the
// packet in, which came from outside.
func (r *reference) explains(in, out *view, fit refFit) bool {
	switch {
	case out.fragment:
		return in.fragment && r.explainsPiece(in, out)
	case r.isInside(in.src): // nobody outside speaks for a host inside
		return false
	case in.fragment:
		return r.explainsJoined(in, out)
	case in.isError():
		return r.explainsError(in, out)
	}
	k, ok := in.asAnswer()
	if !ok || len(in.ip)-in.l4 < map[uint8]int{6: 20, 132: 12}[k.proto] {
		return false
	}
	for _, to := range r.leads(k) {
		if fit == fitReply && to.refFlow != r.opened[k] ||
			to.way != refReply && (!r.mayStart(k, to.refFlow, out) || fit == fitExactly && to.from != 0) {
			continue
		}
		if slices.Equal(translatedSlowly(in, to.refFlow), out.ip) || fit == fitText && to.text && sameText(in, out, to.refFlow) {
			r.use(k, to)
			r.told(k, in, to.refFlow)
			return true
		}
	}
	return false
}

// explainsJoined does so for a datagram of a flow with a helper that came in pieces,
// in is one of them, and is whole now.
func (r *reference) explainsJoined(in, out *view) bool {
	k, ok := in.asAnswer()
	if !ok || len(in.ip)-in.l4 >= len(out.ip)-out.l4 {
		return false
	}
	tftp := k.proto == 17 && (k.rport == 69 || k.lport == 69)
	for _, to := range r.leads(k) {
		if (to.text || tftp) && (to.way == refReply || r.mayStart(k, to.refFlow, out)) && sameEnds(in, out, to.refFlow) {
			r.passed[refWhole]++
			r.use(k, to)
			r.told(k, out, to.refFlow)
			return true
		}
	}
	return false
}

// mayStart decides whether a connection from outside may begin as out shows it: from
// another port than its own only if the inside end has a flow of its own to that, or one
// with another host inside that it knows by that.
func (r *reference) mayStart(k refKey, f *refFlow, out *view) bool {
	o, ok := out.asAnswer()
	if !ok || o.rport == k.rport {
		return ok
	}
	if r.turnedBy(refTurn{k.proto, f.refEnd, refEnd{k.remote, k.rport}}) != nil {
		f.from = o.rport
		return true
	}
	for other, have := range r.opened {
		if other != k && other.proto == k.proto && other.remote == k.remote && other.rport == k.rport && have.refEnd == f.refEnd {
			f.from = o.rport
			return true
		}
	}
	return false
}

// use notes that a packet has come in.
func (r *reference) use(k refKey, to refLead) {
	r.passed[to.way]++
	f := to.refFlow
	for _, other := range r.leads(k) { // it may have come by that way as well
		f.text = f.text || other.text && other.refEnd == f.refEnd
	}
	if to.way == refReply {
		known := r.opened[k]
		known.replied, known.last, known.from, known.text = true, r.now, f.from, f.text
		return
	}
	if to.by != nil && to.by.isLoose(k.remote) {
		r.passed[refLoose]++
	}
	r.fulfilled(k, to)
	// Both directions of it may come from outside to the target only: its answers go out.
	f.last, f.asked, f.replied = r.now, r.now-time.Hour, true
	r.opened[k] = f
}

// sameEnds compares addresses and ports only.
func sameEnds(in, out *view, to *refFlow) bool {
	k, ok := out.asAnswer()
	was, _ := in.asAnswer()
	if to.from != 0 {
		was.rport = to.from
	}
	return ok && k == refKey{was.proto, was.remote, to.addr, was.rport, to.port}
}

// sameText compares them and what a helper leaves as it is.
func sameText(in, out *view, to *refFlow) bool {
	if !sameEnds(in, out, to) {
		return false
	}
	if in.proto != 17 {
		return true
	}
	a, b := in.payload(), out.payload()
	return fieldOf(a, "Call-ID") == fieldOf(b, "Call-ID") && strings.HasPrefix(b, a[:min(len(a), 4)])
}

// explainsError does so for an ICMP error: it must quote a packet that left, and tell
// the host that sent it.
func (r *reference) explainsError(in, out *view) bool {
	q, ok := in.quoted()
	if !ok || in.proto == 1 && in.ip[in.l4] == 5 || len(in.ip) != len(out.ip) {
		return false
	}
	k, ok := q.asQuestion()
	if !ok || q.isError() {
		return false
	}
	f := r.find(k)
	if f == nil || in.dst != q.src || !out.isError() || out.src != in.src || out.dst != f.addr {
		return false
	}
	// Else only the sender in the quote differs, and checksums.
	oq, ok := out.quoted()
	if !ok || oq.source() != f.refEnd || oq.src != f.addr || oq.dst != q.dst || oq.proto != q.proto {
		return false
	}
	differ := 0
	for i := in.l4 + 8; i < len(in.ip); i++ {
		if in.ip[i] != out.ip[i] {
			differ++
		}
	}
	if differ > 16+2+2+4 || !sumsRight(out) {
		return false
	}
	r.passed[refRelated]++
	return true
}

// explainsPiece does so for a fragment: it carries what one from outside carried, and
// of a first one that datagram may come in.
func (r *reference) explainsPiece(in, out *view) bool {
	if r.isInside(in.src) || in.from != out.from || in.more != out.more || in.id != out.id || in.src != out.src || in.proto != out.proto || len(in.ip) != len(out.ip) {
		return false
	}
	if in.from > 0 {
		return bytes.Equal(in.ip[in.l4:], out.ip[out.l4:])
	}
	if in.isError() {
		q, ok := in.quoted()
		k, ok2 := q.asQuestion()
		f := r.find(k)
		return ok && ok2 && f != nil && in.dst == q.src && out.dst == f.addr
	}
	k, ok := in.asAnswer()
	if !ok {
		return false
	}
	const header = 20 // bytes, TCP's: ports and sums may differ in them
	for _, to := range r.leads(k) {
		if (to.way == refReply || r.mayStart(k, to.refFlow, out)) && sameEnds(in, out, to.refFlow) &&
			bytes.Equal(in.ip[min(in.l4+header, len(in.ip)):], out.ip[min(out.l4+header, len(out.ip)):]) {
			r.passed[refWhole]++
			r.use(k, to)
			return true
		}
	}
	return false
}

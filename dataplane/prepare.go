package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

// outlook is what a packet without a flow will need, as far as it follows from
// the packet, the routes and the rules alone.
type outlook struct {
	dst, src uint16     // next hops towards the packet's own addresses
	out      uint16     // next hop after destination translation
	ruled    bool       // a DNAT rule translates the destination
	choice   nat.Choice // the translation, if nothing is in its way; valid iff out is a real next hop
}

// prepare looks ahead for the packets that lookup found no flow for: it finds out
// where they go and which reply tuple their flows will have, and asks for what
// the table has about that. So the misses of a burst of new flows overlap. It
// decides nothing but who has that flow: by the time that track comes to a packet,
// an earlier one may have made it.
//
// Reads: tuple, in. Writes: outlook, verdict.
func (w *Worker) prepare(b *burst) {
	w.leave(b)
	n := b.unknowns
	if n == 0 {
		return
	}
	t, k := w.flows.table, &b.replies
	var origs [BurstSize]*flowtable.Tuple
	for from := 0; from < n+matchDelay; from += prefetchGroup { // as in parse
		to := min(from+prefetchGroup, n)
		for i := from; i < to; i++ {
			p, o := &b.pkts[b.unknown[i]], &b.outlooks[i]
			p.outlook, origs[i] = uint8(i+1), &p.tuple
			w.lookAhead(p, o)
			k.Hashes[i] = o.choice.Hash
		}
		t.Prefetch(k, min(from, n), max(to, min(from, n)))
		t.MatchLate(k)
		if at := from - matchDelay; at >= 0 {
			t.Match(k, at, min(at+prefetchGroup, n))
		}
	}
	t.MatchLate(k)
	w.flows.nat.Recall(origs[:n])
}

// leave hands over those packets without a flow whose owner, by RSS, is another
// worker.
func (w *Worker) leave(b *burst) {
	if b.final && !b.gathered || w.cfg.steering.ByRSS == 0 {
		return
	}
	stay := 0
	for _, i := range b.unknown[:b.unknowns] {
		if !w.elsewhere(&b.pkts[i]) {
			b.unknown[stay] = i
			stay++
		}
	}
	b.unknowns = stay
}

// lookAhead sets o for a packet.
func (w *Worker) lookAhead(p *pkt, o *outlook) {
	o.dst = w.routes.lookup(p.tuple.Dst, p.hdr.Family)
	o.src = w.routes.lookup(p.tuple.Src, p.hdr.Family)
	o.out, o.ruled = o.dst, false
	if to, _, hit := w.flows.nat.MatchDNAT(&p.tuple); hit {
		o.out, o.ruled = w.routes.lookup(to, p.hdr.Family), true
	}
	if o.out >= fib.FirstHop {
		hop := w.routes.now.Hop(o.out)
		w.flows.nat.Propose(&o.choice, w.flows.table, &p.tuple, w.cfg.realm[p.in], w.cfg.realm[hop.Port], masqueradeAddr(hop))
	}
}

// outlookOf returns the outlook of a packet. Some turn out only in track to have
// no flow: those whose flow ends in this burst.
func (w *Worker) outlookOf(p *pkt) *outlook {
	if p.outlook != 0 {
		return &w.burst.outlooks[p.outlook-1]
	}
	o := &w.burst.outlooks[BurstSize]
	w.lookAhead(p, o)
	return o
}

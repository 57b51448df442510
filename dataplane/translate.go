package dataplane

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// translate gives each packet of a translated flow the addresses and ports of
// the other side. It only applies what track chose: the packet must look as
// the packets that the opposite direction answers.
//
// Reads: hdr, plain, tuple, ref, related, bare. Writes: the headers of
// the frame, and of the later pieces of its datagram.
func (w *Worker) translate(b *burst) {
	for i := range b.n {
		if p := &b.pkts[i]; p.verdict == VerdictForward && !p.bare {
			w.translateOne(p)
		}
	}
}

// translated is the status of flows with any address or port changed.
const translated = flowtable.StatusSNAT | flowtable.StatusDNAT

func (w *Worker) translateOne(p *pkt) {
	idx, dir := p.ref.Index(), p.ref.Dir()
	f := w.flows.table.Flow(idx)
	if f.Status()&translated == 0 {
		return
	}
	if p.plain {
		addrs, ports := f.Target4(dir)
		nat.RewritePlain(p.frame, p.hdr.Proto, addrs, ports)
		return
	}
	var to flowtable.Tuple
	if p.related {
		quoted := p.tuple.Invert()
		w.flows.table.Tuple(idx, dir.Opposite(), &to)
		var inner packet.Headers
		packet.ParseInner(p.frame, int(p.hdr.Payload), &inner) // as it did in parse
		nat.RewriteICMPError(p.frame, &p.hdr, &inner, &quoted, &to)
	} else {
		w.flows.table.Target(idx, dir, &to)
		nat.Rewrite(p.frame, &p.hdr, &p.tuple, &to)
	}
	if p.rest != 0 {
		w.translateRest(p)
	}
}

// untranslate gives a packet back the form in which it came in.
func (w *Worker) untranslate(p *pkt) {
	idx := p.ref.Index()
	if w.flows.table.Flow(idx).Status()&translated == 0 {
		return
	}
	var now flowtable.Tuple
	w.flows.table.Target(idx, p.ref.Dir(), &now)
	nat.Rewrite(p.frame, &p.hdr, &now, &p.tuple)
}

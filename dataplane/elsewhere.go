package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

// maxStrays bounds the tuples that are found through flowtable.Strays.
const maxStrays = 65536

// elsewhere hands a packet that this worker has no flow for to the worker that
// would have one, and reports whether there is such a worker. It is for
// protocols that are mirrored: the NIC brings the packets of most flows to where
// the flow is, which a hit proves. What finds nothing
//
//   - starts a flow: then the NIC has brought it to the owner as well;
//   - belongs to a flow whose directions are spread to different queues:
//     untranslated, behind a DNAT rule, announced, or quoted by an ICMP error;
//   - or came to a wrong queue because the spreading has changed since the start.
//
// A packet that was handed over is never handed on.
func (w *Worker) elsewhere(p *pkt) bool {
	if w.burst.final || w.cfg.steering.ByRSS == 0 {
		return false
	}
	owner, known := w.cfg.strays.Find(&p.tuple)
	if !known {
		owner = w.owner(&p.tuple, p.in)
	}
	if owner == w.id {
		return false
	}
	w.handOver(p, owner)
	return true
}

// owner says which worker owns the flow of a packet with this tuple that came
// in by this port. It is a pure function of the packet, the rules, the routes
// and the spreading of the NICs at the start. Of mirrored protocols it is
//
//   - of a packet from inside: where the NIC brings it;
//   - of an answer to a translated source: where the NIC brings it, for the
//     port was chosen so (nat.Translator);
//   - of a packet to or from the target of a DNAT rule: where the NIC brings
//     the client's packets;
//   - of an untranslated answer: where the NIC brought the question;
//   - between two internal hosts: as the ports say, in either direction.
func (w *Worker) owner(t *flowtable.Tuple, in uint8) int {
	if !w.cfg.steering.Mirrors(t) {
		return w.ownerByPort(t, in)
	}
	if w.cfg.realm[in] == nat.RealmInternal {
		if w.staysInside(t) {
			return nat.PortOwner(t.SrcPort^t.DstPort, w.cfg.workers)
		}
		return w.ownerFromInside(t)
	}
	answer := t.Invert()
	if to, port, ok := w.flows.nat.MatchDNAT(t); ok {
		answer.Src, answer.SrcPort = to, port
	} else if w.flows.nat.Translates(t.Family, t.Dst) || w.isLocal(t.Dst, t.Family) {
		return w.cfg.steering.External.Worker(t)
	}
	return w.ownerFromInside(&answer)
}

// ownerFromInside is owner for a packet from inside to outside. Several rules
// may have one target: the first of them stands for all.
func (w *Worker) ownerFromInside(t *flowtable.Tuple) int {
	if addr, port, served := w.flows.nat.MatchDNATReply(t); served {
		question := t.Invert()
		question.Dst, question.DstPort = addr, port
		return w.cfg.steering.External.Worker(&question)
	}
	return w.cfg.steering.Internal.Worker(t)
}

// noteStrays tells the other workers of the directions of a new flow that they
// would look for elsewhere. It reports false if there is no room for that.
func (w *Worker) noteStrays(p *pkt, reply *flowtable.Tuple, status flowtable.Status) bool {
	if !w.cfg.steering.Mirrors(&p.tuple) {
		return true
	}
	strayed := w.burst.final && w.owner(&p.tuple, p.in) != w.id
	if strayed && !w.cfg.strays.Add(&p.tuple, w.id) {
		return false
	}
	if status&(flowtable.StatusSNAT|flowtable.StatusDNAT) == flowtable.StatusSNAT && reply.Dst != p.tuple.Src {
		return true // the port was chosen so that answers come here
	}
	in := w.routes.now.Hop(w.routes.lookup(reply.Src, reply.Family)).Port
	if in == fib.NoPort || w.owner(reply, uint8(in)) == w.id || w.cfg.strays.Add(reply, w.id) {
		return true
	}
	if strayed {
		w.cfg.strays.Remove(&p.tuple, w.id)
	}
	return false
}

// forgetStrays takes back what noteStrays told of a flow that ends.
func (w *Worker) forgetStrays(idx uint32) {
	var tu flowtable.Tuple
	for d := flowtable.DirOriginal; d <= flowtable.DirReply; d++ {
		w.flows.table.Tuple(idx, d, &tu)
		w.cfg.strays.Remove(&tu, w.id)
	}
}

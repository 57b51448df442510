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
// A packet that was handed over is never handed on, unless it has been put together
// here.
func (w *Worker) elsewhere(p *pkt) bool {
	if w.stays(p) || w.cfg.steering.ByRSS == 0 {
		return false
	}
	owner, known := w.cfg.strays.Find(&p.tuple)
	if !known {
		owner = w.owner(&p.tuple, p.in)
	}
	if owner == w.id {
		return false
	}
	if !p.related && p.rest == 0 && w.cfg.steering.Mirrors(&p.tuple) && w.cfg.side(p.in).Worker(&p.tuple) != w.id {
		w.count.misspread.Add(1)
	}
	w.handOver(p, owner)
	return true
}

// followMaster hands the first packet of a flow that is to follow its master to the
// worker that has that, and reports whether it has. So what an FTP server
// sends on both connections leaves in the order in which it came: a client that hears
// that the transfer is over before the connection for it is there takes that for an
// error. By RSS they come to different queues, and nobody knows the order.
//
// The other worker keeps the port that the server connects from though it is not its
// own: this one, which owns it, has to see that no flow of its own is in the way.
func (w *Worker) followMaster(p *pkt, e *flowtable.Expectation) bool {
	if int(e.Master.Worker) == w.id || !e.Follows || w.cfg.steering.Mirrors(&p.tuple) ||
		w.cfg.strays.Len() > maxStrays-2 {
		return false
	}
	choice := w.flows.nat.Expected(w.flows.table, &p.tuple, e, nil, w.masterReply(e), w.clock.now)
	if !w.chosen(p, &choice) {
		return true
	}
	if choice.Reply.DstPort != p.tuple.SrcPort {
		return false
	}
	w.handOver(p, int(e.Master.Worker))
	return true
}

// side returns the spreading of the NICs on the side of a port.
func (c *pathConfig) side(port uint8) *nat.RSS {
	return c.steering.Side(c.realm[port])
}

// owner says which worker owns the flow of a packet with this tuple that came
// in by this port. It is a pure function of the packet, the rules, the routes
// and the spreading of the NICs at the start. Of mirrored protocols it is
//
//   - of a packet from inside: where the NIC brings it;
//   - of an answer to a translated source: where the NIC brings it, for the
//     port was chosen so (nat.Translator);
//   - of any other packet from outside: where the NIC brings what is sent the
//     other way inside: the answers of a DNAT rule's target, or the untranslated
//     questions;
//   - between two internal hosts: as the ports say, in either direction.
func (w *Worker) owner(t *flowtable.Tuple, in uint8) int {
	s := &w.cfg.steering
	switch {
	case !s.Mirrors(t):
		return w.ownerByPort(t, in)
	case w.cfg.realm[in] == nat.RealmInternal && w.staysInside(t):
		return nat.PortOwner(t.SrcPort^t.DstPort, w.cfg.workers)
	case w.cfg.realm[in] == nat.RealmInternal:
		return s.Internal.Worker(t)
	}
	inside := t.Invert()
	if to, port, ok := w.flows.nat.MatchDNAT(t); ok {
		inside.Src, inside.SrcPort = to, port
	} else if w.flows.nat.Translates(t.Family, t.Dst) || w.isLocal(t.Dst, t.Family) {
		return s.External.Worker(t)
	}
	return s.Internal.Worker(&inside)
}

// noteStrays tells the other workers of the directions of a new flow that they
// would look for elsewhere. It reports false if there is no room for that.
func (w *Worker) noteStrays(p *pkt, reply *flowtable.Tuple, status flowtable.Status) bool {
	if !w.cfg.steering.Mirrors(&p.tuple) {
		return status&flowtable.StatusExpected == 0 && status&translated != translated || w.noteFollowed(p, reply)
	}
	// A packet that was not handed over would have been, if its owner were another.
	if w.burst.final && w.owner(&p.tuple, p.in) != w.id && !w.cfg.strays.Add(&p.tuple, w.id) {
		return false
	}
	if status&(flowtable.StatusSNAT|flowtable.StatusDNAT|flowtable.StatusExpected) == flowtable.StatusSNAT {
		return true // the port was chosen so that answers come here
	}
	return w.noteAnswers(reply)
}

// noteFollowed is noteStrays for a flow that goes by port number and was announced, or is
// translated on both ends: the port of such a one is steered by in both directions, but
// not if the routes take its outside addresses for inside ones.
func (w *Worker) noteFollowed(p *pkt, reply *flowtable.Tuple) bool {
	if w.ownerByPort(&p.tuple, p.in) != w.id && !w.cfg.strays.Add(&p.tuple, w.id) {
		return false
	}
	return w.noteAnswers(reply)
}

// noteAnswers notes the reply direction of a flow, if its packets would be looked for
// elsewhere.
func (w *Worker) noteAnswers(reply *flowtable.Tuple) bool {
	in := w.routes.now.Hop(w.routes.lookup(reply.Src, reply.Family)).Port
	return in == fib.NoPort || w.owner(reply, uint8(in)) == w.id || w.cfg.strays.Add(reply, w.id)
}

// takenElsewhere reports whether a flow of another worker, that is not where its port
// belongs, has a reply tuple.
func (w *Worker) takenElsewhere(reply *flowtable.Tuple) bool {
	owner, known := w.cfg.strays.Find(reply)
	return known && owner != w.id
}

// forgetStrays takes back what noteStrays told of a flow that ends.
func (w *Worker) forgetStrays(idx uint32) {
	var tu flowtable.Tuple
	for d := flowtable.DirOriginal; d <= flowtable.DirReply; d++ {
		w.flows.table.Tuple(idx, d, &tu)
		w.cfg.strays.Remove(&tu, w.id)
	}
}

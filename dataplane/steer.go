package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// peer is another worker as this one sees it.
type peer struct {
	out   *spsc[handed] // to it; nil for oneself
	in    *spsc[handed] // from it; nil for oneself
	waker *waker        // ends its sleep
}

// steer hands packets of flows that another worker owns to that worker, as far
// as the port number tells it. Packets that were handed over (q nil) are
// already where they belong. What the NICs are known to spread by RSS is where
// its flow is, or has none yet: track asks for those (elsewhere).
//
// Reads: tuple, in, addr. Writes: verdict; final of the burst.
func (w *Worker) steer(b *burst, q *rxQueue) {
	s := &w.cfg.steering
	b.final = q == nil || len(w.edge.peers) == 1
	if b.final && !b.gathered || s.ByRSS == nat.AllProtocols {
		return
	}
	strays := w.cfg.strays.Any()
	for i := range b.n {
		p := &b.pkts[i]
		if p.verdict != VerdictForward || s.Mirrors(&p.tuple) || w.stays(p) {
			continue
		}
		owner, known := 0, false
		if strays {
			owner, known = w.cfg.strays.Find(&p.tuple) // has followed its master
		}
		if !known {
			owner = w.ownerByPort(&p.tuple, p.in)
		}
		if owner != w.id {
			w.handOver(p, owner)
		}
	}
	w.wakePeers()
}

// stays reports whether a packet may not be handed over: it was already, or there
// is nobody else. What was put together from pieces that were handed over may be.
func (w *Worker) stays(p *pkt) bool { return w.burst.final && !p.gathered }

// handOver passes a packet to another worker. wakePeers must follow.
func (w *Worker) handOver(p *pkt, to int) {
	if p.rest != 0 {
		w.handOverPieces(p, to)
		return
	}
	h := handed{addr: p.addr, len: uint32(len(p.frame)), in: uint32(p.in)}
	if !w.edge.peers[to].out.push(&h) {
		p.drop(DropHandoverFull)
		return
	}
	p.verdict = VerdictHandedOver
	w.edge.wake |= 1 << to
}

// wakePeers ends the sleep of the workers that packets were handed to.
func (w *Worker) wakePeers() {
	if w.edge.wake == 0 {
		return
	}
	for i := range w.edge.peers {
		if w.edge.wake&(1<<i) != 0 {
			w.edge.peers[i].waker.wake()
		}
	}
	w.edge.wake = 0
}

// ownerByPort says which worker owns the flow of a packet with this tuple that
// came in by this port, as port numbers tell it. It is a pure function of the packet and the rules, and the
// same for both directions of a flow:
//
//   - the port number on the internal side decides. NAT gives out external
//     ports of the owner only (nat.PortOwner), so the destination port of the
//     answer says the same as the source port of the question, and a port
//     that is kept is always owned;
//   - behind a DNAT rule many clients share one internal port, so there the
//     client's port decides;
//   - between two internal hosts both ports decide, so that it does not matter
//     who asks (between two external ones nothing is forwarded). So do the external
//     ports of two that both are behind rules and meet by those (hairpin);
//   - protocols without ports belong to worker 0.
func (w *Worker) ownerByPort(t *flowtable.Tuple, in uint8) int {
	switch t.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
	case packet.ProtoICMP, packet.ProtoICMPv6: // the identifier, in both directions
		return nat.PortOwner(t.SrcPort, w.cfg.workers)
	default:
		return 0
	}
	return nat.PortOwner(w.owningPort(t, in), w.cfg.workers)
}

// owningPort returns the L4 port that decides who owns a TCP, UDP or SCTP flow.
func (w *Worker) owningPort(t *flowtable.Tuple, in uint8) uint16 {
	if w.cfg.realm[in] == nat.RealmExternal {
		// An untranslated answer to a server behind a rule counts as the
		// server's own packets do below.
		if _, _, served := w.flows.nat.MatchDNAT(t); served || w.flows.nat.MatchDNATTarget(t) {
			return t.SrcPort
		}
		return t.DstPort
	}
	if w.staysInside(t) {
		return t.SrcPort ^ t.DstPort
	}
	if _, known, served := w.flows.nat.MatchDNATReply(t); served {
		if _, _, hairpin := w.flows.nat.MatchDNAT(t); hairpin {
			return known ^ t.DstPort
		}
		return t.DstPort
	}
	return t.SrcPort
}

// staysInside reports whether a packet from an internal port is routed to an
// internal port, and not turned back there by a rule.
func (w *Worker) staysInside(t *flowtable.Tuple) bool {
	if _, _, hairpin := w.flows.nat.MatchDNAT(t); hairpin {
		return false
	}
	hop := w.routes.lookup(t.Dst, t.Family)
	return hop >= fib.FirstHop && w.cfg.realm[w.routes.now.Hop(hop).Port] == nat.RealmInternal
}

package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// forward finds each packet's next hop, lowers its TTL and writes the Ethernet
// header of the way out.
//
// Reads: frame, hdr, ref, bare. Writes: hop, out, frame, verdict. The next hop is
// kept in the flow, and looked up again only when a route or neighbour
// changed.
func (w *Worker) forward(b *burst) {
	for i := range b.n {
		if p := &b.pkts[i]; p.verdict == VerdictForward {
			w.forwardOne(p)
		}
	}
}

func (w *Worker) forwardOne(p *pkt) {
	p.hop = w.nextHop(p)
	if p.verdict != VerdictForward {
		return
	}
	if p.hop < fib.FirstHop {
		w.lostRoute(p)
		return
	}
	hop := w.routes.now.Hop(p.hop)
	if int(p.hdr.End-p.hdr.L3) > int(hop.MTU) {
		w.tooBig(p, hop.MTU)
		return
	}
	if p.rest != 0 && !w.forwardRest(p, hop) {
		return
	}
	if p.hdr.Family == packet.IPv4 {
		packet.IPv4Header(p.frame[p.hdr.L3:]).DecrementTTL()
	} else {
		packet.IPv6Header(p.frame[p.hdr.L3:]).DecrementHopLimit()
	}
	if !hop.Valid {
		w.hold(p, hop)
		return
	}
	p.out = uint8(hop.Port)
	w.routes.now.MarkUsed(p.hop, uint32(w.clock.now)/flowtable.TicksPerSecond)
	packet.Ethernet(p.frame).SetAddrs(&hop.DstMAC, &hop.SrcMAC)
}

// nextHop returns the packet's next hop, from its flow if the routing snapshot
// is the one that it was found in. ICMP errors and untracked packets have no
// flow in their direction to keep it in.
func (w *Worker) nextHop(p *pkt) uint16 {
	if p.bare || p.related {
		return w.routes.lookup(w.outerDst(p), p.hdr.Family)
	}
	f := w.flows.table.Flow(p.ref.Index())
	if f.NextHopGen != w.routes.now.Gen() && !w.renewHops(p.ref.Index(), f) {
		w.flows.dying = append(w.flows.dying, p.ref.Index())
		p.drop(DropRouteMoved)
	}
	return f.NextHop[p.ref.Dir()]
}

// renewHops looks up the next hops of both directions of a flow. It reports
// false if the flow cannot go on: its way out has changed in a manner that its
// translation, chosen for the old one, does not fit. That is to the other side
// of the gateway, or, masquerading, to a port with another address
// (nf_nat_oif_changed). Hop ids keep their meaning across snapshots.
func (w *Worker) renewHops(idx uint32, f *flowtable.Flow) bool {
	old := f.NextHop[flowtable.DirOriginal]
	var tu flowtable.Tuple
	for d := flowtable.DirOriginal; d <= flowtable.DirReply; d++ {
		// A packet goes to where the opposite direction comes from.
		w.flows.table.Tuple(idx, d.Opposite(), &tu)
		f.NextHop[d] = w.routes.lookup(tu.Src, tu.Family)
	}
	f.NextHopGen = w.routes.now.Gen()
	f.ClearStatus(flowtable.StatusOriginalInside | flowtable.StatusReplyInside)
	f.AddStatus(w.insides(f.NextHop))
	was, is := w.routes.now.Hop(old).Port, w.routes.now.Hop(f.NextHop[flowtable.DirOriginal]).Port
	if was == fib.NoPort || is == fib.NoPort || was == is {
		return true
	}
	masqueraded := w.cfg.masquerade && f.Status()&flowtable.StatusSNAT != 0 && w.cfg.realm[is] == nat.RealmExternal
	return w.cfg.realm[was] == w.cfg.realm[is] && !masqueraded
}

// lostRoute drops a packet of a flow that has lost its route, and tells the
// sender, quoting the packet as it knows it.
func (w *Worker) lostRoute(p *pkt) {
	w.unroutable(p)
	if p.reason == DropNoRoute && !p.related {
		if !p.bare {
			w.untranslate(p)
		}
		w.sendUnreachable(p, packet.ICMPCodeNetUnreachable)
	}
}

// unroutable drops a packet that the routes give no way out for.
func (w *Worker) unroutable(p *pkt) {
	switch p.hop {
	case fib.HopBlackhole, fib.HopUnreachable, fib.HopProhibit:
		p.drop(DropRouteForbidden)
	case fib.HopNotPort:
		p.drop(DropNotOurPort)
	case fib.HopLocal, fib.HopLinkScope:
		p.drop(DropLocalDst)
	default:
		p.drop(DropNoRoute)
	}
}

// tooBig tells the sender the size that fits (RFC 1191, RFC 8201). The answer
// quotes the packet as its sender knows it, so the translation is undone.
func (w *Worker) tooBig(p *pkt, mtu uint16) {
	p.drop(DropTooBig)
	if p.related {
		return
	}
	if !p.bare {
		w.untranslate(p)
	}
	w.sendTooBig(p, mtu)
}

// lookup returns the next hop towards an address.
func (r *routeState) lookup(a packet.Addr, f packet.Family) uint16 {
	if f == packet.IPv4 {
		return r.now.Lookup4(uint32(a.Lo))
	}
	return r.now.Lookup6(a.Hi, a.Lo)
}

// isLocal reports whether an address is one of the box's own.
func (w *Worker) isLocal(a packet.Addr, f packet.Family) bool {
	return w.routes.lookup(a, f) == fib.HopLocal
}

// flowID names a flow across workers.
func (w *Worker) flowID(idx uint32) flowtable.FlowID {
	return flowtable.FlowID{Worker: uint8(w.id), Index: idx, Gen: w.flows.table.Gen(idx)}
}

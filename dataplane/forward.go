package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// forward finds each packet's next hop, lowers its TTL and writes the Ethernet
// header of the way out.
//
// Reads: frame, hdr, ref, bare. Writes: hop, frame, verdict. The next hop is
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
	if p.hop < fib.FirstHop {
		w.unroutable(p)
		return
	}
	hop := w.routes.now.Hop(p.hop)
	if int(p.hdr.End-p.hdr.L3) > int(hop.MTU) {
		w.tooBig(p, hop.MTU)
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
	f, d := w.flows.table.Flow(p.ref.Index()), p.ref.Dir()
	gen := w.routes.now.Gen()
	if f.NextHopGen != gen {
		f.NextHop, f.NextHopGen = [2]uint16{}, gen
	}
	if f.NextHop[d] == 0 {
		f.NextHop[d] = w.routes.lookup(w.outerDst(p), p.hdr.Family)
	}
	return f.NextHop[d]
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

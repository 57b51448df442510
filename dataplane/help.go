package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// help shows the packets of flows with a helper to that helper, which may
// announce flows and rewrite text, and adjusts the sequence numbers of flows
// whose text has changed in length.
//
// Reads: class, ref, hdr. Writes: frame, hdr, verdict.
//
// In the kernel helpers run after source NAT (NF_IP_PRI_CONNTRACK_HELPER);
// here they run before it, so a helper sees the addresses as the sender wrote
// them and reads the translated ones from the flow's tuples.
func (w *Worker) help(b *burst) {
	if !b.helped {
		return
	}
	for i := range b.n {
		p := &b.pkts[i]
		if p.class == helpInspect && p.verdict == VerdictForward && !p.bare {
			w.helpOne(p)
		}
	}
}

func (w *Worker) helpOne(p *pkt) {
	idx := p.ref.Index()
	f := w.flows.table.Flow(idx)
	x := w.flows.table.Ext(idx)
	if x == nil || f.Status()&flowtable.StatusDying != 0 {
		return
	}
	if x.Helper != 0 && !w.inspect(p, idx, helpers.ID(x.Helper)) {
		return
	}
	if f.Status()&flowtable.StatusSeqAdjust != 0 {
		nat.AdjustTCP(p.frame, &p.hdr, x, p.ref.Dir())
	}
}

// inspect calls the flow's helper; false means that it dropped the packet.
func (w *Worker) inspect(p *pkt, idx uint32, id helpers.ID) bool {
	c := &w.helper
	c.Index, c.Dir, c.Now = idx, p.ref.Dir(), w.clock.now
	c.Headers, c.MTU = &p.hdr, w.mtuAhead(idx, c.Dir)
	if p.rest != 0 {
		w.join(p, c.MTU)
	}
	c.Frame = p.frame
	verdict := w.cfg.helpers.Packet(id, c)
	switch verdict {
	case helpers.VerdictAccept:
	case helpers.VerdictChanged:
		p.frame = c.Frame
	default:
		p.drop(DropHelper)
		return false
	}
	return true
}

// helperTells counts and tells subscribers of an expectation that a packet brought, or
// put an end to.
func (w *Worker) helperTells(kind flowtable.EventKind, x *flowtable.Expectation) {
	w.edge.events.immediate = true
	w.emitExpectation(kind, x)
	w.edge.events.immediate = false
}

// mtuAhead returns the MTU of the way that packets of a flow's direction take, 0
// if it is not known before forward has looked it up.
func (w *Worker) mtuAhead(idx uint32, d flowtable.Dir) uint16 {
	f := w.flows.table.Flow(idx)
	if f.NextHopGen != w.routes.now.Gen() || f.NextHop[d] < fib.FirstHop {
		return 0
	}
	return w.routes.now.Hop(f.NextHop[d]).MTU
}

// helperCounters lists what helpers count, by helper and cause.
func helperCounters() []named {
	var list []named
	for _, c := range helpers.AllCounted() {
		list = append(list, named{c.Name, c.Help, func(w *Worker) uint64 { return w.helper.Counters.Load(c.ID, c.Cause) }})
	}
	return list
}

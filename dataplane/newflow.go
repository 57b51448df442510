package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// newFlow makes the flow that a packet without one starts, or ends the
// packet's way.
//
// The order is that of netfilter: state machine, expectation, destination
// translation, route, source translation, insertion. A packet that is dropped
// on the way leaves no flow behind.
func (w *Worker) newFlow(p *pkt) {
	if w.elsewhere(p) {
		return
	}
	state, timeout, cause := w.flows.tracker.Start(p.frame, &p.hdr)
	local := w.isLocal(p.tuple.Dst, p.hdr.Family)
	if cause != flowtable.InvalidNone {
		if local { // of a connection that the box itself has
			p.verdict = VerdictPunt
			return
		}
		w.invalid(p, cause)
		return
	}
	if w.martianSource(p) {
		p.drop(DropMartianSource)
		return
	}
	if w.flows.expect.Any() && w.newExpected(p, state, timeout) {
		return
	}
	dst, ok := w.admitNew(p, local)
	if !ok || w.expired(p) {
		return
	}
	out, ok := w.routeNew(p, dst)
	if !ok {
		return
	}
	choice := w.flows.nat.Choose(w.flows.table, &p.tuple, w.cfg.realm[p.in], w.cfg.realm[out.Port],
		masqueradeAddr(out), w.clock.now)
	if !w.chosen(p, &choice) {
		return
	}
	w.insert(p, &choice.Reply, choice.Status, state, timeout)
}

// masqueradeAddr returns the address that masquerading uses on a way out; zero
// if the port has none.
func masqueradeAddr(out *fib.NextHop) packet.Addr {
	if !out.Source.IsValid() {
		return packet.Addr{}
	}
	return packet.AddrOf(out.Source)
}

// admitNew decides whether a flow may start here, and where the packet goes
// after destination translation. From outside only a DNAT rule lets a new flow
// in, for either family; what is for the box itself goes to the kernel.
func (w *Worker) admitNew(p *pkt, local bool) (dst packet.Addr, ok bool) {
	external := w.cfg.realm[p.in] == nat.RealmExternal
	if external {
		if to, _, hit := w.flows.nat.MatchDNAT(&p.tuple); hit {
			return to, true
		}
	}
	if local {
		p.verdict = VerdictPunt
		return dst, false
	}
	if external {
		p.drop(DropExternalNew)
		return dst, false
	}
	return p.tuple.Dst, true
}

// routeNew finds the next hop by which a new flow leaves, or tells the sender
// that there is none.
func (w *Worker) routeNew(p *pkt, dst packet.Addr) (*fib.NextHop, bool) {
	p.hop = w.routes.lookup(dst, p.hdr.Family)
	if p.hop >= fib.FirstHop {
		return w.routes.now.Hop(p.hop), true
	}
	w.unroutable(p)
	switch p.hop {
	case fib.HopNone:
		w.sendUnreachable(p, packet.ICMPCodeNetUnreachable)
	case fib.HopUnreachable:
		w.sendUnreachable(p, packet.ICMPCodeHostUnreachable)
	case fib.HopProhibit:
		w.sendUnreachable(p, packet.ICMPCodeAdminProhibited)
	}
	return nil, false
}

// chosen drops the packet if no translation was found.
func (w *Worker) chosen(p *pkt, c *nat.Choice) bool {
	switch c.Reason {
	case nat.ReasonNone:
		return true
	case nat.ReasonClash:
		p.drop(DropNATClash)
	case nat.ReasonNoAddress:
		p.drop(DropNATNoAddress)
	default:
		p.drop(DropNATExhausted)
	}
	return false
}

// newExpected makes a flow that an expectation announced: it is translated as
// its master is (nf_nat_follow_master), and lives on its own from here on. It
// reports false if nothing announced the flow.
func (w *Worker) newExpected(p *pkt, state uint8, timeout flowtable.Tick) bool {
	if _, ok := w.flows.expect.Find(&p.tuple, w.clock.now); !ok {
		return false
	}
	if w.expired(p) { // and the expectation still waits
		return true
	}
	e, ok := w.flows.expect.Take(&p.tuple, w.clock.now)
	if ok {
		w.emitExpectation(flowtable.EventDestroy, &e)
		w.fulfil(p, &e, state, timeout)
		w.flows.nat.ReleaseExpected(&e)
	}
	return ok
}

// fulfil inserts the flow that an expectation announced.
func (w *Worker) fulfil(p *pkt, e *flowtable.Expectation, state uint8, timeout flowtable.Tick) {
	choice := w.flows.nat.Expected(w.flows.table, &p.tuple, e, w.masterReply(e), w.clock.now)
	if !w.chosen(p, &choice) {
		return
	}
	if !w.insert(p, &choice.Reply, choice.Status|flowtable.StatusExpected, state, timeout) {
		return
	}
	w.flows.table.SetMaster(p.ref.Index(), e.Master)
}

// masterReply returns the reply tuple of an expectation's master, which may
// belong to another worker; nil if the master is gone.
func (w *Worker) masterReply(e *flowtable.Expectation) *flowtable.Tuple {
	var s flowtable.Snapshot
	t := w.cfg.tables[e.Master.Worker]
	if !t.Read(e.Master.Index, w.clock.now, &s) || s.Gen != e.Master.Gen {
		return nil
	}
	return &s.Reply
}

// insert puts a flow into the table, arms its timer and tells subscribers.
func (w *Worker) insert(p *pkt, reply *flowtable.Tuple, status flowtable.Status, state uint8, timeout flowtable.Tick) bool {
	t := w.flows.table
	idx, result := t.Insert(&p.tuple, reply, w.clock.now)
	for result != flowtable.InsertOK && w.makeRoom(p, idx, result) {
		idx, result = t.Insert(&p.tuple, reply, w.clock.now)
	}
	switch result {
	case flowtable.InsertOK:
	case flowtable.InsertClash:
		p.drop(DropNATClash)
		return false
	default:
		p.drop(DropTableFull)
		w.count.tableFull.Add(1)
		return false
	}
	w.flows.changed = true
	if !w.noteStrays(p, reply, status) {
		t.Remove(idx)
		p.drop(DropStraysFull)
		return false
	}
	f := t.Flow(idx)
	f.SetState(state)
	f.AddStatus(status | flowtable.StatusConfirmed)
	t.Refresh(idx, timeout, w.clock.now)
	w.flows.nat.Bind(t, idx)
	w.attachHelper(p, idx)
	p.ref = flowtable.RefOf(idx, flowtable.DirOriginal)
	w.count.flowsNew.Add(1)
	w.emitFlow(flowtable.EventNew, idx)
	return true
}

// attachHelper gives a new flow the helper that the operator asked for on its
// destination port.
func (w *Worker) attachHelper(p *pkt, idx uint32) {
	id := w.cfg.helpers.For(&p.tuple)
	if id == helpers.None {
		return
	}
	if !helpers.Attach(w.flows.table, idx, id) {
		w.count.helperNoRoom.Add(1)
		return
	}
	w.wantHelp(p)
}

// makeRoom removes what stands in the way of a new flow, if it may: a flow whose
// time is over but that still holds a tuple, or, in a full table, unassured
// flows first, then closing ones, never a live assured one (early_drop).
func (w *Worker) makeRoom(p *pkt, idx uint32, result flowtable.InsertResult) bool {
	switch result {
	case flowtable.InsertExpired:
		w.removeFlow(idx, flowtable.EndExpired)
		return true
	case flowtable.InsertFull:
		idx = w.flows.table.EvictCandidate(w.clock.now, p.hash, true)
		if idx == 0 {
			return false
		}
		w.removeFlow(idx, flowtable.EndEvicted)
		w.count.earlyDrop.Add(1)
		return true
	default:
		return false
	}
}

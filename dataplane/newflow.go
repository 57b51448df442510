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
	if p.outlook == 0 && w.elsewhere(p) { // its flow ended in this burst
		return
	}
	o := w.outlookOf(p)
	state, timeout, cause := w.flows.tracker.Start(p.frame, &p.hdr)
	if cause != flowtable.InvalidNone {
		if o.dst == fib.HopLocal { // of a connection that the box itself has
			p.verdict = VerdictPunt
			return
		}
		w.invalid(p, cause)
		return
	}
	if !w.admitSource(p, o) {
		return
	}
	if w.flows.expect.Any() && w.newExpected(p, state, timeout) {
		return
	}
	if !w.admitNew(p, o) || w.expired(p) || !w.routeNew(p, o) {
		return
	}
	w.flows.nat.Choose(&o.choice, w.flows.table, &p.tuple, w.clock.now)
	if !w.chosen(p, &o.choice) {
		return
	}
	hops := [2]uint16{o.out, o.src}
	w.insert(p, &o.choice, &flowtable.NewFlow{
		Status: o.choice.Status | w.insides(hops), State: state, Timeout: timeout,
		NextHop: hops, NextHopGen: w.routes.now.Gen(),
	}, nil)
}

// masqueradeAddr returns the address that masquerading uses on a way out; zero
// if the port has none.
func masqueradeAddr(out *fib.NextHop) packet.Addr {
	if !out.Source.IsValid() {
		return packet.Addr{}
	}
	return packet.AddrOf(out.Source)
}

// admitNew decides whether a flow may start here. From outside only a DNAT rule
// lets a new flow in, for either family; what is for the box itself goes to the
// kernel.
func (w *Worker) admitNew(p *pkt, o *outlook) bool {
	switch {
	case o.ruled:
		return true
	case o.dst == fib.HopLocal:
		p.verdict = VerdictPunt
		return false
	case w.cfg.realm[p.in] == nat.RealmExternal:
		p.drop(DropExternalNew)
		return false
	}
	return true
}

// routeNew sets the next hop by which a new flow leaves, or tells the sender that
// there is none.
func (w *Worker) routeNew(p *pkt, o *outlook) bool {
	p.hop = o.out
	if p.hop >= fib.FirstHop {
		return true
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
	return false
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
	e, ok := w.flows.expect.Find(&p.tuple, w.clock.now)
	if !ok || !w.mayFulfil(p, &e) {
		return false
	}
	if w.expired(p) { // and the expectation still waits
		return true
	}
	if w.followMaster(p, &e) {
		return true
	}
	e, ok = w.flows.expect.Take(&p.tuple, w.clock.now)
	if !ok {
		return false
	}
	w.count.expectUsed.Add(1)
	if e.Flags&flowtable.ExpectPermanent != 0 { // it waits on
		w.fulfil(p, &e, state, timeout)
		return true
	}
	w.emitExpectation(flowtable.EventDestroy, &e)
	w.fulfil(p, &e, state, timeout)
	w.flows.nat.ReleaseExpected(&e)
	return true
}

// mayFulfil reports whether an expectation is for a packet, which it matches. Between hosts
// outside nothing is forwarded, whatever one of them announces. Nobody outside takes the
// place of a host inside that such an expectation, for any host, brings by its outside
// address. And what one inside sends to the very place that was announced needs no
// announcement unless it has one itself.
func (w *Worker) mayFulfil(p *pkt, e *flowtable.Expectation) bool {
	if w.cfg.realm[p.in] == nat.RealmExternal {
		return w.isInside(e.SavedAddr, p.tuple.Family) &&
			(!e.Tuple.Src.IsZero() || !w.flows.nat.Translates(p.tuple.Family, p.tuple.Src))
	}
	moved := e.SavedAddr != p.tuple.Dst || e.SavedPort != p.tuple.DstPort
	return moved || !isStranger(&p.tuple, e, w.masterReply(e)) || w.announcedSource(p, e) != nil
}

// fulfil inserts the flow that an expectation announced.
func (w *Worker) fulfil(p *pkt, e *flowtable.Expectation, state uint8, timeout flowtable.Tick) {
	master, own := w.masterReply(e), w.announcedSource(p, e)
	var choice nat.Choice
	if own == nil && isStranger(&p.tuple, e, master) {
		choice = w.flows.nat.ExpectedStranger(w.flows.table, &p.tuple, e, w.cfg.realm[p.in], w.clock.now)
	} else {
		choice = w.flows.nat.Expected(w.flows.table, &p.tuple, e, own, master, w.clock.now)
	}
	if !w.chosen(p, &choice) {
		return
	}
	hops := [2]uint16{w.routes.lookup(choice.Reply.Src, p.tuple.Family), w.outlookOf(p).src}
	f := flowtable.NewFlow{
		Status: choice.Status | flowtable.StatusExpected | w.insides(hops), State: state, Timeout: timeout,
		NextHop: hops, NextHopGen: w.routes.now.Gen(),
	}
	w.insert(p, &choice, &f, e)
}

// isStranger reports whether a flow that e was waiting for comes from another host than
// the other end of its master, whose reply tuple is given: e was for any host.
func isStranger(orig *flowtable.Tuple, e *flowtable.Expectation, masterReply *flowtable.Tuple) bool {
	if !e.Tuple.Src.IsZero() {
		return false
	}
	if e.Dir == flowtable.DirReply {
		return orig.Src != e.MasterOrig.Src
	}
	return masterReply == nil || orig.Src != masterReply.Src
}

// announcedSource returns the expectation by which the source of a packet, which e was
// waiting for, has been announced to the other side, nil if it has not: both ends of a
// stream are announced, and the other side has to see this one come from where it sends
// to. That was by the master of e, or, where both ends are inside and have met by a third
// host, by any flow.
func (w *Worker) announcedSource(p *pkt, e *flowtable.Expectation) *flowtable.Expectation {
	match := func(o *flowtable.Expectation) bool {
		return o.SavedAddr == p.tuple.Src && o.SavedPort == p.tuple.SrcPort && o.Tuple.Proto == p.tuple.Proto &&
			o.Tuple.Family == p.tuple.Family && (o.Tuple.Src == p.tuple.Dst || o.Tuple.Src.IsZero())
	}
	own := w.flows.expect.OfMaster(e.Master, match)
	if own.ID == 0 && w.cfg.realm[p.in] == nat.RealmInternal && w.isInside(e.SavedAddr, p.tuple.Family) {
		w.flows.expect.Each(func(o *flowtable.Expectation) bool {
			if match(o) {
				own = *o
			}
			return own.ID == 0
		})
	}
	if own.ID == 0 {
		return nil
	}
	return &own
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

// insert puts a flow with the tuples of p and c into the table, which arms its
// timer, and tells subscribers. e is what announced the flow, nil = nothing did.
func (w *Worker) insert(p *pkt, c *nat.Choice, f *flowtable.NewFlow, e *flowtable.Expectation) {
	if !w.hostAdmits(p) {
		return
	}
	if w.takenElsewhere(&c.Reply) {
		p.drop(DropNATClash)
		return
	}
	t := w.flows.table
	f.Orig, f.Reply, f.Keys = &p.tuple, &c.Reply, flowtable.Keys{p.hash, c.Hash}
	f.Status |= flowtable.StatusConfirmed
	f.Bytes, f.Start = uint64(p.hdr.IPLen()), w.clock.wall
	idx, result := t.Add(f, w.clock.now)
	for result != flowtable.InsertOK && w.makeRoom(p, idx, result) {
		idx, result = t.Add(f, w.clock.now)
	}
	switch result {
	case flowtable.InsertOK:
	case flowtable.InsertClash:
		p.drop(DropNATClash)
		return
	default:
		p.drop(DropTableFull)
		w.count.tableFull.Add(1)
		return
	}
	if !w.noteStrays(p, f.Reply, f.Status) {
		w.forgetStrays(idx)
		t.Remove(idx)
		p.drop(DropStraysFull)
		return
	}
	w.flows.tracker.Begin(t, idx, p.frame, &p.hdr)
	w.flows.nat.Bind(t, idx, &p.tuple, c)
	w.attachHelper(p, idx, e)
	p.ref = flowtable.RefOf(idx, flowtable.DirOriginal)
	w.count.flowsNew.Add(1)
	w.hostBegan(&p.tuple, w.clock.now)
	w.emitFlow(flowtable.EventNew, flowtable.ChangeState, idx)
}

// attachHelper gives a new flow its helper: that of the expectation e, which may be
// nil, else the one that the operator asked for on its destination port; and its
// master.
func (w *Worker) attachHelper(p *pkt, idx uint32, e *flowtable.Expectation) {
	id, master := w.cfg.helpers.For(&p.tuple), flowtable.FlowID{}
	if e != nil {
		master = e.Master
		if e.Next != 0 {
			id = helpers.ID(e.Next)
		}
	} else if id == helpers.None {
		return
	}
	if !helpers.Attach(w.flows.table, idx, id, master) {
		w.count.helperNoRoom.Add(1)
		return
	}
	if id != helpers.None {
		helpers.Keep(w.flows.table, idx, w.clock.now)
		w.wantHelp(p)
	}
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

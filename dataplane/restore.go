package dataplane

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// Restored is what Restore made of a state file.
type Restored struct {
	Flows        uint64 // that go on
	Expectations uint64 // that wait on
	Expired      uint64 // flows and expectations whose time was over meanwhile
	// Refused are flows that the rules and routes of now do not allow, or whose
	// tuples another flow has, and expectations whose master is one of those.
	Refused uint64
	NoRoom  uint64        // flows that the tables have no room for
	Away    time.Duration // since they were saved; 0 if the clock was put back
}

// Restore takes the flows and expectations of a state file back. It must come
// before Start. A file that cannot be used as a whole is refused with
// flowtable.ErrState, and nothing of it is taken.
//
// Flows go to their owners under the settings of now. No event tells of them: they
// have begun before. The time since they were saved, by the wall clock, counts
// against their time-outs.
func (g *Gateway) Restore(in io.ReadSeeker, wall time.Time) (Restored, error) {
	if err := eachRecord(in, func(*flowtable.StateReader, flowtable.StateRecord) error { return nil }); err != nil {
		return Restored{}, err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return Restored{}, err
	}
	for _, w := range g.workers {
		if err := w.flows.table.KeepIDs(); err != nil {
			return Restored{}, err
		}
	}
	r := restorer{g: g, ask: g.workers[0], now: g.Now(), names: make(map[flowtable.FlowID]flowtable.FlowID)}
	err := eachRecord(in, func(s *flowtable.StateReader, kind flowtable.StateRecord) error {
		r.sum.Away = max(wall.Sub(s.Saved), 0)
		r.away = flowtable.Ticks(r.sum.Away)
		switch kind {
		case flowtable.StateFlow:
			r.flow(&s.Flow)
		case flowtable.StateExpectation:
			r.expectation(&s.Expectation)
		case flowtable.StateEnd:
			g.shared.expect.ContinueIDs(s.LastID)
		}
		return nil
	})
	if errors.Is(err, flowtable.ErrState) { // it was whole a moment ago
		return Restored{}, errStateChanged
	}
	r.nameMasters()
	g.taken = r.sum
	return r.sum, err
}

// errStateChanged means that a state file that was whole is not any more.
var errStateChanged = errors.New("the file has changed while it was read")

// eachRecord reads a state file to its end. Errors of the file are ErrState.
func eachRecord(in io.Reader, each func(*flowtable.StateReader, flowtable.StateRecord) error) error {
	r, err := flowtable.NewStateReader(in)
	if err != nil {
		return err
	}
	for {
		kind, err := r.Next()
		if err != nil {
			return err
		}
		if kind == flowtable.StateFlow && !helpers.Valid(r.Flow.Orig.Proto, &r.Flow.Ext) ||
			kind == flowtable.StateExpectation && !helpers.ValidExpectation(&r.Expectation) {
			return fmt.Errorf("%w: damaged: no helper of this version has that to remember", flowtable.ErrState)
		}
		if err := each(r, kind); err != nil || kind == flowtable.StateEnd {
			return err
		}
	}
}

// restorer takes the records of a state file.
type restorer struct {
	g    *Gateway
	ask  *Worker // any: all know the same rules and routes
	now  flowtable.Tick
	away flowtable.Tick
	// names says what the flows are called now that had extensions.
	names map[flowtable.FlowID]flowtable.FlowID
	// announced are the flows that have a master, by what they are called now.
	announced []flowtable.FlowID
	sum       Restored
}

// flow takes a flow.
func (r *restorer) flow(s *flowtable.SavedFlow) {
	if s.Idle+r.away >= s.Timeout {
		r.sum.Expired++
		return
	}
	s.Idle, s.Age = s.Idle+r.away, s.Age+r.away
	w, from, to := r.place(s)
	if w == nil {
		r.sum.Refused++
		return
	}
	switch idx, result := w.restore(s, r.former(s), r.now); result {
	case flowtable.InsertOK:
		if !r.noteStrays(w, s, from, to) {
			w.forgetStrays(idx)
			w.flows.nat.Release(w.flows.table, idx)
			w.hostEnded(idx)
			w.flows.table.Remove(idx)
			r.sum.NoRoom++
			return
		}
		r.sum.Flows++
		r.note(s, w.flowID(idx))
	case flowtable.InsertFull, flowtable.InsertIndexFull:
		r.sum.NoRoom++
	default:
		r.sum.Refused++
	}
}

// former tells how a flow was translated, and what may have become of it.
func (r *restorer) former(s *flowtable.SavedFlow) *nat.Former {
	w := r.ask
	towards := func(t *flowtable.Tuple) uint16 { return w.routes.lookup(t.Src, t.Family) }
	return &nat.Former{
		Orig: &s.Orig, Reply: &s.Reply, Expected: s.Status&flowtable.StatusExpected != 0,
		MasqOut: masqueradeAddr(w.routes.now.Hop(towards(&s.Reply))),
		MasqIn:  masqueradeAddr(w.routes.now.Hop(towards(&s.Orig))),
	}
}

// place returns the worker that has a flow from now on, and the sides that its
// directions come from; nil if that cannot be told, for want of routes.
//
// A flow with a translated source goes to where its answers are steered to: that
// worker gives out its external port, so no other flow can get the same reply tuple.
func (r *restorer) place(s *flowtable.SavedFlow) (w *Worker, from, to nat.Realm) {
	former := nat.Former{Orig: &s.Orig, Reply: &s.Reply}
	status := former.Status()
	from, ok1 := r.ask.realmTowards(&s.Orig)
	to, ok2 := r.ask.realmTowards(&s.Reply)
	if !ok1 || !ok2 { // a link that is down, perhaps
		switch status {
		case flowtable.StatusSNAT:
			from, to = nat.RealmInternal, nat.RealmExternal
		case flowtable.StatusDNAT:
			from, to = nat.RealmExternal, nat.RealmInternal
		default:
			return nil, 0, 0
		}
	}
	owner := r.ask.owner(&s.Orig, r.g.path.portOn(from))
	if status&flowtable.StatusSNAT != 0 {
		owner = r.ask.owner(&s.Reply, r.g.path.portOn(to))
	}
	return r.g.workers[owner], from, to
}

// noteStrays tells of the directions of a flow that are looked for elsewhere. It
// reports false if there is no room for that.
func (r *restorer) noteStrays(w *Worker, s *flowtable.SavedFlow, from, to nat.Realm) bool {
	return r.ask.noteStray(&s.Orig, from, w.id) && r.ask.noteStray(&s.Reply, to, w.id)
}

// note remembers what a flow is called now.
func (r *restorer) note(s *flowtable.SavedFlow, id flowtable.FlowID) {
	if !s.HasExt {
		return
	}
	r.names[s.Name] = id
	if s.Ext.Master.Index != 0 {
		r.announced = append(r.announced, id)
	}
}

// nameMasters makes flows name their masters as they are called now, or none if the
// master is gone.
func (r *restorer) nameMasters() {
	for _, id := range r.announced {
		x := r.g.workers[id.Worker].flows.table.Ext(id.Index)
		x.Master = r.names[x.Master]
	}
}

// expectation takes an expectation. The flows have come before.
func (r *restorer) expectation(e *flowtable.Expectation) {
	master, known := r.names[e.Master]
	switch {
	case e.Deadline <= r.away:
		r.sum.Expired++
	case !known:
		r.sum.Refused++
	default:
		e.Master, e.Deadline = master, r.now+min(e.Deadline-r.away, flowtable.MaxTimeout)
		if !r.g.shared.expect.Restore(e) {
			r.sum.Refused++
			return
		}
		r.ask.flows.nat.ReserveExpected(e)
		r.sum.Expectations++
	}
}

// restore adds a flow that was saved, if its translation is still to be had.
func (w *Worker) restore(s *flowtable.SavedFlow, f *nat.Former, now flowtable.Tick) (uint32, flowtable.InsertResult) {
	var choice nat.Choice
	if !w.flows.nat.Restore(&choice, f) {
		if choice.Reason == nat.ReasonMappingsFull {
			return 0, flowtable.InsertFull
		}
		return 0, flowtable.InsertClash
	}
	hops := [2]uint16{w.routes.lookup(s.Reply.Src, s.Reply.Family), w.routes.lookup(s.Orig.Src, s.Orig.Family)}
	s.Status = s.Status&^translated | choice.Status | w.insides(hops)
	idx, result := w.flows.table.Restore(s, now)
	if result == flowtable.InsertOK {
		w.flows.nat.Bind(w.flows.table, idx, &s.Orig, &choice)
		w.hostBegan(&s.Orig, now)
	}
	return idx, result
}

// realmTowards tells which side packets with a tuple come from, as the routes to
// their source tell it; false if they do not.
func (w *Worker) realmTowards(t *flowtable.Tuple) (nat.Realm, bool) {
	port := w.routes.now.Hop(w.routes.lookup(t.Src, t.Family)).Port
	if int(port) >= len(w.cfg.realm) {
		return 0, false
	}
	return w.cfg.realm[port], true
}

// portOn returns a port of a side: for steering one is as good as another.
func (c *pathConfig) portOn(side nat.Realm) uint8 {
	for i, realm := range c.realm {
		if realm == side {
			return uint8(i)
		}
	}
	return 0
}

// noteStray notes the worker that has a flow, if packets of the flow with this tuple,
// which come from this side, are steered to another one. It reports false if there is
// no room.
func (w *Worker) noteStray(t *flowtable.Tuple, from nat.Realm, worker int) bool {
	return w.owner(t, w.cfg.portOn(from)) == worker || w.cfg.strays.Add(t, worker)
}

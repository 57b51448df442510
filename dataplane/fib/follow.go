package fib

import (
	"errors"
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// receive hands notifications to run until the socket is closed. It does
// nothing else, so that the kernel's buffer is emptied while run dumps.
func (m *Mirror) receive() {
	defer m.done.Done()
	for {
		messages, _, err := m.events.Receive()
		if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) || err != nil && m.stopped() {
			return
		}
		select {
		case m.received <- notification{messages, err}:
		case <-m.stop:
			return
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			select { // no busy loop on an error that stays
			case <-time.After(retryAfter):
			case <-m.stop:
				return
			}
		}
	}
}

// stopped reports whether Close was called: it interrupts receive with various
// errors.
func (m *Mirror) stopped() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}

// follower is the schedule of run.
type follower struct {
	pending   dirty
	timer     *time.Timer // the next rebuild
	due       time.Time   // when timer fires; zero = not armed
	notBefore time.Time   // start of the next rebuild, so that run may rest
	settle    *time.Timer // the second look after a link or address changed
}

// stopped returns a timer that does not fire before it is Reset.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// schedule makes the next rebuild happen after the given time at the latest,
// unless run has to rest.
func (f *follower) schedule(after time.Duration) {
	now := time.Now()
	at := now.Add(after)
	if at.Before(f.notBefore) {
		at = f.notBefore
	}
	if f.due.IsZero() || at.Before(f.due) {
		f.due = at
		f.timer.Reset(at.Sub(now))
	}
}

// run applies notifications, publishes snapshots and keeps neighbours alive.
// It owns m.state.
func (m *Mirror) run() {
	defer m.done.Done()
	f := &follower{timer: stopped(), settle: stopped()}
	alive := time.NewTicker(m.options.KeepAlive)
	defer alive.Stop()
	m.keepAlive()
	for {
		select {
		case <-m.stop:
			return
		case n := <-m.received:
			if f.pending |= m.apply(n); f.pending != 0 {
				f.schedule(m.options.Coalesce)
			}
		case <-f.timer.C:
			f.due = time.Time{}
			m.catchUp(f)
		case <-f.settle.C:
			f.pending |= dirtyAll
			f.schedule(0)
		case <-alive.C:
			m.keepAlive()
		}
	}
}

// catchUp dumps and builds what is pending.
func (m *Mirror) catchUp(f *follower) {
	d := f.pending
	f.pending = 0
	start := time.Now()
	if d&dirtyAll != 0 {
		m.count.dumps.Add(1)
	}
	gateways := m.current.Load().gateways
	changed, err := m.refresh(d)
	m.rebuild(changed == 0)
	end := time.Now()
	f.notBefore = end.Add(restShare * end.Sub(start))
	if err != nil {
		m.count.errors.Add(1)
		m.log.Error("read network state", "error", err)
		f.pending |= dirtyAll
		f.schedule(retryAfter)
	}
	if changed&(dirtyLinks|dirtyAddrs) != 0 {
		// The kernel may drop routes after it told of the link: look again.
		f.settle.Reset(settle)
	}
	if changed&dirtyLinks != 0 || !maps.Equal(gateways, m.current.Load().gateways) {
		m.keepAlive() // resolves gateways before the first packet comes
	}
}

// apply applies a notification to the state and returns what it leaves to do.
func (m *Mirror) apply(n notification) dirty {
	if n.err != nil {
		m.count.resyncs.Add(1)
		m.log.Warn("network changes were lost, reading everything again", "error", n.err)
		return dirtyAll
	}
	var d dirty
	for i := range n.messages {
		h := &n.messages[i].Header
		switch h.Type {
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			d |= dirtyLinks
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			d |= dirtyAddrs
		case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
			d |= dirtyRoutes
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			d |= m.applyRoute(h.Type, h.Flags, n.messages[i].Data)
		case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
			d |= m.applyNeighbour(h.Type, n.messages[i].Data)
		}
	}
	return d
}

// applyRoute applies one route message.
func (m *Mirror) applyRoute(kind, flags uint16, b []byte) dirty {
	r, ok, err := decodeRoute(b)
	if err != nil {
		return dirtyRoutes
	}
	if !ok {
		return 0
	}
	var e effect
	if kind == unix.RTM_NEWROUTE {
		e = m.state.addRoute(r, flags)
	} else {
		e = m.state.deleteRoute(r)
	}
	switch e {
	case effectChanged:
		return dirtyTable
	case effectUnclear:
		return dirtyRoutes
	default:
		return 0
	}
}

// applyNeighbour applies one neighbour message.
func (m *Mirror) applyNeighbour(kind uint16, b []byte) dirty {
	k, n, ok, err := decodeNeighbour(b)
	if err != nil {
		return dirtyNeighs
	}
	if !ok {
		return 0
	}
	var e effect
	if kind == unix.RTM_NEWNEIGH {
		e = m.state.setNeighbour(k, n)
	} else {
		e = m.state.deleteNeighbour(k)
	}
	if e == effectChanged {
		return dirtyHops
	}
	return 0
}

// keepAlive asks the kernel about the gateways that are not resolved, and
// about the neighbours that were used since the last look and that the kernel
// itself does not check because it does not send to them. The kernel probes a
// STALE neighbour that is used (RFC 4861 section 7.3.3): it becomes REACHABLE
// with its present MAC, or FAILED.
func (m *Mirror) keepAlive() {
	s := m.current.Load()
	const settled = unix.NUD_REACHABLE | unix.NUD_PERMANENT | unix.NUD_NOARP |
		unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_INCOMPLETE
	for k, id := range s.ids {
		used := m.used[id].Load()
		active := used != m.seen[id]
		m.seen[id] = used
		h := &s.hops[id]
		if !k.gateway.IsValid() || h.Ifindex == 0 || !s.LinkUp(k.port) {
			continue
		}
		key := neighKey{ifindex: h.Ifindex, addr: k.gateway}
		n := m.state.neighs[key]
		// A request for a PERMANENT entry would make it an ordinary one
		// (net/core/neighbour.c, __neigh_update, NEIGH_UPDATE_F_USE).
		if n.state&settled != 0 || (h.Valid && !active) {
			continue
		}
		if _, gateway := s.gateways[id]; !h.Valid && !active && !gateway {
			continue
		}
		if m.resolver.ask(key) {
			m.count.probesQueued.Add(1)
		}
	}
}

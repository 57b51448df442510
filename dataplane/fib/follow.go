package fib

import (
	"errors"
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
		if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) {
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

// follower is the schedule of run.
type follower struct {
	pending dirty
	timer   *time.Timer
	armed   bool
	rest    time.Duration // least distance to the next rebuild
}

// schedule arms the timer unless it is armed already.
func (f *follower) schedule(after time.Duration) {
	if !f.armed {
		f.armed = true
		f.timer.Reset(max(after, f.rest))
	}
}

// run applies notifications, publishes snapshots and keeps neighbours alive.
// It owns m.state.
func (m *Mirror) run() {
	defer m.done.Done()
	f := &follower{timer: time.NewTimer(time.Hour)}
	f.timer.Stop()
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
			f.armed = false
			m.catchUp(f)
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
	gateways := len(m.current.Load().ids)
	routesChanged, err := m.refresh(d)
	m.rebuild(!routesChanged)
	f.rest = restShare * time.Since(start)
	switch {
	case err != nil:
		m.count.errors.Add(1)
		m.log.Error("read network state", "error", err)
		f.pending |= dirtyAll
		f.schedule(retryAfter)
	case d&(dirtyLinks|dirtyAddrs) != 0 && d&dirtyRoutes == 0:
		// The kernel may drop routes after it told of the link; look again.
		f.pending |= dirtyAll
		f.schedule(settle)
	}
	if len(m.current.Load().ids) != gateways {
		m.keepAlive() // resolves new gateways before the first packet
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
	}
	return 0
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

package flowtable

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// startTCP is Start for TCP: a SYN starts a flow; an ACK does where loose, and
// lives for TCPUnacked only until there is a reply. No window was seen yet, which
// counts as a closed one.
func (tr *Tracker) startTCP(flags uint8) (uint8, Tick, Invalid) {
	class := tcpClass(flags)
	if class == tcpClassIllegal {
		return 0, 0, InvalidTCPFlags
	}
	switch next := tcpTable[DirOriginal][class][TCPNone]; {
	case next == sSS:
		return sSS, min(tr.Timeouts.TCP[TCPSynSent], tr.Timeouts.TCPRetrans), InvalidNone
	case next == sES && tr.TCPLoose:
		return sES, min(tr.Timeouts.TCP[TCPEstablished], tr.Timeouts.TCPRetrans, tr.Timeouts.TCPUnacked), InvalidNone
	}
	return 0, 0, InvalidTCPNew
}

// beginTCP begins the window of a flow with the segment that made it (kernel:
// tcp_new). What is picked up in its middle may have any window scale, so
// nothing is out of its windows.
func (t *Table) beginTCP(idx uint32, frame []byte, h *packet.Headers) {
	f, w := &t.flows[idx], &t.windows[idx]
	*w, f.tcp = window{}, 0
	if idx > t.highTCP {
		publish32(&t.highTCP, idx)
	}
	s, ok := readSegment(frame, h, DirOriginal, tcpClass(h.TCPFlags))
	if !ok {
		return
	}
	from := &w.side[DirOriginal]
	from.end, from.maxEnd, from.maxWin = s.end, s.end, max(uint32(s.win), 1)
	if s.class == tcpClassSyn {
		marks, scale := synOptions(s.options)
		f.mark(DirOriginal, marks)
		f.setScale(DirOriginal, scale)
	} else {
		from.maxEnd += from.maxWin
		f.mark(DirOriginal, sideSACK)
		f.mark(DirReply, sideSACK)
		f.tcp |= tcpLiberal | tcpLiberalReply
	}
	w.judge(f, &s, false)
	f.setLast(s.class, DirOriginal)
}

// advanceTCP is Advance for TCP: the table, the special cases of the kernel's
// nf_conntrack_tcp_packet, and the window.
func (tr *Tracker) advanceTCP(t *Table, idx uint32, d Dir, frame []byte, h *packet.Headers, now Tick) Step {
	class := tcpClass(h.TCPFlags)
	if class == tcpClassIllegal {
		return Step{Cause: InvalidTCPFlags}
	}
	f, w := &t.flows[idx], &t.windows[idx]
	s, ok := readSegment(frame, h, d, class)
	old := f.State()
	if !ok || old >= uint8(tcpStates) {
		return Step{Cause: InvalidTCPState}
	}
	if f.Status()&StatusSeqAdjust != 0 {
		s.adjust = &t.exts[f.Ext].SeqAdj[d.Opposite()&1]
	}
	m := tcpMove{class: class, old: old, next: tcpTable[d&1][class][old]}
	if step, done := w.special(f, &s, &m); done {
		return step
	}
	if m.next == sCL && class == tcpClassRst {
		return tr.resetTCP(t, idx, w, &s, m, now)
	}
	return tr.windowTCP(t, idx, w, &s, m, now)
}

// special handles the moves that the table does not say all about. It reports true
// if nothing is left to do, and else may have changed the move.
func (w *window) special(f *Flow, s *segment, m *tcpMove) (step Step, done bool) {
	switch m.next {
	case sIV:
		return Step{Cause: InvalidTCPState}, true
	case sSS:
		if m.old < sTW {
			break
		}
		if f.Status()&statusCloseInit != 0 || f.lastIs(tcpClassRst) && f.lastDir() == s.dir {
			return Step{Outcome: OutcomeRestart}, true
		}
		w.annotate(f, s)
		return Step{Outcome: OutcomeIgnore}, true
	case sIG:
		if !w.resync(f, s) {
			w.annotate(f, s)
			return Step{Outcome: OutcomeIgnore}, true
		}
		m.old, m.next = sSS, sSR
	case sTW:
		if m.old == sLA && f.answersChallenge(s) {
			f.tcp &^= tcpChallenge
			return Step{Outcome: OutcomeIgnore}, true
		}
	case sS2:
		f.AddStatus(StatusSimultaneousOpen)
	case sSR:
		if s.dir == DirReply && s.class == tcpClassAck && f.Status()&StatusSimultaneousOpen != 0 {
			m.next = sES
		}
	}
	return Step{}, false
}

// answersChallenge reports whether an ACK in LAST_ACK answers the SYN before it, not
// our FIN (RFC 5961 section 4).
func (f *Flow) answersChallenge(s *segment) bool {
	return s.class == tcpClassAck && f.lastIs(tcpClassSyn) && f.lastDir() != s.dir && f.tcp&tcpChallenge != 0
}

// annotate remembers an ignored segment: if the other side takes it seriously,
// the connection is not what the flow says.
func (w *window) annotate(f *Flow, s *segment) {
	f.setLast(s.class, s.dir)
	w.lastSeq, w.lastEnd, w.lastWin = s.seq, s.end, s.win
	if s.class == tcpClassSyn && s.dir == DirOriginal {
		marks, scale := synOptions(s.options)
		f.tcp &^= tcpChallenge | (sideSACK|sideScale)<<tcpLastSideShift | maxScaleMask<<tcpLastScaleShift
		f.tcp |= marks<<tcpLastSideShift | scale<<tcpLastScaleShift
		f.ClearStatus(StatusSimultaneousOpen)
		if f.State() == sLA {
			f.tcp |= tcpChallenge
		}
	}
	if f.State() == sSS && s.class == tcpClassAck && s.dir == DirReply {
		w.lastAck = s.ack // perhaps a challenge: a RST will answer it
	}
}

// resync begins the flow again if a SYN/ACK answers a SYN that was ignored: both
// ends agree on a connection that the flow does not know. If the flow was picked up, the
// side that answers keeps its liberty, as in the kernel; the other one's window is known.
func (w *window) resync(f *Flow, s *segment) bool {
	if s.class != tcpClassSynAck || !f.lastIs(tcpClassSyn) || f.lastDir() == s.dir || s.ack != w.lastEnd {
		return false
	}
	first := f.lastDir()
	w.side[first] = tcpSide{end: w.lastEnd, maxEnd: w.lastEnd, maxWin: max(uint32(w.lastWin), 1)}
	w.side[s.dir&1] = tcpSide{}
	marks, scale := f.tcp>>tcpLastSideShift&(sideSACK|sideScale), f.tcp>>tcpLastScaleShift&maxScaleMask
	f.tcp &= tcpLastMask | liberalOf(s.dir)
	f.mark(first, marks)
	f.setScale(first, scale)
	f.ClearStatus(statusCloseInit)
	return true
}

// resetTCP judges a RST that would close a connection (RFC 5961 section 3): it
// does so at exactly the next number that the other side expects; elsewhere in
// the window the other side may answer with a challenge, so the state stays;
// below it is invalid. Of a flow that ends anyway the numbers may be outdated.
func (tr *Tracker) resetTCP(t *Table, idx uint32, w *window, s *segment, m tcpMove, now Tick) Step {
	f := &t.flows[idx]
	if TCPState(m.old).Closing() {
		return tr.enterTCP(t, idx, w, s, m, now)
	}
	peer := s.dir.Opposite() & 1
	established := m.old == sES && f.Status()&StatusAssured != 0
	if f.marked(peer, sideMaxAck) && !f.lastIs(tcpClassSyn) {
		expected := w.side[peer].maxAck
		train := f.lastIs(tcpClassAck) && f.lastDir() == s.dir && s.seq == w.lastEnd
		switch {
		case s.seq == 0 && !established: // answers a SYN that was ignored
			return tr.windowTCP(t, idx, w, s, m, now)
		case before(s.seq, expected) && !tr.TCPIgnoreInvalidRST:
			return Step{Cause: InvalidTCPReset}
		case !established || s.seq == expected || train:
			return tr.windowTCP(t, idx, w, s, m, now)
		}
		m.next = m.old
	}
	if w.resetsIgnored(f, s) || m.old == sSS && f.lastIs(tcpClassAck) && f.lastDir() == DirReply && s.seq == w.lastAck {
		return tr.enterTCP(t, idx, w, s, m, now)
	}
	return tr.windowTCP(t, idx, w, s, m, now)
}

// resetsIgnored reports whether a RST answers a segment that was ignored.
func (w *window) resetsIgnored(f *Flow, s *segment) bool {
	if s.ack != w.lastEnd {
		return false
	}
	if f.Status()&StatusSeenReply != 0 && f.lastIs(tcpClassSyn) && f.lastDir() != s.dir {
		return true
	}
	return f.Status()&StatusAssured == 0 && f.lastIs(tcpClassAck)
}

// tcpMove is a transition.
type tcpMove struct {
	class     uint8
	old, next uint8
}

// windowTCP makes the move if the segment is in window.
func (tr *Tracker) windowTCP(t *Table, idx uint32, w *window, s *segment, m tcpMove, now Tick) Step {
	switch w.judge(&t.flows[idx], s, tr.TCPLiberal) {
	case fitsNot:
		tr.missedTCP(t, idx, s, now)
		return Step{Cause: InvalidTCPWindow}
	case fitsNotAck:
		tr.missedTCP(t, idx, s, now)
		return Step{Cause: InvalidTCPAck}
	case fitsOld:
		return Step{Outcome: OutcomeIgnore}
	case fitsUnchecked, fitsWindow:
	}
	return tr.enterTCP(t, idx, w, s, m, now)
}

// missedTCP is told of an invalid segment. If both sides want to end the
// connection with segments that do not fit, it is over, and what the flow knows
// is wrong: it need not live for days (kernel: nf_tcp_handle_invalid).
func (tr *Tracker) missedTCP(t *Table, idx uint32, s *segment, now Tick) {
	f := &t.flows[idx]
	if s.class != tcpClassRst && s.class != tcpClassFin || f.Status()&(StatusAssured|StatusFixedTimeout) != StatusAssured {
		return
	}
	if !f.lastIs(tcpClassFin) && !f.lastIs(tcpClassRst) || f.lastDir() == s.dir {
		f.setLast(s.class, s.dir)
		return
	}
	const soon = 120 * TicksPerSecond
	if left := f.Deadline() - now; left >= soon && left > tr.Timeouts.TCPUnacked {
		t.Refresh(idx, tr.Timeouts.TCPUnacked, now)
	}
}

// enterTCP enters the next state and chooses the time-out.
func (tr *Tracker) enterTCP(t *Table, idx uint32, w *window, s *segment, m tcpMove, now Tick) Step {
	f := &t.flows[idx]
	f.setLast(s.class, s.dir)
	step := Step{Outcome: OutcomeAccept}
	if m.next != m.old {
		step.Changes = ChangeState
	}
	status := f.Status()
	if m.next == sFW && m.old != sFW {
		status |= StatusCloseInitOrig << (s.dir & 1)
	}
	timeout := tr.timeoutTCP(f, w, m)
	if status&StatusSeenReply == 0 {
		switch {
		case m.class == tcpClassRst:
			f.setTCP(m.next, status)
			step.Outcome = OutcomeDestroy
			return step
		case m.class == tcpClassSyn && m.old == sSS:
			// A retransmitted SYN does not renew the time-out, or reuse of
			// the port by its sender would keep the flow for ever. What does not
			// renew is not counted either.
			f.setTCP(m.next, status)
			step.Outcome = OutcomeIgnore
			return step
		case m.next == sES:
			timeout = min(timeout, tr.Timeouts.TCPUnacked)
		}
	} else if m.next == sES && status&StatusAssured == 0 && (m.old == sSR || m.old == sES) {
		status |= StatusAssured
		step.Changes |= ChangeAssured
	}
	f.setTCP(m.next, status)
	t.Refresh(idx, timeout, now)
	return step
}

// timeoutTCP returns the time-out of the next state, less if the connection hangs:
// the same segment comes again and again, data is not acknowledged, or the
// window is closed.
func (tr *Tracker) timeoutTCP(f *Flow, w *window, m tcpMove) Tick {
	o := &tr.Timeouts
	timeout := o.TCP[m.next]
	switch {
	case w.retrans >= tr.TCPMaxRetrans && timeout > o.TCPRetrans:
		return o.TCPRetrans
	case m.class == tcpClassRst:
		return o.TCP[TCPClose]
	case f.tcp&tcpUnacked != 0 && timeout > o.TCPUnacked:
		return o.TCPUnacked
	case w.lastWin == 0 && timeout > o.TCPRetrans:
		return o.TCPRetrans
	}
	return timeout
}

// setTCP sets state and status at once.
func (f *Flow) setTCP(state uint8, status Status) {
	const keep = 0xff<<metaProtoShift | 0xffffffff
	f.setMeta(f.meta&keep | uint64(state)<<metaStateShift | uint64(status)<<metaStatusShift)
}

// steadyTCP is Steady for TCP. Options but timestamps are Advance's: there may be
// SACK blocks among them.
func (tr *Tracker) steadyTCP(t *Table, idx uint32, d Dir, frame []byte, h *packet.Headers, now Tick) bool {
	f := &t.flows[idx]
	if h.TCPFlags&(packet.SYN|packet.FIN|packet.RST|packet.ACK) != packet.ACK ||
		f.meta&steadyMask&^uint64(MaxTimeout) != steadyTCP || int(h.L4)+packet.TCPMinLen > len(frame) {
		return false
	}
	b := frame[h.L4:]
	if h.Payload-h.L4 != packet.TCPMinLen && (h.Payload-h.L4 != packet.TCPMinLen+12 ||
		len(b) < packet.TCPMinLen+12 || binary.BigEndian.Uint32(b[packet.TCPMinLen:]) != timestampsOnly) {
		return false
	}
	w := &t.windows[idx]
	if !w.steady(f, (*[20]byte)(b), d, uint32(h.PayloadLen())) {
		return false
	}
	timeout := tr.Timeouts.TCP[TCPEstablished]
	if w.retrans >= tr.TCPMaxRetrans || f.tcp&tcpUnacked != 0 || w.lastWin == 0 {
		timeout = tr.timeoutTCP(f, w, tcpMove{tcpClassAck, sES, sES})
	}
	t.Refresh(idx, timeout, now)
	return true
}

package flowtable

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// tcpSide is what one sender of a connection has shown of itself, in its own
// sequence numbers, before any adjustment (kernel: struct ip_ct_tcp_state).
type tcpSide struct {
	// end is the sequence number after the last data that it sent.
	end uint32
	// maxEnd is the highest that the other side lets it send.
	maxEnd uint32
	// maxWin is the largest window that it offered, in bytes; 0 = it was not
	// seen yet.
	maxWin uint32
	// maxAck is its highest acknowledgement. Valid iff sideMaxAck.
	maxAck uint32
}

// window is what has to be known about both sides of a TCP connection to tell
// which segments can belong to it, and about the last segment (kernel: struct
// ip_ct_tcp). The bits that belong to it are in Flow.tcp. Owner: worker; no
// other thread reads it.
type window struct {
	side [2]tcpSide
	// Of the last segment with nothing but ACK, or of one that was ignored.
	lastSeq, lastAck, lastEnd uint32
	lastWin                   uint16 // not scaled
	// retrans counts how often in a row the same segment came again.
	retrans uint8
	_       uint8
}

// windowSize is the size of a window in bytes.
const windowSize = 48

// Bits of Flow.tcp, low to high: the window scale of both sides (4 bits each),
// the marks of both sides (4 each), then what follows.
const (
	tcpScaleBits = 4
	tcpSideShift = 8
	tcpSideBits  = 4
	// tcpLiberal, tcpLiberalReply: the connection was picked up in its middle, its windows
	// are a guess, so that nothing of that side is out of window (IP_CT_TCP_FLAG_BE_LIBERAL).
	tcpLiberal      = 1 << 16
	tcpLiberalReply = 1 << 28
	// tcpChallenge: the last segment was a SYN in LAST_ACK, so that the next
	// ACK may be a challenge (IP_CT_EXP_CHALLENGE_ACK).
	tcpChallenge = 1 << 17
	// The options of an ignored SYN: marks as of a side, and a window scale.
	tcpLastSideShift  = 18
	tcpLastScaleShift = 20
	// The last segment: its direction, and its class + 1, 0 = there was none.
	tcpLastDirShift   = 24
	tcpLastClassShift = 25
	tcpLastMask       = 0xf << tcpLastDirShift
)

// liberalOf returns the bit that says whether nothing of a side is out of window.
func liberalOf(d Dir) uint32 {
	if d == DirReply {
		return tcpLiberalReply
	}
	return tcpLiberal
}

// Marks of a side.
const (
	sideSACK    = 1 << iota // offered selective acknowledgement (RFC 2018)
	sideScale               // offered window scaling (RFC 7323)
	sideMaxAck              // tcpSide.maxAck is set
	sideUnacked             // has sent data that was not acknowledged
)

// maxScale is the largest window scale (RFC 7323 section 2.3).
const maxScale = 14

// minAckWindow is how far an acknowledgement may lag behind at least, in bytes
// (kernel: MAXACKWINCONST).
const minAckWindow = 66000

// before and after compare sequence numbers across a wrap (RFC 1982).
func before(a, b uint32) bool { return int32(a-b) < 0 }
func after(a, b uint32) bool  { return int32(b-a) < 0 }

// scaleOf returns the window scale of a side.
func (f *Flow) scaleOf(d Dir) uint32 { return f.tcp >> (tcpScaleBits * (d & 1)) & maxScaleMask }

const maxScaleMask = 1<<tcpScaleBits - 1

// setScale sets the window scale of a side.
func (f *Flow) setScale(d Dir, scale uint32) {
	shift := tcpScaleBits * (d & 1)
	f.tcp = f.tcp&^(maxScaleMask<<shift) | scale<<shift
}

// marked reports whether a side has a mark.
func (f *Flow) marked(d Dir, mark uint32) bool {
	return f.tcp&(mark<<(tcpSideShift+tcpSideBits*(d&1))) != 0
}

// mark and unmark change the marks of a side.
func (f *Flow) mark(d Dir, marks uint32) { f.tcp |= marks << (tcpSideShift + tcpSideBits*(d&1)) }
func (f *Flow) unmark(d Dir, marks uint32) {
	f.tcp &^= marks << (tcpSideShift + tcpSideBits*(d&1))
}

// tcpUnacked are the marks sideUnacked of both sides.
const tcpUnacked = sideUnacked<<tcpSideShift | sideUnacked<<(tcpSideShift+tcpSideBits)

// setLast notes class and direction of the last segment.
func (f *Flow) setLast(class uint8, d Dir) {
	f.tcp = f.tcp&^tcpLastMask | uint32(class+1)<<tcpLastClassShift | uint32(d&1)<<tcpLastDirShift
}

// lastIs reports whether the last segment was of a class.
func (f *Flow) lastIs(class uint8) bool { return f.tcp>>tcpLastClassShift&7 == uint32(class+1) }

// lastDir returns the direction of the last segment.
func (f *Flow) lastDir() Dir { return Dir(f.tcp >> tcpLastDirShift & 1) }

// segment is what the window check needs of a packet.
type segment struct {
	// seq is the sequence number of the first byte, end that after the last; SYN
	// and FIN count as a byte each.
	seq, end uint32
	// ack is the acknowledgement, sack the highest edge of the data that it
	// acknowledges. Valid iff the flags have ACK.
	ack, sack uint32
	win       uint16 // not scaled
	class     uint8
	flags     uint8
	dir       Dir
	options   []byte
	// adjust is how the numbers that are acknowledged were shifted on their way
	// to the sender of this segment; nil = not at all.
	adjust *SeqAdj
}

// readSegment reads the header of a segment.
func readSegment(frame []byte, h *packet.Headers, d Dir, class uint8) (s segment, ok bool) {
	if int(h.Payload) > len(frame) || int(h.Payload) < int(h.L4)+packet.TCPMinLen {
		return s, false
	}
	b := packet.TCP(frame[h.L4:h.Payload])
	s = segment{seq: b.Seq(), ack: b.Ack(), win: b.Window(), class: class, flags: h.TCPFlags, dir: d,
		options: b[packet.TCPMinLen:]}
	s.sack = s.ack
	s.end = s.seq + uint32(h.PayloadLen()) + uint32(s.flags>>1&1) + uint32(s.flags&1)
	return s, true
}

// fits is what the window check says about a segment.
type fits uint8

const (
	fitsNot       fits = iota // beyond what the receiver has room for: INVALID
	fitsNotAck                // acknowledges data that was not seen: INVALID
	fitsOld                   // below the window: let pass, it changes nothing
	fitsUnchecked             // out of window, and the flow is liberal
	fitsWindow                // in window, which has moved with it
)

// judge tells whether a segment is in window, and moves the window if it is. It
// is what the kernel does in tcp_in_window (nf_conntrack_proto_tcp.c), after
// G. van Rooij, "Real stateful TCP packet filtering in IP filter": no data beyond
// the room of the receiver, none below what it has acknowledged, no
// acknowledgement of data that was not sent, none that is too old.
func (w *window) judge(f *Flow, s *segment, liberal bool) fits {
	from, to := &w.side[s.dir&1], &w.side[s.dir&1^1]
	if f.marked(s.dir.Opposite(), sideSACK) {
		s.sack = highestSACK(s.options, s.sack)
	}
	if s.adjust != nil {
		s.ack, s.sack = s.adjust.Sent(s.ack), s.adjust.Sent(s.sack)
	}
	if w.learn(f, s) {
		return fitsWindow
	}
	if s.flags&packet.ACK == 0 || s.flags&packet.RST != 0 && s.ack == 0 {
		s.ack, s.sack = to.end, to.end // none, or left out by a broken stack
	}
	if s.flags&packet.RST != 0 && s.seq == 0 && TCPState(f.State()) == TCPSynSent {
		s.seq, s.end = from.end, from.end // answers a SYN
	}
	if fit := from.compare(to, s); fit != fitsWindow {
		if fit == fitsOld && after(s.seq, from.maxEnd) { // a little too much
			from.end = s.end
			f.mark(s.dir, sideUnacked)
		}
		if liberal || f.tcp&liberalOf(s.dir) != 0 {
			return fitsUnchecked
		}
		return fit
	}
	w.move(f, s)
	return fitsWindow
}

// learn begins or begins again with a side that is new. It reports true if the
// segment is to be accepted at once: the SYN of a simultaneous open.
func (w *window) learn(f *Flow, s *segment) bool {
	from, to := &w.side[s.dir&1], &w.side[s.dir&1^1]
	syn := s.flags&packet.SYN != 0
	switch state := TCPState(f.State()); {
	case from.maxWin == 0 && syn:
		w.begin(f, s)
		return s.flags&packet.ACK == 0
	case from.maxWin == 0: // in the middle of a connection
		from.end = s.end
		from.maxWin = max(uint32(s.win)<<f.scaleOf(s.dir), 1)
		from.maxEnd = s.end + from.maxWin
		if to.maxWin == 0 {
			to.end, to.maxEnd = s.sack, s.sack
		} else if s.sack == to.end+1 { // answers a keep-alive
			to.end++
		}
	case syn && after(s.end, from.end) && (state == TCPSynSent || state == TCPSynRecv):
		// Another attempt, with other numbers or options.
		w.begin(f, s)
		return s.dir == DirReply && s.flags&packet.ACK == 0
	}
	return false
}

// begin sets a side by its SYN. Windows are scaled only if both sides offer it.
func (w *window) begin(f *Flow, s *segment) {
	from := &w.side[s.dir&1]
	from.end, from.maxEnd, from.maxWin = s.end, s.end, max(uint32(s.win), 1)
	if len(s.options) > 0 {
		marks, scale := synOptions(s.options)
		f.unmark(s.dir, 1<<tcpSideBits-1)
		f.mark(s.dir, marks)
		f.setScale(s.dir, scale)
	}
	if s.dir == DirReply && (!f.marked(DirOriginal, sideScale) || !f.marked(DirReply, sideScale)) {
		f.setScale(DirOriginal, 0)
		f.setScale(DirReply, 0)
	}
}

// compare tells where a segment of from lies in the windows of both sides. It is
// fitsOld too for a segment that begins beyond the window, but no further than
// the receiver's largest window, and has nothing else wrong with it.
func (from *tcpSide) compare(to *tcpSide, s *segment) fits {
	recent := to.maxWin == 0 || after(s.end, from.end-to.maxWin-1)
	acksRecent := after(s.sack, to.end-max(from.maxWin, minAckWindow)-1)
	acksSeen := before(s.sack, to.end+1)
	switch {
	case !before(s.seq, from.maxEnd+1):
		if to.maxWin != 0 && recent && acksRecent && acksSeen && s.end-from.maxEnd+1 <= to.maxWin {
			return fitsOld
		}
		return fitsNot
	case !acksSeen:
		return fitsNotAck
	case !recent || !acksRecent:
		return fitsOld
	}
	return fitsWindow
}

// move applies a segment in window.
func (w *window) move(f *Flow, s *segment) {
	from, to := &w.side[s.dir&1], &w.side[s.dir&1^1]
	win := uint32(s.win)
	if s.flags&packet.SYN == 0 {
		win <<= f.scaleOf(s.dir)
	}
	from.maxWin = max(from.maxWin, win+(s.sack-s.ack))
	if after(s.end, from.end) {
		from.end = s.end
		f.mark(s.dir, sideUnacked)
	}
	if s.flags&packet.ACK != 0 && (!f.marked(s.dir, sideMaxAck) || after(s.ack, from.maxAck)) {
		from.maxAck = s.ack
		f.mark(s.dir, sideMaxAck)
	}
	if to.maxWin != 0 && after(s.end, from.maxEnd) {
		to.maxWin += s.end - from.maxEnd
	}
	if after(s.sack+win, to.maxEnd-1) {
		to.maxEnd = s.sack + win
		if win == 0 {
			to.maxEnd++ // room for a probe
		}
	}
	if s.ack == to.end {
		f.unmark(s.dir.Opposite(), sideUnacked)
	}
	if s.class == tcpClassAck {
		w.repeat(f, s)
	}
}

// repeat counts how often in a row the same segment comes, and remembers it.
func (w *window) repeat(f *Flow, s *segment) {
	if w.lastSeq == s.seq && w.lastAck == s.ack && w.lastEnd == s.end && w.lastWin == s.win && f.lastDir() == s.dir {
		w.retrans = min(w.retrans, 254) + 1
		return
	}
	w.lastSeq, w.lastAck, w.lastEnd, w.lastWin, w.retrans = s.seq, s.ack, s.end, s.win, 0
}

// steady is judge for a segment of an established connection that has ACK and
// neither SYN, FIN, RST nor a SACK block. It reports false, and has done nothing,
// if the segment is not in window or one side is new.
//
// Hot: once per TCP packet.
func (w *window) steady(f *Flow, b *[20]byte, d Dir, payload uint32) bool {
	from, to := &w.side[d&1], &w.side[d&1^1]
	seq, ack := binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	raw, end := binary.BigEndian.Uint16(b[14:]), seq+payload
	if after(seq, from.maxEnd) || after(ack, to.end) || from.maxWin == 0 || to.maxWin == 0 ||
		before(end, from.end-to.maxWin) || before(ack, to.end-max(from.maxWin, minAckWindow)) {
		return false
	}
	win, bits := uint32(raw)<<(f.scaleOf(d)&31), f.tcp
	mine, theirs := tcpSideShift+tcpSideBits*uint(d&1), tcpSideShift+tcpSideBits*uint(d&1^1)
	from.maxWin = max(from.maxWin, win)
	if after(end, from.end) {
		from.end = end
		bits |= sideUnacked << (mine & 31)
	}
	if bits>>(mine&31)&sideMaxAck == 0 || after(ack, from.maxAck) {
		from.maxAck = ack
		bits |= sideMaxAck << (mine & 31)
	}
	if after(end, from.maxEnd) {
		to.maxWin += end - from.maxEnd
	}
	if after(ack+win, to.maxEnd-1) {
		to.maxEnd = ack + win
		if win == 0 {
			to.maxEnd++
		}
	}
	if ack == to.end {
		bits &^= sideUnacked << (theirs & 31)
	}
	if w.lastEnd == end && w.lastSeq == seq && w.lastAck == ack && w.lastWin == raw &&
		bits>>tcpLastDirShift&1 == uint32(d&1) {
		w.retrans = min(w.retrans, 254) + 1
	} else {
		w.lastSeq, w.lastAck, w.lastEnd, w.lastWin, w.retrans = seq, ack, end, raw, 0
	}
	f.tcp = bits&^tcpLastMask | (tcpClassAck+1)<<tcpLastClassShift | uint32(d&1)<<tcpLastDirShift
	return true
}

// PrefetchWindows asks for the windows of the flows that Match has found for keys
// from to to-1, as far as their bits are set in segments: those of TCP packets.
// The flow may turn out to be another one, then it was for nothing.
//
// Hot: once per group of packets.
func (t *Table) PrefetchWindows(k *Bulk, segments uint64, from, to int) {
	if segments != 0 && from < to {
		prefetchWindows(&t.windows[0], &k.Refs[0], segments, from, to)
	}
}

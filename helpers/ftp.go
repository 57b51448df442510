package helpers

import (
	"bytes"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// ftpHelper follows FTP control connections (RFC 959, RFC 2428).
var ftpHelper = helper{
	name: "ftp", proto: packet.ProtoTCP, port: 21,
	unit:    "FTP segments",
	packet:  ftpPacket,
	classes: []class{{max: 1, lifetime: 300 * flowtable.TicksPerSecond}}, // ftp_exp_policy, nf_conntrack_ftp.c
	causes: []Cause{
		CauseExpected, CauseRepeated, CauseJoined, CauseCut, CauseOtherAddress, CauseGatewayAddress, CausePrivilegedPort,
		CauseExpectPending, CauseMalformed, CausePortZero, CauseSplit, CauseFragment, CauseTLS, CauseNotFTP, CausePartial,
		CauseReordered, CauseSecond, CauseTooFast, CauseUnacknowledged, CauseOutdated, CauseNoPort, CauseExpectFull,
		CauseHostFull, CauseNoRoom,
	},
	loose: "announcements may name other hosts of their sender's side",
	valid: func(x *flowtable.Ext) bool { return (*ftpState)(&x.Data).heldLen() <= len(x.Text) },
}

// segment is one segment being read.
type segment struct {
	c         *Context
	ext       *flowtable.Ext
	s         *ftpState
	d         flowtable.Dir
	seq       uint32 // of its first byte, as its sender counts
	shift     int    // by how much the text grew before what was not read yet, bytes
	changed   bool   // the frame is not as it came
	announced bool   // it has made an announcement
	probe     bool   // it goes on without text
}

// ftpPacket reads one packet of a control connection.
//
// Hot: once per packet of such a connection. 0 allocs unless it announces a
// data connection.
func ftpPacket(c *Context) Verdict {
	h, d := c.Headers, c.Dir
	if h.Proto != packet.ProtoTCP || h.Fragment == packet.FragmentLater {
		return VerdictAccept
	}
	ext := c.Table.Ext(c.Index)
	if ext == nil {
		return VerdictAccept
	}
	s := (*ftpState)(&ext.Data)
	t := packet.TCP(c.Frame[h.L4:])
	flow := c.Table.Flow(c.Index)
	if h.TCPFlags&packet.SYN != 0 {
		if flow.State() < uint8(flowtable.TCPEstablished) || flow.State() == uint8(flowtable.TCPSynSent2) {
			s.start(d, t.Seq()+1)
		}
		return VerdictAccept
	}
	if h.TCPFlags&packet.ACK != 0 {
		other := d.Opposite()
		s.acknowledged(other, ext.SeqAdj[other].Sent(t.Ack()))
	}
	if h.Payload == h.End || flow.Status()&flowtable.StatusSeenReply == 0 {
		return VerdictAccept
	}
	if h.Fragment == packet.FragmentFirst {
		return fragmented(c)
	}
	if c.MTU != 0 && h.End-h.L3 > c.MTU {
		return VerdictAccept // its sender will hear of it
	}
	g := segment{c: c, ext: ext, s: s, d: d, seq: t.Seq()}
	return g.process()
}

// fragmented deals with a segment in IP fragments that is too long to be made one packet:
// its text cannot be read. Where NAT would have to change that, or has changed it when
// it was sent first, it must not pass.
func fragmented(c *Context) Verdict {
	c.note(CauseFragment)
	g := segment{c: c, d: c.Dir}
	if g.translated() {
		return VerdictDrop
	}
	return VerdictAccept
}

// process puts the segment in its place in the stream: text that was changed
// before is changed again, what is new is read, what comes too early has to
// come again. So every line is read from its start on and once, whatever the
// segments that carry it.
func (g *segment) process() Verdict {
	s, d := g.s, g.d
	if !s.has(d, flagSynced) {
		s.syncAt(d, g.seq)
		s[ftpAcked+int(d)] = g.seq
	}
	if s.reads() && before(s[d], g.seq) && !g.join() {
		g.c.note(CauseReordered)
		return VerdictDrop
	}
	if g.repeat() && s.reads() {
		g.read()
	}
	if g.c.Headers.TCPFlags&packet.URG != 0 && !g.knowsUrgent() {
		g.clearFlag(packet.URG) // the segment that has the data tells it
	}
	switch {
	case g.c.Headers.Payload == g.c.Headers.End && !g.probe:
		return VerdictDrop
	case g.changed:
		return VerdictChanged
	}
	return VerdictAccept
}

// read reads the lines that are new.
func (g *segment) read() {
	h, s, d := g.c.Headers, g.s, g.d
	pos := int(h.Payload) + int(s[d]-g.seq) + g.shift
	for pos < int(h.End) && s.reads() {
		b := g.c.Frame[pos:h.End]
		n := bytes.IndexByte(b, '\n') + 1
		ended := n > 0
		if !ended {
			n = len(b)
		}
		if !s.has(d, flagLine) {
			g.readRest(b[:n], ended)
			s.advance(d, n, ended)
			pos += n
			continue
		}
		grown, ok := g.readLine(pos, n, ended)
		if !ok {
			return
		}
		if over := pos + n + grown - int(h.End); over > 0 { // its end was cut off
			n, ended = n-over, false
		}
		s.advance(d, n, ended)
		pos += n + grown
	}
}

// TLS record types and major version (RFC 8446 section 5.1).
const (
	tlsFirstType = 0x14
	tlsLastType  = 0x17
	tlsMajor     = 3
)

// isTLS tells whether b starts with a TLS record.
func isTLS(b []byte) bool {
	return b[0] >= tlsFirstType && b[0] <= tlsLastType && (len(b) < 2 || b[1] == tlsMajor)
}

// readLine reads n bytes at the start of a line, at offset pos of the frame. It
// returns by how many bytes they grew, and false if nothing more is to be read.
func (g *segment) readLine(pos, n int, ended bool) (grown int, ok bool) {
	s, line := g.s, g.c.Frame[pos:pos+n]
	if isTLS(line) {
		s[ftpFlags] |= flagTLS
		g.c.note(CauseTLS)
		return 0, false
	}
	class := g.classify(line)
	if class == lineOther {
		return 0, false
	}
	if class != lineOpen && g.d == flowtable.DirReply && s[ftpMulti] != 0 {
		return 0, true
	}
	cmd, ok, cause := parseCommand(g.d, g.c.Headers.Family, line)
	switch {
	case ok:
		return g.announce(&cmd, pos)
	case cause == CausePartial:
		return 0, g.partial(pos, n)
	case cause != CauseNone:
		g.c.note(cause)
	case class == lineOpen && !ended:
		s.hold(g.ext, g.d, line, true, 0)
	}
	return 0, true
}

// classify looks who speaks, and stops reading if that is not FTP.
func (g *segment) classify(line []byte) lineClass {
	s := g.s
	class := s.classify(g.d, line)
	switch {
	case class == lineOther:
		s[ftpFlags] |= flagNotFTP
		g.c.note(CauseNotFTP)
	case class == lineOpen:
		s.set(g.d, flagOpen)
	case s[ftpFlags]&flagTLS != 0:
		g.c.note(CauseTLS)
	}
	return class
}

// readRest reads what follows within a line whose start has been forwarded. Its
// text can announce, as long as it need not be changed.
func (g *segment) readRest(b []byte, ended bool) {
	s := g.s
	if !s.holds(g.d) || !s.passed() {
		return
	}
	line := append(g.c.line[:0], g.ext.Text[:s.heldLen()]...)
	line = append(line, b[:min(len(b), cap(line)-len(line))]...)
	s.release()
	if s.has(g.d, flagOpen) {
		class := g.classify(line)
		if class == lineOther {
			return
		}
		if class == lineFTP {
			s.clear(g.d, flagOpen)
		}
	}
	multi := g.d == flowtable.DirReply && s[ftpMulti] != 0 && !s.has(g.d, flagOpen)
	cmd, ok, cause := parseCommand(g.d, g.c.Headers.Family, line)
	switch {
	case multi:
	case ok:
		g.announceUnchanged(&cmd)
	case cause == CausePartial || s.has(g.d, flagOpen):
		if !ended {
			s.hold(g.ext, g.d, line, true, 0)
		}
	case cause != CauseNone:
		g.c.note(cause)
	}
}

// partial deals with a command that the segment cuts off. If nothing would be
// changed in it, it is forwarded and remembered. Else it is kept back until the
// rest comes, and put before that. False: the segment ends before it.
func (g *segment) partial(pos, n int) bool {
	c, s := g.c, g.s
	line := c.Frame[pos : pos+n]
	if !g.translated() {
		s.hold(g.ext, g.d, line, true, 0)
		return true
	}
	tries := uint32(0)
	if pos == int(c.Headers.Payload) { // else the sender gets on when the rest is acknowledged
		tries = s.tries(g.d, n)
	}
	if tries >= maxTries || c.Headers.TCPFlags&packet.FIN != 0 || !s.hold(g.ext, g.d, line, false, tries) {
		s.release()
		c.note(CauseSplit)
		return true
	}
	c.note(CausePartial)
	g.cut(pos)
	return false
}

// translated tells whether the sender's address is another one on the other
// side, so that announcements have to be changed.
func (g *segment) translated() bool {
	var sender, answer flowtable.Tuple
	g.c.Table.Tuple(g.c.Index, g.d, &sender)
	g.c.Table.Tuple(g.c.Index, g.d.Opposite(), &answer)
	return sender.Src != answer.Dst
}

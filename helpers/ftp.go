package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// expectTimeout is how long an announced data connection is waited for
// (ftp_exp_policy, net/netfilter/nf_conntrack_ftp.c).
const expectTimeout flowtable.Tick = 300 * flowtable.TicksPerSecond

// minPort is the lowest port that may be announced: services of hosts below
// it must not be opened by text that a browser can be made to send.
const minPort = 1024

// FTP is the helper for FTP control connections. Immutable.
type FTP struct {
	// Loose lets an announcement name another host than its sender.
	Loose bool
}

// Packet reads one packet of a control connection.
//
// Hot: once per packet of such a connection. 0 allocs, and nothing beyond the
// first bytes of a segment is read, unless it announces a data connection.
func (f *FTP) Packet(c *Context) Verdict {
	h, d := c.Headers, c.Dir
	if h.Proto != packet.ProtoTCP || h.Fragment == packet.FragmentLater {
		return VerdictAccept
	}
	ext := c.Table.Ext(c.Index)
	if ext == nil {
		return VerdictAccept
	}
	s := (*ftpState)(&ext.Data)
	seq := packet.TCP(c.Frame[h.L4:]).Seq()
	flow := c.Table.Flow(c.Index)
	if h.TCPFlags&packet.SYN != 0 {
		if flow.State() < uint8(flowtable.TCPEstablished) || flow.State() == uint8(flowtable.TCPSynSent2) {
			s.start(d, seq+1)
		}
		return VerdictAccept
	}
	b := c.Frame[h.Payload:h.End]
	if len(b) == 0 || flow.Status()&flowtable.StatusSeenReply == 0 {
		return VerdictAccept
	}
	if h.Fragment == packet.FragmentFirst {
		c.Cause = CauseFragment
		return VerdictAccept
	}
	// Before the text is rewritten in place.
	lineEnds, end := b[len(b)-1] == '\n', seq+uint32(len(b))
	verdict := VerdictAccept
	if !s.seeTLS(c, b) {
		verdict = f.readLines(c, ext, seq)
	}
	if lineEnds && verdict != VerdictDrop {
		s.endLine(d, end)
	}
	return verdict
}

// TLS record types and major version (RFC 8446 section 5.1).
const (
	tlsFirstType = 0x14
	tlsHandshake = 0x16
	tlsLastType  = 0x17
	tlsMajor     = 3
)

// seeTLS tells whether a segment starts with a TLS record. The first one of a
// flow is counted (AUTH TLS, RFC 4217).
func (s *ftpState) seeTLS(c *Context, b []byte) bool {
	if b[0] < tlsFirstType || b[0] > tlsLastType || len(b) < 2 || b[1] != tlsMajor {
		return false
	}
	if s[ftpFlags]&flagTLS == 0 && b[0] == tlsHandshake {
		s[ftpFlags] |= flagTLS
		c.Cause = CauseTLS
	}
	return true
}

// readLines looks for an announcement at each known start of a line in the
// segment and handles the first.
func (f *FTP) readLines(c *Context, ext *flowtable.Ext, seq uint32) Verdict {
	s := (*ftpState)(&ext.Data)
	b := c.Frame[c.Headers.Payload:c.Headers.End]
	starts, n := s.lineStarts(c.Dir, seq, len(b))
	for _, k := range starts[:n] {
		cmd, ok, cause := parseCommand(c.Dir, c.Headers.Family, b[k:])
		if cause != CauseNone {
			c.Cause = cause
			return VerdictDrop
		}
		if ok {
			return f.announceSlow(c, ext, &cmd, seq, k)
		}
	}
	return VerdictAccept
}

// announcement is one announcement being handled.
type announcement struct {
	cmd    *command
	ext    *flowtable.Ext
	seq    uint32 // of the line, as its sender counts
	off    int    // of the line in the payload, bytes
	sender flowtable.Tuple
	answer flowtable.Tuple // tuple of the opposite direction
	seen   packet.Addr     // where the other side finds the announced host
	port   uint16          // where the other side finds the announced port
}

// announceSlow makes the expectation of a command that starts k bytes into
// the segment at seq, and rewrites its text.
func (f *FTP) announceSlow(c *Context, ext *flowtable.Ext, cmd *command, seq uint32, k int) Verdict {
	a := announcement{cmd: cmd, ext: ext, seq: seq + uint32(k), off: k}
	c.Table.Tuple(c.Index, c.Dir, &a.sender)
	c.Table.Tuple(c.Index, c.Dir.Opposite(), &a.answer)
	if cmd.kind == kindEPSV || f.Loose && cmd.addr == a.answer.Dst {
		cmd.addr = a.sender.Src // its own, or what it knows to be translated to
	}
	sixNumbers := cmd.kind == kindPORT || cmd.kind == kindPASV
	if sixNumbers && a.sender.Family != packet.IPv4 || cmd.addr != a.sender.Src && !f.Loose {
		c.Cause = CauseOtherAddress
		return VerdictAccept
	}
	if cmd.port < minPort {
		c.Cause = CausePrivilegedPort
		return VerdictAccept
	}
	a.seen = a.answer.Dst
	if a.seen == a.sender.Src { // not translated
		a.seen = cmd.addr
	}
	s := (*ftpState)(&ext.Data)
	lastSeq, announced, port, ok := s.last(c.Dir)
	switch {
	case ok && a.seq == lastSeq && cmd.port == announced:
		a.port = port
		c.Cause = CauseRepeated
	case ok && !before(lastSeq, a.seq):
		c.Cause = CauseOutdated
	default:
		a.expect(c)
	}
	if c.Cause.Drops() {
		return VerdictDrop
	}
	v := a.rewrite(c)
	if v != VerdictDrop {
		s.setLast(c.Dir, a.seq, cmd.port, a.port)
	}
	return v
}

// expect replaces the flow's expectation by that of a, under the announced
// port or, if NAT is free to choose, under another one.
func (a *announcement) expect(c *Context) {
	a.withdraw(c, &c.Removed)
	e := flowtable.Expectation{
		Tuple: flowtable.Tuple{
			Src: a.answer.Src, Dst: a.seen, Proto: packet.ProtoTCP, Family: a.sender.Family,
		},
		SavedAddr: a.cmd.addr,
		SavedPort: a.cmd.port,
		Helper:    uint8(IDFTP),
		Dir:       c.Dir,
		Master:    flowtable.FlowID{Index: c.Index, Gen: c.Table.Gen(c.Index), Worker: c.Worker},
		Deadline:  c.Now + expectTimeout,
	}
	c.Table.Tuple(c.Index, flowtable.DirOriginal, &e.MasterOrig)
	if a.seen == a.cmd.addr {
		a.expectUntranslated(c, &e)
		return
	}
	for try := range nat.MaxExpectTries {
		port, ok := c.Translator.ExpectedPort(e.Tuple.Family, a.seen, a.cmd.port, try)
		if !ok {
			continue
		}
		e.Tuple.DstPort = port
		switch c.Expectations.Add(&e) {
		case flowtable.AddClash:
			continue
		case flowtable.AddFull:
			c.Cause = CauseExpectFull
			return
		default: // added, or in the place of an older one
		}
		a.port = port
		a.accepted(c, &e)
		return
	}
	c.Cause = CauseNoPort
}

// expectUntranslated announces the very address and port of the text. The
// text stays valid whether or not that succeeds.
func (a *announcement) expectUntranslated(c *Context, e *flowtable.Expectation) {
	a.port = a.cmd.port
	e.Tuple.DstPort = a.port
	switch c.Expectations.Add(e) {
	case flowtable.AddClash:
		c.Cause = CauseExpectPending
	case flowtable.AddFull:
		c.Cause = CauseExpectFull
	default:
		a.accepted(c, e)
	}
}

// accepted notes an expectation that is pending now.
func (a *announcement) accepted(c *Context, e *flowtable.Expectation) {
	c.Translator.ReserveExpected(e)
	a.ext.Expect = e.ID
	c.Added = *e
	c.Cause = CauseExpected
}

// withdraw removes the flow's pending expectation, if it is still there, and
// notes it in removed.
func (a *announcement) withdraw(c *Context, removed *flowtable.Expectation) {
	if a.ext.Expect == 0 {
		return
	}
	if e, ok := c.Expectations.Remove(a.ext.Expect); ok {
		c.Translator.ReleaseExpected(&e)
		*removed = e
	}
	a.ext.Expect = 0
}

// rewrite puts the address and port that the other side sees into the text.
func (a *announcement) rewrite(c *Context) Verdict {
	if a.seen == a.cmd.addr && a.port == a.cmd.port {
		return VerdictAccept
	}
	text := a.cmd.appendText(c.text[:0], a.sender.Family, a.seen, a.port)
	off := int(c.Headers.Payload) + a.off + a.cmd.off
	n, ok := nat.ReplaceText(c.Frame, c.Headers, off, a.cmd.n, text)
	if !ok {
		if c.Added.ID != 0 { // nobody has heard of it: no event
			a.withdraw(c, &c.Added)
			c.Added.ID = 0
		}
		c.Cause = CauseNoRoom
		return VerdictDrop
	}
	c.Frame = c.Frame[:n]
	if delta := len(text) - a.cmd.n; delta != 0 {
		nat.SetSeqAdj(a.ext, c.Dir, a.seq, int32(delta))
		c.Table.Flow(c.Index).AddStatus(flowtable.StatusSeqAdjust)
	}
	return VerdictChanged
}

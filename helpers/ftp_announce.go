package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// announcement is one announcement being handled.
type announcement struct {
	cmd    *command
	ext    *flowtable.Ext
	sender flowtable.Tuple
	answer flowtable.Tuple // tuple of the opposite direction
	seen   packet.Addr     // where the other side finds the announced host
	port   uint16          // where the other side finds the announced port
}

// announce makes the expectation of a command in the line at offset pos of the
// frame, and rewrites its text. It returns by how many bytes that grew, and
// false if the segment now ends before the line.
func (g *segment) announce(cmd *command, pos int) (grown int, ok bool) {
	c := g.c
	if g.announced { // one at a time; so that events and changes are too
		c.note(CauseSecond)
		g.cut(pos)
		return 0, false
	}
	var a announcement
	if !g.permit(&a, cmd) {
		return 0, true
	}
	if cause := g.make(&a); cause.Drops() {
		c.note(cause)
		g.cut(pos)
		return 0, false
	}
	g.announced = true
	if a.seen == cmd.addr && a.port == cmd.port {
		return 0, true
	}
	text := cmd.appendText(c.text[:0], a.sender.Family, a.seen, a.port)
	if !g.replace(pos+cmd.off, cmd.n, text) {
		c.withdraw(a.ext.Expect)
		c.note(CauseNoRoom)
		g.cut(pos)
		return 0, false
	}
	change := flowtable.SeqChange{
		Start: g.s[g.d] + uint32(cmd.off), Old: uint8(cmd.n), New: uint8(len(text)), Data: a.port,
	}
	nat.AddSeqChange(g.ext, g.d, change, g.settled())
	if grown = len(text) - cmd.n; grown != 0 {
		c.Table.Flow(c.Index).AddStatus(flowtable.StatusSeqAdjust)
	}
	c.note(CauseExpected)
	return grown, true
}

// announceUnchanged makes the expectation of a command that has been forwarded
// in part.
func (g *segment) announceUnchanged(cmd *command) {
	var a announcement
	if g.announced || g.translated() || !g.permit(&a, cmd) {
		return
	}
	if cause := g.make(&a); cause.Drops() {
		g.c.note(cause)
	}
}

// permit fills in a and tells whether the announcement may be followed; if not
// it is forwarded as it is.
func (g *segment) permit(a *announcement, cmd *command) bool {
	c := g.c
	a.cmd, a.ext = cmd, g.ext
	c.Table.Tuple(c.Index, g.d, &a.sender)
	c.Table.Tuple(c.Index, g.d.Opposite(), &a.answer)
	if cmd.kind == kindEPSV || g.c.loose && cmd.addr == a.answer.Dst {
		cmd.addr = a.sender.Src // its own, or what it knows to be translated to
	}
	family, sixNumbers := a.sender.Family, cmd.kind == kindPORT || cmd.kind == kindPASV
	cause := c.refuses(a.sender.Src, cmd.addr, family)
	switch {
	case sixNumbers && family != packet.IPv4:
		cause = CauseOtherAddress
	case cause == CauseNone && cmd.port < minPort:
		cause = CausePrivilegedPort
	}
	if cause != CauseNone {
		c.note(cause)
		return false
	}
	a.seen = a.answer.Dst
	if a.seen == a.sender.Src { // not translated
		a.seen = cmd.addr
	}
	return true
}

// make makes the expectation, if the flow may make another one now.
func (g *segment) make(a *announcement) Cause {
	switch {
	case a.seen != a.cmd.addr && g.ext.SeqAdj[g.d].Full(g.settled()):
		return CauseUnacknowledged
	case !g.s.spend(g.c.Now):
		return CauseTooFast
	}
	return a.expect(g.c)
}

// settled is up to where changes of the text may be forgotten: the receiver has
// acknowledged them, and the segment has none of them.
func (g *segment) settled() uint32 {
	acked := g.s[ftpAcked+int(g.d)]
	if before(g.seq, acked) {
		return g.seq
	}
	return acked
}

// expect replaces the flow's expectation by that of a, under the announced
// port or, if NAT is free to choose, under another one.
func (a *announcement) expect(c *Context) Cause {
	c.withdraw(a.ext.Expect)
	e := flowtable.Expectation{
		Tuple: flowtable.Tuple{
			Src: a.answer.Src, Dst: a.seen, Proto: packet.ProtoTCP, Family: a.sender.Family,
		},
		SavedAddr: a.cmd.addr,
		SavedPort: a.cmd.port,
		Follows:   c.Dir == flowtable.DirOriginal, // see decision 5
	}
	if a.seen == a.cmd.addr {
		return a.expectUntranslated(c, &e)
	}
	for try := range nat.MaxExpectTries {
		port, ok := c.Translator.ExpectedPort(e.Tuple.Family, e.Tuple.Proto, a.seen, a.cmd.port, try)
		if !ok {
			continue
		}
		e.Tuple.DstPort = port
		if cause := refusal(c.expect(&e)); cause != CauseExpectPending {
			a.port = port
			return cause
		}
	}
	return CauseNoPort
}

// expectUntranslated announces the very address and port of the text. The
// text stays valid whether or not that succeeds.
func (a *announcement) expectUntranslated(c *Context, e *flowtable.Expectation) Cause {
	a.port = a.cmd.port
	e.Tuple.DstPort = a.port
	cause := refusal(c.expect(e))
	if !cause.Drops() {
		c.note(cause)
	}
	return cause
}

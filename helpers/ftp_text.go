package helpers

import (
	"math"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// replace puts text in place of n bytes at offset off of the frame. What then
// goes beyond the MTU, or the frame's room, is cut off the end; false, and
// nothing has changed, if that would not leave the text whole.
func (g *segment) replace(off, n int, text []byte) bool {
	c, h := g.c, g.c.Headers
	limit := cap(c.Frame)
	if c.MTU != 0 {
		limit = min(limit, int(h.L3)+int(c.MTU))
	}
	if excess := int(h.End) + len(text) - n - limit; excess > 0 {
		if off+n > int(h.End)-excess {
			return false
		}
		g.cut(int(h.End) - excess)
		c.note(CauseCut)
	}
	length, ok := nat.ReplaceText(c.Frame, h, off, n, text)
	if ok {
		c.Frame, g.changed = c.Frame[:length], true
	}
	return ok
}

// cut takes off what comes from offset at of the frame on. The sender hears no
// acknowledgement of it and sends it again.
func (g *segment) cut(at int) {
	c, h := g.c, g.c.Headers
	if n, ok := nat.ReplaceText(c.Frame, h, at, int(h.End)-at, nil); ok {
		c.Frame, g.changed = c.Frame[:n], true
	}
	if h.TCPFlags&packet.FIN != 0 { // comes after what was cut off
		g.clearFlag(packet.FIN)
	}
}

// clearFlag takes a flag off the segment.
func (g *segment) clearFlag(flag uint8) {
	h := g.c.Headers
	t := packet.TCP(g.c.Frame[h.L4:])
	was := uint16(t[12])<<8 | uint16(t[13])
	t[13] &^= flag
	h.TCPFlags &^= flag
	g.changed = true
	is := uint16(t[12])<<8 | uint16(t[13])
	t.SetChecksum(packet.Delta(0).Add16(was, is).Apply(t.Checksum()))
}

// join puts the start of a line that was kept back before the segment, if it is
// the rest of that.
func (g *segment) join() bool {
	s, h := g.s, g.c.Headers
	n := s.heldLen()
	if !s.holds(g.d) || s.passed() || g.seq-s[g.d] != uint32(n) ||
		!g.replace(int(h.Payload), 0, g.ext.Text[:n]) {
		return false
	}
	g.setSeq(g.seq - uint32(n))
	s.release()
	g.c.note(CauseJoined)
	return true
}

// repeat changes text that was changed when it was sent first; the receiver must
// get the same bytes again. Where the sender now divides the stream within such
// a text, the segment with its first byte carries all of it, and others none. It
// returns false if the segment ends before what is new.
func (g *segment) repeat() bool {
	h := g.c.Headers
	adj := &g.ext.SeqAdj[g.d]
	if adj.Forgotten && before(g.seq, adj.Floor) && !g.skipForgotten(adj.Floor) {
		return false
	}
	for i := range min(adj.N, flowtable.SeqChanges) {
		ch := &adj.Changes[i]
		at := int(int32(ch.Start - g.seq))
		length := int(h.End-h.Payload) - g.shift // as it came
		n := min(int(ch.Old), length-at)
		switch {
		case at+int(ch.Old) <= 0 || n <= 0:
		case at < 0:
			if !g.trim(min(at+int(ch.Old), length)) {
				return false
			}
		case !g.again(ch, int(h.Payload)+at+g.shift, n):
			return false
		}
	}
	return true
}

// skipForgotten takes off what the receiver has acknowledged and the helper
// cannot make again. If nothing is left, the segment goes on without text, as a
// keep-alive of its last byte, so that the receiver repeats its acknowledgement.
func (g *segment) skipForgotten(floor uint32) bool {
	h := g.c.Headers
	n := min(int(floor-g.seq), int(h.End-h.Payload))
	seq := g.seq + uint32(n)
	if n == int(h.End-h.Payload) && h.TCPFlags&packet.FIN == 0 {
		g.probe, seq = true, floor-1
	}
	length, ok := nat.ReplaceText(g.c.Frame, h, int(h.Payload), n, nil)
	if ok {
		g.c.Frame, g.changed = g.c.Frame[:length], true
		g.c.note(CauseOutdated)
		g.setSeq(seq)
	}
	return h.Payload < h.End
}

// again changes n bytes at offset pos, the text of a change or its start, as they
// were changed before.
func (g *segment) again(ch *flowtable.SeqChange, pos, n int) bool {
	text := g.textAgain(ch, g.c.Frame[pos])
	cause := CauseRepeated
	if len(text) != int(ch.New) {
		cause = CauseOutdated
	} else if !g.replace(pos, n, text) {
		cause = CauseNoRoom
	}
	g.c.note(cause)
	if cause != CauseRepeated {
		g.cut(pos)
		return false
	}
	g.shift += int(ch.New) - n
	return n == int(ch.Old)
}

// trim takes n bytes off the start of the segment; false if nothing is left.
func (g *segment) trim(n int) bool {
	h := g.c.Headers
	if n == int(h.End-h.Payload) {
		g.c.note(CauseOutdated)
	}
	length, ok := nat.ReplaceText(g.c.Frame, h, int(h.Payload), n, nil)
	if ok {
		g.c.Frame, g.changed = g.c.Frame[:length], true
		g.setSeq(g.seq + uint32(n))
	}
	return ok && h.Payload < h.End
}

// setSeq says that the segment starts elsewhere.
func (g *segment) setSeq(seq uint32) {
	g.seq = seq
	t := packet.TCP(g.c.Frame[g.c.Headers.L4:])
	old := t.Seq()
	t.SetSeq(seq)
	change := packet.Delta(0).Add16(uint16(old>>16), uint16(seq>>16)).Add16(uint16(old), uint16(seq))
	t.SetChecksum(change.Apply(t.Checksum()))
	if g.c.Headers.TCPFlags&packet.URG != 0 {
		g.moveUrgent(int(int32(seq - old)))
	}
}

// moveUrgent makes the urgent pointer count from n bytes further on. Where the receiver
// has all urgent data already, the segment says no more of it.
func (g *segment) moveUrgent(n int) {
	t := packet.TCP(g.c.Frame[g.c.Headers.L4:])
	old := t.Urgent()
	urgent := max(int(old)-n, 0)
	if urgent == 0 {
		g.clearFlag(packet.URG)
	}
	t.SetUrgent(uint16(min(urgent, math.MaxUint16)))
	t.SetChecksum(packet.Delta(0).Add16(old, t.Urgent()).Apply(t.Checksum()))
}

// knowsUrgent tells whether it is known where the urgent data will end on the other side:
// text up to there that was not read yet may still change its length.
func (g *segment) knowsUrgent() bool {
	t := packet.TCP(g.c.Frame[g.c.Headers.L4:])
	return !before(g.s[g.d], g.seq+uint32(t.Urgent())) || !g.s.reads() || !g.translated()
}

// textAgain makes the text of a change again. The first byte that it replaces
// tells its form.
func (g *segment) textAgain(ch *flowtable.SeqChange, first byte) []byte {
	var answer flowtable.Tuple
	g.c.Table.Tuple(g.c.Index, g.d.Opposite(), &answer)
	cmd := command{kind: kindEPRT}
	switch {
	case isDigit(first):
		cmd.kind = kindPORT
	case g.d == flowtable.DirReply:
		cmd.kind = kindEPSV
	}
	return cmd.appendText(g.c.text[:0], answer.Family, answer.Dst, ch.Data)
}

package flowtable

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// codec turns records into bytes and back, in the order and widths that
// docs/state.md tells: each field is named once, for both. Numbers are
// little-endian.
type codec struct {
	// b is what was written, or what is left to be read.
	b       []byte
	reading bool
	// short: there was less to read than a field needs. Such fields stay.
	short bool
}

// take returns the next n bytes to read; nil if there are not as many.
func (c *codec) take(n int) []byte {
	if len(c.b) < n {
		c.short = true
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	return b
}

func code8[T ~uint8](c *codec, v *T) {
	if !c.reading {
		c.b = append(c.b, uint8(*v))
	} else if b := c.take(1); b != nil {
		*v = T(b[0])
	}
}

func code16[T ~uint16](c *codec, v *T) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint16(c.b, uint16(*v))
	} else if b := c.take(2); b != nil {
		*v = T(binary.LittleEndian.Uint16(b))
	}
}

func code32[T ~uint32 | ~int32](c *codec, v *T) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint32(c.b, uint32(*v))
	} else if b := c.take(4); b != nil {
		*v = T(binary.LittleEndian.Uint32(b))
	}
}

func code64[T ~uint64 | ~int64](c *codec, v *T) {
	if !c.reading {
		c.b = binary.LittleEndian.AppendUint64(c.b, uint64(*v))
	} else if b := c.take(8); b != nil {
		*v = T(binary.LittleEndian.Uint64(b))
	}
}

// bytes codes a field of fixed length.
func (c *codec) bytes(v []byte) {
	if !c.reading {
		c.b = append(c.b, v...)
	} else if b := c.take(len(v)); b != nil {
		copy(v, b)
	}
}

// flag codes a bool as a byte, 0 or 1.
func (c *codec) flag(v *bool) {
	n := bit(*v, 1)
	code8(c, &n)
	*v = n != 0
	c.short = c.short || n > 1
}

// Parts of a flow that not all flows have.
const (
	partIPv6 = 1 << iota
	partWindow
	partExt
	partCounts
	partStart
	parts = 1<<iota - 1
)

// partsOf tells which parts a flow has.
func (s *SavedFlow) partsOf() uint8 {
	return bit(s.Orig.Family == packet.IPv6, partIPv6) | bit(windowed(s.Orig.Proto), partWindow) |
		bit(s.HasExt, partExt) | bit(s.Counted, partCounts) | bit(s.Start != 0, partStart)
}

// bit returns a part if the flow has it.
func bit(has bool, part uint8) uint8 {
	if has {
		return part
	}
	return 0
}

// flow codes a flow.
func (c *codec) flow(s *SavedFlow) {
	has := uint8(0)
	if !c.reading {
		has = s.partsOf()
	}
	code8(c, &has)
	code8(c, &s.Orig.Proto)
	code8(c, &s.State)
	code16(c, &s.Status)
	code32(c, &s.Timeout)
	code32(c, &s.Idle)
	code32(c, &s.Age)
	code32(c, &s.ID)
	s.Orig.Family = packet.IPv4
	if has&partIPv6 != 0 {
		s.Orig.Family = packet.IPv6
	}
	s.Reply.Proto, s.Reply.Family = s.Orig.Proto, s.Orig.Family
	c.ends(&s.Orig)
	c.ends(&s.Reply)
	if has&partWindow != 0 {
		code32(c, &s.tcp)
		c.window(&s.window)
	}
	if s.HasExt = has&partExt != 0; s.HasExt {
		c.flowID(&s.Name)
		c.ext(&s.Ext)
	}
	if s.Counted = has&partCounts != 0; s.Counted {
		for d := range s.Packets {
			code64(c, &s.Packets[d])
			code64(c, &s.Bytes[d])
		}
	}
	if has&partStart != 0 {
		code64(c, &s.Start)
	}
	c.short = c.short || has&^parts != 0 || has&partWindow == 0 == windowed(s.Orig.Proto)
}

// ends codes addresses and ports of a tuple, whose family is known.
func (c *codec) ends(t *Tuple) {
	for _, a := range [2]*packet.Addr{&t.Src, &t.Dst} {
		c.addr(a, t.Family)
	}
	code16(c, &t.SrcPort)
	code16(c, &t.DstPort)
}

// addr codes an address.
func (c *codec) addr(a *packet.Addr, f packet.Family) {
	if f == packet.IPv6 {
		code64(c, &a.Hi)
		code64(c, &a.Lo)
		return
	}
	low := uint32(a.Lo)
	code32(c, &low)
	*a = packet.Addr{Lo: uint64(low)}
}

// window codes what is known of both sides of a connection.
func (c *codec) window(w *window) {
	for d := range w.side {
		s := &w.side[d]
		code32(c, &s.end)
		code32(c, &s.maxEnd)
		code32(c, &s.maxWin)
		code32(c, &s.maxAck)
	}
	code32(c, &w.lastSeq)
	code32(c, &w.lastAck)
	code32(c, &w.lastEnd)
	code16(c, &w.lastWin)
	code8(c, &w.retrans)
}

// flowID codes the name of a flow.
func (c *codec) flowID(id *FlowID) {
	code32(c, &id.Index)
	code32(c, &id.Gen)
	code8(c, &id.Worker)
}

// ext codes an extension record.
func (c *codec) ext(x *Ext) {
	code8(c, &x.Helper)
	c.flowID(&x.Master)
	for d := range x.SeqAdj {
		c.seqAdj(&x.SeqAdj[d])
	}
	code32(c, &x.Expect)
	for i := range x.Data {
		code32(c, &x.Data[i])
	}
	c.bytes(x.Text[:])
}

// seqAdj codes the adjustment of one direction.
func (c *codec) seqAdj(s *SeqAdj) {
	for i := range s.Changes {
		n := &s.Changes[i]
		code32(c, &n.Start)
		code32(c, &n.Offset)
		code8(c, &n.Old)
		code8(c, &n.New)
		code16(c, &n.Data)
	}
	code32(c, &s.Base)
	code32(c, &s.Floor)
	code8(c, &s.N)
	c.flag(&s.Forgotten)
}

// expectation codes an expectation whose Deadline counts from the time of saving.
func (c *codec) expectation(e *Expectation) {
	code32(c, &e.ID)
	code32(c, &e.Deadline)
	code8(c, &e.Helper)
	code8(c, &e.Class)
	code8(c, &e.Next)
	code32(c, &e.Group)
	c.flag(&e.Follows)
	code8(c, &e.Flags)
	code8(c, &e.Dir)
	c.flowID(&e.Master)
	for _, t := range [2]*Tuple{&e.Tuple, &e.MasterOrig} {
		code8(c, &t.Family)
		code8(c, &t.Proto)
		c.ends(t)
	}
	c.addr(&e.SavedAddr, e.Tuple.Family)
	code16(c, &e.SavedPort)
	for _, f := range [2]packet.Family{e.Tuple.Family, e.MasterOrig.Family} {
		c.short = c.short || f != packet.IPv4 && f != packet.IPv6
	}
	c.short = c.short || e.ID == 0 || e.Dir > DirReply
}

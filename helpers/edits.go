package helpers

import (
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// span is a piece of a payload: where it starts and its length, in bytes.
type span struct{ at, n uint16 }

// end returns where the span ends.
func (s span) end() int { return int(s.at) + int(s.n) }

// of returns the bytes of the span.
func (s span) of(b []byte) []byte { return b[s.at:s.end()] }

// form is how an edit is written.
type form uint8

const (
	formNumber   form = iota // a number
	formAddr                 // an address
	formHost                 // an address, of IPv6 in brackets
	formHostPort             // the same, a colon and a port
)

// edit is new text for a piece of a datagram.
type edit struct {
	span
	form form
	addr packet.Addr
	num  uint16 // the number, or port
}

// maxEdits is how many pieces of one datagram may change.
const maxEdits = 64

// edits are the changes of one datagram, which are made all or none.
type edits struct {
	family packet.Family
	n      int
	list   [maxEdits]edit
}

// add notes a change; false if there are too many.
func (e *edits) add(x edit) bool {
	if e.n == maxEdits {
		return false
	}
	e.list[e.n] = x
	e.n++
	return true
}

// appendText appends the new text of an edit.
func (e *edits) appendText(b []byte, x *edit) []byte {
	switch x.form {
	case formNumber:
		return appendDecimal(b, x.num)
	case formAddr:
		return x.addr.Netip(e.family).AppendTo(b)
	default:
	}
	if e.family == packet.IPv6 {
		b = append(x.addr.Netip(e.family).AppendTo(append(b, '[')), ']')
	} else {
		b = x.addr.Netip(e.family).AppendTo(b)
	}
	if x.form == formHostPort {
		b = appendDecimal(append(b, ':'), x.num)
	}
	return b
}

// growth returns by how many bytes the payload grows from offset at on.
func (e *edits) growth(c *Context, at int) int {
	grown := 0
	for i := range e.list[:e.n] {
		if x := &e.list[i]; int(x.at) >= at {
			grown += len(e.appendText(c.text[:0], x)) - int(x.n)
		}
	}
	return grown
}

// sort brings the edits in the order of their places. They nearly are.
func (e *edits) sort() {
	for i := 1; i < e.n; i++ {
		for j := i; j > 0 && e.list[j].at < e.list[j-1].at; j-- {
			e.list[j], e.list[j-1] = e.list[j-1], e.list[j]
		}
	}
}

// apply makes the changes in the datagram of c. It returns false, and nothing has
// changed, if the datagram would be longer than the MTU of its way or the frame.
func (e *edits) apply(c *Context) bool {
	h := c.Headers
	limit := cap(c.Frame)
	if c.MTU != 0 {
		limit = min(limit, int(h.L3)+int(c.MTU))
	}
	if int(h.End)+e.growth(c, 0) > limit {
		return false
	}
	e.sort()
	for i := e.n - 1; i >= 0; i-- { // from behind, so that the places stay
		x := &e.list[i]
		n, ok := nat.ReplaceText(c.Frame, h, int(h.Payload)+int(x.at), int(x.n), e.appendText(c.text[:0], x))
		if !ok {
			return false // cannot be: it fits, and is no fragment
		}
		c.Frame = c.Frame[:n]
	}
	return true
}

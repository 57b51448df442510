package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// rewrite makes the changes of the message. It returns why it could not.
func (s *sipCall) rewrite() Cause {
	if s.edits.n > 0 && (!s.mapLength() || !s.edits.apply(s.c)) {
		return CauseNoRoom
	}
	return CauseNone
}

// mapHeaders puts the addresses of the receiver's view into the headers, where they are
// named. It returns false if there are too many.
func (s *sipCall) mapHeaders() bool {
	m := &s.m
	ok := s.mapHost(&m.uri) && s.mapVia()
	for i := range m.ends {
		ok = ok && s.mapHost(&m.ends[i])
	}
	for i := range m.contacts[:m.nContact] {
		ok = ok && s.mapHost(&m.contacts[i].hostPort)
	}
	for i := range m.routes[:m.nRoute] {
		ok = ok && s.mapHost(&m.routes[i])
	}
	return ok
}

// mapHost maps a host and port that a URI names (map_addr, nf_nat_sip.c).
func (s *sipCall) mapHost(h *hostPort) bool {
	if !h.ok {
		return true
	}
	addr, port, ok := s.mapped(h.addr, h.port)
	if !ok || addr == h.addr && port == h.port {
		return true
	}
	return s.edits.add(edit{span: h.span, form: formHostPort, addr: addr, num: port})
}

// mapped returns what the receiver calls addr:port: the sender's own, the receiver's
// as the sender knows it, or what a registration on the flow has announced.
func (s *sipCall) mapped(addr packet.Addr, port uint16) (packet.Addr, uint16, bool) {
	switch {
	case addr == s.sender.Src && port == s.sender.SrcPort:
		return s.answer.Dst, s.answer.DstPort, true
	case addr == s.sender.Dst && port == s.sender.DstPort:
		return s.answer.Src, s.answer.SrcPort, true
	case s.ext.Expect == 0 || addr != s.sender.Src && addr != s.sender.Dst:
		return addr, port, false
	}
	e := s.c.Expectations.OfMaster(s.self, func(e *flowtable.Expectation) bool {
		return e.Class == sipSignalling &&
			(e.SavedAddr == addr && e.SavedPort == port || e.Tuple.Dst == addr && e.Tuple.DstPort == port)
	})
	switch {
	case e.ID == 0:
		return addr, port, false
	case e.SavedAddr == addr && e.SavedPort == port:
		return e.Tuple.Dst, e.Tuple.DstPort, true
	}
	return e.SavedAddr, e.SavedPort, true
}

// mapAddr returns what the receiver calls an address.
func (s *sipCall) mapAddr(addr packet.Addr) packet.Addr {
	switch addr {
	case s.sender.Src:
		return s.answer.Dst
	case s.sender.Dst:
		return s.answer.Src
	}
	return addr
}

// mapVia maps the topmost Via, if it is about this flow: where the answer goes, and
// where the question seemed to come from (RFC 3261 section 18.2, RFC 3581).
func (s *sipCall) mapVia() bool {
	m := &s.m
	if !m.via.ok {
		return true
	}
	who, port := s.sender.Src, s.sender.SrcPort
	newPort := s.answer.DstPort
	if !m.request {
		who, port = s.sender.Dst, s.sender.DstPort
		newPort = s.answer.SrcPort
	}
	if m.via.addr != who || m.via.port != port {
		return true
	}
	if !s.mapHost(&m.via) {
		return false
	}
	if addr, ok := parseAddr(m.received.of(m.text), m.family); ok && s.mapAddr(addr) != addr &&
		!s.edits.add(edit{span: m.received, form: formAddr, addr: s.mapAddr(addr)}) {
		return false
	}
	v, ok := parseNumber(m.rport.of(m.text), 65535)
	if !ok || uint16(v) != port || newPort == port {
		return true
	}
	return s.edits.add(edit{span: m.rport, form: formNumber, num: newPort})
}

// mapLength brings Content-Length in line with the new length of the body.
func (s *sipCall) mapLength() bool {
	grown := s.edits.growth(s.c, s.m.body)
	if grown == 0 || s.m.lengthAt.n == 0 {
		return true
	}
	length := len(s.m.text) - s.m.body + grown
	return length <= 65535 && s.edits.add(edit{span: s.m.lengthAt, form: formNumber, num: uint16(length)})
}

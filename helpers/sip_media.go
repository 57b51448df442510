package helpers

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// announce makes the expectations of a session description, in place of those that
// the sender announced for the call before.
func (s *sipCall) announce() Cause {
	if !s.state().spend(s.c.Now) {
		return CauseTooFast
	}
	first := s.nMade
	for i := range s.d.streams[:s.d.n] {
		x := &s.d.streams[i]
		if !s.permit(x) {
			continue
		}
		if cause := s.expectStream(x); cause.Drops() {
			return cause
		}
	}
	made := s.made[first:s.nMade]
	s.endCall(func(e *flowtable.Expectation) bool {
		for _, id := range made {
			if e.ID == id {
				return false
			}
		}
		return e.Dir == s.c.Dir
	})
	return s.mapDescription()
}

// media returns where a stream is wanted.
func (s *sipCall) media(x *stream) packet.Addr {
	if x.addr.n != 0 {
		return x.addr.addr
	}
	return s.d.session.addr
}

// permit tells whether a stream may be expected, and counts why not.
func (s *sipCall) permit(x *stream) bool {
	addr := s.media(x)
	if x.class == 0 || x.port == 0 || addr.IsZero() { // not followed; refused; on hold (RFC 3264 section 8.4)
		return false
	}
	if x.rtcpAddr.n != 0 && x.rtcpAddr.addr != addr {
		s.c.note(CauseOtherAddress)
		return false
	}
	rtcp := x.rtcp
	if rtcp == 0 {
		rtcp = x.port + 1 // 0 if there is no such port
	}
	return s.permitPort(addr, x.port) && (x.alone || s.permitPort(addr, rtcp))
}

// permitPort tells whether the sender may announce a port of a host, and counts why not.
func (s *sipCall) permitPort(addr packet.Addr, port uint16) bool {
	cause := s.c.refuses(s.sender.Src, addr, s.m.family)
	if cause == CauseNone && port < minPort {
		cause = CausePrivilegedPort
	}
	if cause != CauseNone {
		s.c.note(cause)
	}
	return cause == CauseNone
}

// seen returns where the other side finds a host of the sender's.
func (s *sipCall) seen(addr packet.Addr) packet.Addr {
	if s.answer.Dst == s.sender.Src { // not translated
		return addr
	}
	return s.answer.Dst
}

// expectation returns the expectation of a stream's packets to addr:port.
func (s *sipCall) expectation(x *stream, addr packet.Addr, port uint16) flowtable.Expectation {
	e := flowtable.Expectation{
		Tuple:     flowtable.Tuple{Src: s.answer.Src, Dst: s.seen(addr), DstPort: port, Proto: packet.ProtoUDP, Family: s.m.family},
		SavedAddr: addr, SavedPort: port, Class: x.class, Group: s.group,
	}
	if s.c.loose {
		e.Tuple.Src = packet.Addr{}
	}
	return e
}

// expectStream makes the expectations of a stream: of RTP and, unless it comes alone,
// RTCP, and notes the ports under which the other side finds them.
func (s *sipCall) expectStream(x *stream) Cause {
	addr := s.media(x)
	rtp, cause := s.expectPort(x, addr, x.port, !x.alone && (x.rtcp == 0 || x.rtcp == x.port+1))
	if cause != CauseExpected {
		return s.pass(cause)
	}
	s.c.note(CauseExpected)
	if rtp != x.port && !s.edits.add(edit{span: x.portAt, form: formNumber, num: rtp}) {
		return CauseNoRoom
	}
	rtcp := rtp + 1
	switch {
	case x.alone || x.rtcp == 0:
		return CauseNone
	case x.rtcp != x.port+1:
		if rtcp, cause = s.expectPort(x, addr, x.rtcp, false); cause != CauseExpected {
			return s.pass(cause)
		}
	}
	if rtcp != x.rtcp && !s.edits.add(edit{span: x.rtcpAt, form: formNumber, num: rtcp}) {
		return CauseNoRoom
	}
	return CauseNone
}

// pass counts a cause that does not keep the message back.
func (s *sipCall) pass(cause Cause) Cause {
	if cause.Drops() {
		return cause
	}
	s.c.note(cause)
	return CauseNone
}

// expectPort makes the expectation for a port of addr, and for the next one if pair,
// and returns the port under which the other side finds it.
func (s *sipCall) expectPort(x *stream, addr packet.Addr, port uint16, pair bool) (uint16, Cause) {
	e := s.expectation(x, addr, port)
	if e.Tuple.Dst == addr { // there is no other one
		return port, s.expectBoth(e, port, pair)
	}
	if known := s.knownPort(&e); known != 0 && s.mayBe(&e, known, pair) {
		if cause := s.expectBoth(e, known, pair); cause != CauseExpectPending {
			return known, cause
		}
	}
	offer := s.c.Translator.ExpectedPort
	if pair {
		offer = s.c.Translator.ExpectedPair
	}
	for try := range nat.MaxExpectTries {
		out, ok := offer(s.m.family, packet.ProtoUDP, e.Tuple.Dst, port, try)
		if !ok {
			continue
		}
		if cause := s.expectBoth(e, out, pair); cause != CauseExpectPending {
			s.remember(port, out)
			return out, cause
		}
	}
	return 0, CauseNoPort
}

// expectBoth makes e pending at port out, and if pair at the next one for the next one.
func (s *sipCall) expectBoth(e flowtable.Expectation, out uint16, pair bool) Cause {
	e.Tuple.DstPort = out
	cause := s.expect(&e)
	if cause != CauseExpected || !pair {
		return cause
	}
	first := e.ID
	e.Tuple.DstPort, e.SavedPort = out+1, e.SavedPort+1
	if cause = s.expect(&e); cause != CauseExpected {
		s.c.withdraw(first)
		s.nMade--
	}
	return cause
}

// mayBe tells whether the port of e may be known as port out: what is remembered may be
// from before a restart, with other rules.
func (s *sipCall) mayBe(e *flowtable.Expectation, out uint16, pair bool) bool {
	t, f, proto, addr := s.c.Translator, e.Tuple.Family, e.Tuple.Proto, e.Tuple.Dst
	return t.MayExpect(f, proto, addr, out, e.SavedPort) && (!pair || out != 65535 && t.MayExpect(f, proto, addr, out+1, e.SavedPort+1))
}

// knownPort returns the port under which a stream was announced before, 0 if it was
// not: a message that comes again, and a session that is changed, keep it.
func (s *sipCall) knownPort(e *flowtable.Expectation) uint16 {
	old := s.c.Expectations.OfMaster(s.self, func(o *flowtable.Expectation) bool {
		return o.Class == e.Class && o.SavedAddr == e.SavedAddr && o.SavedPort == e.SavedPort
	})
	if old.ID != 0 {
		return old.Tuple.DstPort
	}
	for t := s.ext.Text[:]; len(t) >= 4; t = t[4:] {
		if binary.LittleEndian.Uint16(t) == e.SavedPort {
			return binary.LittleEndian.Uint16(t[2:])
		}
	}
	return 0
}

// remember notes in Ext.Text that a port has become another one. Of such changes, which
// are few, the last eleven are known.
func (s *sipCall) remember(port, out uint16) {
	if port == out {
		return
	}
	copy(s.ext.Text[4:], s.ext.Text[:len(s.ext.Text)-4])
	binary.LittleEndian.PutUint16(s.ext.Text[:], port)
	binary.LittleEndian.PutUint16(s.ext.Text[2:], out)
}

// mapDescription puts the address of the other side's view into the description.
func (s *sipCall) mapDescription() Cause {
	ok := s.mapSDP(&s.d.origin) && s.mapSDP(&s.d.session)
	for i := range s.d.streams[:s.d.n] {
		ok = ok && s.mapSDP(&s.d.streams[i].addr) && s.mapSDP(&s.d.streams[i].rtcpAddr)
	}
	if !ok {
		return CauseTooMany
	}
	return CauseNone
}

func (s *sipCall) mapSDP(a *sdpAddr) bool {
	if a.n == 0 || a.addr.IsZero() || s.seen(a.addr) == a.addr ||
		a.addr != s.sender.Src && (!s.c.loose || s.c.across(s.sender.Src, a.addr, s.m.family)) {
		return true
	}
	return s.edits.add(edit{span: a.span, form: formAddr, addr: s.seen(a.addr)})
}

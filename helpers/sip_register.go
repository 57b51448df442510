package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// A registration (RFC 3261 section 10) says where calls are to go: an expectation for
// signalling, which does not end when a flow comes, and gives it this helper. It
// begins with the request and becomes active with the answer, for the time that this
// grants.

// defaultExpires is how long a registration holds if nobody says, in seconds
// (sip_timeout).
const defaultExpires = 3600

// register expects calls to the first contact that is the sender's own. Nobody registers
// for others, however loose (process_register_request, nf_conntrack_sip.c).
func (s *sipCall) register() Cause {
	m := &s.m
	s.state()[sipRegister] = m.cseq
	if s.c.Table.Flow(s.c.Index).Status()&flowtable.StatusExpected != 0 {
		return CauseNone // the registrar's own, towards a contact
	}
	for i := range m.contacts[:m.nContact] {
		x := &m.contacts[i]
		if !x.ok || s.lifetime(x) == 0 {
			continue
		}
		if x.addr != s.sender.Src {
			s.c.note(CauseOtherAddress)
			continue
		}
		if s.permitPort(x.addr, x.port) {
			return s.expectCalls(x)
		}
	}
	return CauseNone
}

// lifetime returns for how many seconds a contact is registered.
func (s *sipCall) lifetime(x *contact) int64 {
	switch {
	case x.expires >= 0:
		return x.expires
	case s.m.expires >= 0:
		return s.m.expires
	}
	return defaultExpires
}

// expectCalls makes the expectation for a contact, unless there is one.
func (s *sipCall) expectCalls(x *contact) Cause {
	if s.ext.Expect != 0 && s.c.Expectations.OfMaster(s.self, func(e *flowtable.Expectation) bool {
		return e.Class == sipSignalling && e.SavedAddr == x.addr && e.SavedPort == x.port
	}).ID != 0 {
		return CauseNone
	}
	if !s.state().spend(s.c.Now) {
		return CauseTooFast
	}
	e := flowtable.Expectation{
		Tuple:     flowtable.Tuple{Src: s.answer.Src, Dst: s.seen(x.addr), DstPort: x.port, Proto: packet.ProtoUDP, Family: s.m.family},
		SavedAddr: x.addr, SavedPort: x.port, Class: sipSignalling, Next: uint8(IDSIP),
		Flags: flowtable.ExpectPermanent | flowtable.ExpectInactive,
	}
	if s.c.loose {
		e.Tuple.Src = packet.Addr{}
	}
	cause := s.expectContact(&e)
	if !cause.Drops() {
		s.c.note(cause)
		return CauseNone
	}
	return cause
}

// expectContact finds the port for e: the flow's own if it is that which is registered.
func (s *sipCall) expectContact(e *flowtable.Expectation) Cause {
	if e.Tuple.Dst == e.SavedAddr {
		return s.expect(e)
	}
	if e.SavedAddr == s.sender.Src && e.SavedPort == s.sender.SrcPort {
		e.Tuple.DstPort = s.answer.DstPort
		return s.expect(e)
	}
	for try := range nat.MaxExpectTries {
		out, ok := s.c.Translator.ExpectedPort(e.Tuple.Family, e.Tuple.Proto, e.Tuple.Dst, e.SavedPort, try)
		if !ok {
			continue
		}
		e.Tuple.DstPort = out
		if cause := s.expect(e); cause != CauseExpectPending {
			return cause
		}
	}
	return CauseNoPort
}

// registered does what the answer to the last REGISTER says.
func (s *sipCall) registered() {
	m := &s.m
	switch {
	case m.cseq != s.state()[sipRegister] || m.status < 200 || s.ext.Expect == 0:
	case m.status < 300:
		s.end(func(e *flowtable.Expectation) bool { return e.Class == sipSignalling && s.granted(e) == 0 })
		s.c.Expectations.Change(s.self, s.activate)
	default: // what was registered before still is
		s.end(func(e *flowtable.Expectation) bool { return e.Flags&flowtable.ExpectInactive != 0 })
	}
}

// granted returns for how many seconds the answer registers the contact that e is for;
// 0 = it does not.
func (s *sipCall) granted(e *flowtable.Expectation) int64 {
	for i := range s.m.contacts[:s.m.nContact] {
		if x := &s.m.contacts[i]; x.ok && x.addr == e.Tuple.Dst && x.port == e.Tuple.DstPort {
			return s.lifetime(x)
		}
	}
	return 0
}

// maxExpires bounds what an answer may grant, in seconds: a day.
const maxExpires = 24 * 3600

// activate makes an expectation for calls wait for as long as the answer grants.
func (s *sipCall) activate(e *flowtable.Expectation) bool {
	if e.Class != sipSignalling {
		return false
	}
	seconds := min(s.granted(e), maxExpires)
	e.Flags &^= flowtable.ExpectInactive
	e.Deadline = s.c.Now + flowtable.Tick(seconds)*flowtable.TicksPerSecond
	return true
}

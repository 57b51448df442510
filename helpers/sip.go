package helpers

import (
	"github.com/dgryski/go-metro"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// sipHelper follows SIP over UDP (RFC 3261) and the session descriptions in it
// (RFC 8866). As net/netfilter/nf_conntrack_sip.c and nf_nat_sip.c, with their
// parameters sip_direct_media and sip_direct_signalling set, unless :loose.
var sipHelper = helper{
	name: "sip", proto: packet.ProtoUDP, port: sipPort,
	unit:         "SIP messages",
	flowLifetime: 3600 * flowtable.TicksPerSecond, // sip_timeout
	packet:       sipPacket,
	classes: []class{ // sip_exp_policy; the kernel has a maximum of 1, 4, 4 and 2
		sipSignalling: {name: "signalling", max: 8, lifetime: sipMediaWait},
		sipAudio:      {name: "audio", max: 64, lifetime: sipMediaWait},
		sipVideo:      {name: "video", max: 64, lifetime: sipMediaWait},
		sipImage:      {name: "image", max: 32, lifetime: sipMediaWait},
	},
	causes: []Cause{
		CauseExpected, CauseTranslated, CauseEnded, CauseOtherAddress, CauseGatewayAddress, CausePrivilegedPort,
		CauseExpectPending, CauseMalformed, CauseNotSIP, CauseBody, CauseTooMany, CauseFragment, CauseTooFast, CauseNoPort,
		CauseExpectFull, CauseHostFull, CauseNoRoom,
	},
	loose: "media and calls may come from other hosts than those who signal, and media be announced for others of the same side",
}

// Classes of expectations (enum sip_expectation_classes).
const (
	sipSignalling = iota
	sipAudio
	sipVideo
	sipImage
)

// sipState is what the helper remembers of a flow: a view of Ext.Data. Ports that had
// to change are in Ext.Text.
//
//	word 0   rate limit (allowance)
//	word 1   CSeq of the last REGISTER
type sipState [7]uint32

const (
	sipRate     = 0
	sipRegister = 1
)

// spend takes one announcement from the flow's allowance; false = there is none.
func (s *sipState) spend(now flowtable.Tick) bool { return (*allowance)(&s[sipRate]).spend(now) }

// sipCall is one message being handled.
type sipCall struct {
	c   *Context
	ext *flowtable.Ext
	m   sipMessage
	d   sdp
	// described: the message has a description, which is in d.
	described bool
	edits     edits
	sender    flowtable.Tuple // of the packet's direction
	answer    flowtable.Tuple // of the other one
	self      flowtable.FlowID
	group     uint32 // of the call's expectations
	made      [2*maxMedia + 1]uint32
	nMade     int
}

// sipPacket reads one datagram of a signalling flow.
func sipPacket(c *Context) Verdict {
	h := c.Headers
	ext := c.Table.Ext(c.Index)
	switch {
	case h.Proto != packet.ProtoUDP || h.Payload == h.End || ext == nil:
		return VerdictAccept
	case h.Fragment != packet.NotFragment:
		c.note(CauseFragment)
		return VerdictAccept
	case c.MTU != 0 && h.End-h.L3 > c.MTU:
		return VerdictAccept // its sender will hear of it
	case isKeepAlive(c.Frame[h.Payload:h.End]):
		return VerdictAccept
	}
	s := sipCall{c: c, ext: ext, self: flowtable.FlowID{Index: c.Index, Gen: c.Table.Gen(c.Index), Worker: c.Worker}}
	return s.handle()
}

// state returns what is remembered of the flow.
func (s *sipCall) state() *sipState { return (*sipState)(&s.ext.Data) }

// isKeepAlive tells whether b is what keeps mappings open: empty lines (RFC 5626
// section 3.5.1), or zero bytes.
func isKeepAlive(b []byte) bool {
	for _, ch := range b {
		if ch != '\r' && ch != '\n' && ch != 0 {
			return false
		}
	}
	return true
}

// handle reads the message, announces what it arranges and rewrites it. What is not
// well-formed is left alone, as a whole.
func (s *sipCall) handle() Verdict {
	c, m := s.c, &s.m
	cause := m.parse(c.Frame[c.Headers.Payload:c.Headers.End], c.Headers.Family)
	if cause == CauseNone && s.describes() {
		s.described = true
		cause = parseSDP(&s.d, m.text, m.body, m.family)
	}
	if cause != CauseNone {
		c.note(cause)
		return VerdictAccept
	}
	c.Table.Tuple(c.Index, c.Dir, &s.sender)
	c.Table.Tuple(c.Index, c.Dir.Opposite(), &s.answer)
	s.edits.family = m.family
	s.group = callGroup(m.callID.of(m.text))
	cause = s.answerTo()
	if cause != CauseNone { // nothing was changed: nobody will hear of what was announced
		for _, id := range s.made[:s.nMade] {
			c.withdraw(id)
		}
		c.note(cause)
		if cause.Drops() {
			return VerdictDrop
		}
		return VerdictAccept
	}
	if s.edits.n == 0 {
		return VerdictAccept
	}
	c.note(CauseTranslated)
	return VerdictChanged
}

// answerTo makes and ends expectations and rewrites the message. What a response names
// is what had been announced before it came.
func (s *sipCall) answerTo() Cause {
	if !s.m.request && !s.mapHeaders() {
		return CauseTooMany
	}
	if cause := s.act(); cause != CauseNone {
		return cause
	}
	if s.m.request && !s.mapHeaders() {
		return CauseTooMany
	}
	return s.rewrite()
}

// callGroup returns the group of a call's expectations.
func callGroup(callID []byte) uint32 { return uint32(metro.Hash64(callID, 0)) }

// describes tells whether the message has a session description that arranges media
// (RFC 3261 section 13.2.1, RFC 3262, RFC 3311), and counts one that is not read.
func (s *sipCall) describes() bool {
	m := &s.m
	switch m.method {
	case methodInvite, methodUpdate, methodPrack:
		if !m.request && (m.status <= 100 || m.status >= 300) {
			return false
		}
	case methodAck:
	default:
		return false
	}
	if m.body == len(m.text) {
		return false
	}
	if m.otherSDP {
		s.c.note(CauseBody)
		return false
	}
	return m.plainSDP
}

// act makes and ends expectations.
func (s *sipCall) act() Cause {
	m := &s.m
	switch {
	case m.method == methodRegister && m.request:
		return s.register()
	case m.method == methodRegister:
		s.registered()
	case m.request && (m.method == methodBye || m.method == methodCancel),
		!m.request && m.method == methodInvite && m.status >= 300:
		s.endCall(nil)
	case s.described:
		return s.announce()
	case !m.request && m.method == methodInvite && m.status > 100:
		s.renew()
	}
	return CauseNone
}

// endCall ends those media expectations of the call for which match is true, nil = all.
func (s *sipCall) endCall(match func(*flowtable.Expectation) bool) {
	s.end(func(e *flowtable.Expectation) bool {
		return e.Class != sipSignalling && e.Group == s.group && (match == nil || match(e))
	})
}

// end ends the flow's expectations for which match is true.
func (s *sipCall) end(match func(*flowtable.Expectation) bool) {
	if s.ext.Expect == 0 {
		return
	}
	n := 0
	s.c.Expectations.RemoveMaster(s.self, match, func(e *flowtable.Expectation) {
		s.c.end(e)
		n++
	})
	if n > 0 {
		s.c.note(CauseEnded)
	}
}

// renew lets the call's expectations wait on: it rings.
func (s *sipCall) renew() {
	if s.ext.Expect == 0 {
		return
	}
	s.c.Expectations.Change(s.self, func(e *flowtable.Expectation) bool {
		if e.Class == sipSignalling || e.Group != s.group {
			return false
		}
		e.Deadline = s.c.Now + sipMediaWait
		return true
	})
}

// sipMediaWait is how long media are waited for.
const sipMediaWait flowtable.Tick = 180 * flowtable.TicksPerSecond

// expect makes an expectation and remembers it, in case the message is not forwarded.
func (s *sipCall) expect(e *flowtable.Expectation) Cause {
	cause := refusal(s.c.expect(e))
	if cause == CauseExpected && s.nMade < len(s.made) {
		s.made[s.nMade] = e.ID
		s.nMade++
	}
	return cause
}

package helpers

import (
	"bytes"

	"github.com/xdpct/xdpct/packet"
)

// method is a request's method, as far as it matters.
type method uint8

const (
	methodOther method = iota
	methodInvite
	methodAck
	methodBye
	methodCancel
	methodRegister
	methodUpdate
	methodPrack
)

// methodNames are the methods by their names (RFC 3261, RFC 3262, RFC 3311). Immutable.
var methodNames = [...]struct {
	name string
	m    method
}{
	{"INVITE", methodInvite}, {"ACK", methodAck}, {"BYE", methodBye}, {"CANCEL", methodCancel},
	{"REGISTER", methodRegister}, {"UPDATE", methodUpdate}, {"PRACK", methodPrack},
}

func methodOf(b []byte) method {
	for _, m := range methodNames {
		if string(b) == m.name {
			return m.m
		}
	}
	return methodOther
}

// Bounds of what is read of one message.
const (
	maxHeaders  = 128
	maxContacts = 8
	maxRoutes   = 16
)

// contact is one value of Contact.
type contact struct {
	hostPort
	expires int64 // seconds; -1 = it does not say
}

// sipMessage is a message as read. Places are in the payload.
type sipMessage struct {
	family  packet.Family
	text    []byte
	request bool
	status  uint16 // of a response
	method  method // of the request, or of that which is answered
	cseq    uint32
	callID  span

	uri      hostPort // of a request
	via      hostPort // of the topmost Via
	received span     // its parameters
	rport    span

	ends     [2]hostPort // From, To
	contacts [maxContacts]contact
	nContact int
	routes   [maxRoutes]hostPort // Route, Record-Route
	nRoute   int

	expires  int64 // seconds; -1 = it does not say
	lengthAt span  // the number in Content-Length; n 0 = there is none
	body     int   // where the body begins
	plainSDP bool  // the body is a session description
	otherSDP bool  // it may have one within, or be one that is coded
	seen     uint8 // headers that must be there, and only once
}

// Bits of sipMessage.seen.
const (
	seenVia = 1 << iota
	seenFrom
	seenTo
	seenCallID
	seenCSeq
	seenLength
	seenType
	seenExpires

	seenNeeded = seenVia | seenFrom | seenTo | seenCallID | seenCSeq
)

// parse reads a message. It returns CauseNone if it is well-formed, CauseNotSIP if its
// first line is none of SIP.
func (m *sipMessage) parse(b []byte, family packet.Family) Cause {
	m.text, m.family, m.expires = b, family, -1
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 || !m.startLine(end) {
		return CauseNotSIP
	}
	at := end + 2
	for n := 0; ; n++ {
		end := m.headerEnd(at)
		switch {
		case end < 0 || n == maxHeaders:
			return CauseMalformed
		case end == at:
			m.body = at + 2
			return m.check()
		}
		if cause := m.header(at, end); cause != CauseNone {
			return cause
		}
		at = end + 2
	}
}

// headerEnd returns where the header that starts at offset at ends, before its CRLF; -1
// if it does not. A line that begins with a blank goes on with the one before.
func (m *sipMessage) headerEnd(at int) int {
	for from := at; ; {
		i := bytes.Index(m.text[from:], []byte("\r\n"))
		if i < 0 {
			return -1
		}
		end := from + i
		if end == at || end+2 >= len(m.text) || m.text[end+2] != ' ' && m.text[end+2] != '\t' {
			return end
		}
		from = end + 2
	}
}

const sipVersion = "SIP/2.0"

// startLine reads "INVITE sip:x SIP/2.0" or "SIP/2.0 200 OK".
func (m *sipMessage) startLine(end int) bool {
	line := m.text[:end]
	if hasFold(line, sipVersion+" ") {
		rest := line[len(sipVersion)+1:]
		if len(rest) < 4 || rest[3] != ' ' {
			return false
		}
		code, ok := parseNumber(rest[:3], 699)
		m.status = uint16(code)
		return ok && code >= 100
	}
	m.request = true
	i := bytes.IndexByte(line, ' ')
	if i < 0 || !isToken(line[:i]) {
		return false
	}
	j := bytes.IndexByte(line[i+1:], ' ')
	if j < 1 || !isFold(line[i+1+j+1:], sipVersion) {
		return false
	}
	m.method = methodOf(line[:i])
	m.uri = parseURI(m.text, i+1, i+1+j, m.family)
	return true
}

// header reads one header, b[at:end].
func (m *sipMessage) header(at, end int) Cause {
	i := bytes.IndexByte(m.text[at:end], ':')
	if i < 0 {
		return CauseMalformed
	}
	_, nameEnd := trim(m.text, at, at+i)
	name := m.text[at:nameEnd]
	if !isToken(name) {
		return CauseMalformed
	}
	at, end = trim(m.text, at+i+1, end)
	ok := true
	switch k := headerKind(name); k {
	case headerOther:
	case headerVia:
		ok = m.readVia(at, end)
	case headerFrom, headerTo:
		ok = m.readEnd(k, at, end)
	case headerContact, headerRoute:
		return m.readList(k, at, end)
	default:
		ok = m.readWord(k, at, end)
	}
	if !ok {
		return CauseMalformed
	}
	return CauseNone
}

// headerKind names a header that matters.
type header uint8

const (
	headerOther header = iota
	headerVia
	headerFrom
	headerTo
	headerContact
	headerRoute
	headerCallID
	headerCSeq
	headerLength
	headerType
	headerEncoding
	headerExpires
)

// headerNames are the headers that matter, also in their compact form (RFC 3261
// section 20). Immutable.
var headerNames = [...]struct {
	long, short string
	kind        header
}{
	{"VIA", "V", headerVia}, {"FROM", "F", headerFrom}, {"TO", "T", headerTo}, {"CONTACT", "M", headerContact},
	{"ROUTE", "", headerRoute}, {"RECORD-ROUTE", "", headerRoute}, {"CALL-ID", "I", headerCallID}, {"CSEQ", "", headerCSeq},
	{"CONTENT-LENGTH", "L", headerLength}, {"CONTENT-TYPE", "C", headerType}, {"CONTENT-ENCODING", "E", headerEncoding},
	{"EXPIRES", "", headerExpires},
}

func headerKind(name []byte) header {
	for i := range headerNames {
		if h := &headerNames[i]; isFold(name, h.long) || len(name) == 1 && isFold(name, h.short) {
			return h.kind
		}
	}
	return headerOther
}

// once notes that a header is there; false if it was before.
func (m *sipMessage) once(bit uint8) bool {
	was := m.seen
	m.seen |= bit
	return was&bit == 0
}

// readVia reads the topmost value of Via; those below are of others.
func (m *sipMessage) readVia(at, end int) bool {
	if !m.once(seenVia) {
		return true
	}
	end = until(m.text, at, end, ",")
	params := until(m.text, at, end, ";")
	const prefix = sipVersion + "/"
	if !hasFold(m.text[at:params], prefix) {
		return false
	}
	blank := at + len(prefix)
	for blank < params && !isBlank(m.text[blank]) {
		blank++
	}
	if !isFold(m.text[at+len(prefix):blank], "UDP") {
		return true // sent on by other means
	}
	host, _ := trim(m.text, blank, params)
	m.via = parseHostPort(m.text, host, params, m.family, sipPort)
	m.received = param(m.text, params, end, "RECEIVED")
	m.rport = param(m.text, params, end, "RPORT")
	return host < params
}

// readEnd reads From or To.
func (m *sipMessage) readEnd(k header, at, end int) bool {
	bit := uint8(seenFrom)
	if k == headerTo {
		bit = seenTo
	}
	h, _, ok := parseNameAddr(m.text, at, end, m.family)
	m.ends[k-headerFrom] = h
	return m.once(bit) && ok
}

// readList reads the values of Contact, Route or Record-Route.
func (m *sipMessage) readList(k header, at, end int) Cause {
	for at < end {
		stop := until(m.text, at, end, ",")
		if from, to := trim(m.text, at, stop); k == headerContact && to-from == 1 && m.text[from] == '*' {
			return CauseNone
		}
		h, rest, ok := parseNameAddr(m.text, at, stop, m.family)
		switch {
		case !ok:
			return CauseMalformed
		case k == headerRoute && m.nRoute < maxRoutes:
			m.routes[m.nRoute] = h
			m.nRoute++
		case k == headerContact && m.nContact < maxContacts:
			c := &m.contacts[m.nContact]
			c.hostPort, c.expires = h, -1
			if v := param(m.text, rest, stop, "EXPIRES"); v.n != 0 {
				seconds, ok := parseNumber(v.of(m.text), 1<<32-1)
				if !ok {
					return CauseMalformed
				}
				c.expires = int64(seconds)
			}
			m.nContact++
		default:
			return CauseTooMany
		}
		at = stop + 1
	}
	return CauseNone
}

// readWord reads a header that has one value.
func (m *sipMessage) readWord(k header, at, end int) bool {
	value := m.text[at:end]
	switch k {
	case headerCallID:
		m.callID = span{uint16(at), uint16(end - at)}
		return m.once(seenCallID) && len(value) > 0
	case headerCSeq:
		return m.once(seenCSeq) && m.readCSeq(value)
	case headerLength:
		m.lengthAt = span{uint16(at), uint16(end - at)}
		return m.once(seenLength) && len(value) > 0
	case headerExpires:
		seconds, ok := parseNumber(value, 1<<32-1)
		m.expires = int64(seconds)
		return m.once(seenExpires) && ok
	case headerEncoding:
		m.otherSDP = true
	case headerType:
		if i := bytes.IndexByte(value, ';'); i >= 0 {
			_, i = trim(value, 0, i)
			value = value[:i]
		}
		m.plainSDP = isFold(value, "APPLICATION/SDP")
		m.otherSDP = m.otherSDP || hasFold(value, "MULTIPART/")
		return m.once(seenType)
	default:
	}
	return true
}

// readCSeq reads "314159 INVITE".
func (m *sipMessage) readCSeq(value []byte) bool {
	i := bytes.IndexByte(value, ' ')
	if i < 0 {
		return false
	}
	number, ok := parseNumber(value[:i], 1<<32-1)
	name := bytes.TrimLeft(value[i:], " \t")
	if !ok || !isToken(name) || m.request && methodOf(name) != m.method {
		return false
	}
	m.cseq, m.method = uint32(number), methodOf(name)
	return true
}

// check looks at what only all headers together tell.
func (m *sipMessage) check() Cause {
	if m.seen&seenNeeded != seenNeeded {
		return CauseMalformed
	}
	if m.lengthAt.n != 0 {
		length, ok := parseNumber(m.lengthAt.of(m.text), 65535)
		if !ok || int(length) != len(m.text)-m.body {
			return CauseMalformed
		}
	}
	return CauseNone
}

package flowtable

import "encoding/binary"

// sctpModel is a slow association, written as sentences from RFC 9260 and the comments
// of the kernel's table: no bits, no sets, nothing of the tracker's.
type sctpModel struct {
	state   string
	known   [2]uint32 // the tag that packets of each direction carry; 0 = nobody has told
	began   [2]bool   // has sent an INIT
	failed  [2]bool   // a heartbeat had a wrong tag
	assured bool
}

// modelChunk is a chunk of a packet.
type modelChunk struct {
	kind, flags uint8
	announces   []byte // the tag in INIT and INIT ACK, if it is all there
}

// modelChunks reads the chunks of a packet; false if it is not one.
func modelChunks(b []byte) (list []modelChunk, ok bool) {
	for len(b) >= 4 {
		length := int(b[2])*256 + int(b[3])
		if length < 4 {
			return nil, false
		}
		c := modelChunk{kind: b[0], flags: b[1]}
		if length >= 8 && len(b) >= 8 {
			c.announces = b[4:8]
		}
		list = append(list, c)
		for length%4 != 0 {
			length++
		}
		b = b[min(length, len(b)):]
	}
	for i, c := range list {
		switch c.kind {
		case 1, 2, 14: // INIT, INIT ACK, SHUTDOWN COMPLETE come alone
			if len(list) > 1 {
				return nil, false
			}
		case 10, 11: // COOKIE ECHO, COOKIE ACK come first
			if i > 0 {
				return nil, false
			}
		}
	}
	return list, len(list) > 0
}

// move is the next state; "" = that cannot be.
func (m *sctpModel) move(d int, kind uint8) string {
	s := m.state
	fresh := s == "NONE" || s == "HEARTBEAT_SENT"
	switch kind {
	case 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 14:
	default:
		return s // DATA and what is not followed
	}
	if d == 1 && fresh && kind != 4 && kind != 5 {
		return ""
	}
	switch {
	case kind == 4 && s == "NONE" && d == 0:
		return "HEARTBEAT_SENT"
	case kind == 4 && fresh && d == 0:
		return s
	case kind == 5 && s == "HEARTBEAT_SENT" && d == 1:
		return "ESTABLISHED"
	case (kind == 4 || kind == 5) && s == "HEARTBEAT_SENT":
		return s
	case kind == 8 && fresh, kind == 8 && (s == "SHUTDOWN_SENT" || s == "SHUTDOWN_RECD"):
		return "SHUTDOWN_ACK_SENT"
	case kind == 1 && s == "HEARTBEAT_SENT":
		return "COOKIE_WAIT"
	case fresh, kind == 6:
		return "CLOSED"
	case kind == 1 && d == 0 && (s == "SHUTDOWN_SENT" || s == "SHUTDOWN_RECD"):
		return "CLOSED" // begins anew
	case kind == 2 && d == 1 && s == "CLOSED":
		return "COOKIE_WAIT"
	case kind == 10 && s == "COOKIE_WAIT":
		return "COOKIE_ECHOED"
	case kind == 11 && s == "COOKIE_ECHOED":
		return "ESTABLISHED"
	case kind == 9 && d == 1 && s == "COOKIE_ECHOED":
		return "CLOSED" // the cookie was too old
	case kind == 7 && s == "ESTABLISHED":
		return [2]string{"SHUTDOWN_SENT", "SHUTDOWN_RECD"}[d]
	case kind == 14 && s == "SHUTDOWN_ACK_SENT":
		return "CLOSED"
	}
	return s
}

// start takes the first packet of a flow; false if there may be none.
func (m *sctpModel) start(tag uint32, b []byte) bool {
	list, ok := modelChunks(b)
	if !ok {
		return false
	}
	special, cookie, next := false, false, ""
	for _, c := range list {
		switch c.kind {
		case 6, 11, 14:
			return false // out of the blue
		case 10:
			cookie = true
		case 1, 4, 5, 8:
			special = true
		}
	}
	if tag != 0 && (cookie || !special) {
		return false
	}
	for _, c := range list {
		m.state = "NONE"
		next = m.move(0, c.kind)
		if next == "" || next == "NONE" || c.kind == 1 && (tag != 0 || c.announces == nil) {
			return false
		}
		switch {
		case c.kind == 1:
			m.began[0] = true
			m.known[1] = binary.BigEndian.Uint32(c.announces)
		case c.kind == 2 && c.announces != nil:
			m.known[1] = binary.BigEndian.Uint32(c.announces)
		case c.kind == 4, c.kind == 5:
			m.known[0] = tag
		case c.kind == 8:
			m.known[1] = tag
		}
	}
	m.state = next
	return true
}

// next takes a later packet; renews is false for one that must not prolong the flow.
func (m *sctpModel) next(d int, tag uint32, b []byte) (ok, renews bool) {
	list, ok := modelChunks(b)
	if !ok {
		return false, false
	}
	was, renews := *m, true
	for _, c := range list {
		if !m.take(d, tag, &c, list, &renews) {
			*m = was
			return false, false
		}
	}
	m.assured = m.assured || m.state == "ESTABLISHED" && was.state != "ESTABLISHED"
	return true, renews
}

// take takes one chunk.
func (m *sctpModel) take(d int, tag uint32, c *modelChunk, all []modelChunk, renews *bool) bool {
	right := tag == m.known[d]
	switch c.kind {
	case 1:
		right = tag == 0
	case 6, 14:
		if c.flags%2 == 1 { // the T bit: the sender knows its own tag only
			right = tag == m.known[1-d]
		}
	case 8:
		right = true
	case 4, 5:
		if !right && m.known[d] != 0 {
			return m.restarts(d, tag, c, all, renews)
		}
		if right && m.known[d] != 0 {
			m.failed = [2]bool{}
		}
		m.known[d], right = tag, true
	}
	state := m.move(d, c.kind)
	if !right || state == "" {
		return false
	}
	switch c.kind {
	case 11:
		m.began = [2]bool{}
	case 1, 2:
		if c.announces == nil {
			return false
		}
		announced := binary.BigEndian.Uint32(c.announces)
		if c.kind == 1 {
			if m.began[d] {
				m.began[1-d] = false
			}
			m.began[d] = true
			*renews = *renews && (state != "CLOSED" || m.state != "CLOSED")
		} else if m.known[1-d] != announced && (m.began[0] && m.began[1] || !m.began[1-d] && m.known[1-d] != 0) {
			return false // answers an INIT that nobody has sent
		}
		m.known[1-d] = announced
	}
	m.state = state
	return true
}

// restarts takes a heartbeat with a tag that is not the known one: once both directions
// have shown new ones, HEARTBEAT here and HEARTBEAT ACK there, they are believed.
func (m *sctpModel) restarts(d int, tag uint32, c *modelChunk, all []modelChunk, renews *bool) bool {
	for _, other := range all {
		if other.kind == 0 {
			return false
		}
	}
	if !*renews {
		return false
	}
	if c.kind == 4 {
		m.failed = [2]bool{}
		m.failed[d], *renews = true, false
		return true
	}
	if !m.failed[1-d] {
		return false
	}
	state := m.move(d, 5)
	if state == "" {
		return false
	}
	m.failed, m.known[d], m.known[1-d], m.state = [2]bool{}, tag, 0, state
	return true
}

package helpers

import (
	"bytes"
	"net/netip"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// commandKind is the form of an announcement, which is also the form in which
// it is rewritten.
type commandKind uint8

const (
	kindPORT commandKind = iota // PORT h1,h2,h3,h4,p1,p2 (RFC 959)
	kindEPRT                    // EPRT |1|addr|port| (RFC 2428)
	kindPASV                    // 227 ... h1,h2,h3,h4,p1,p2 (RFC 959, RFC 1123)
	kindEPSV                    // 229 ... (|||port|) (RFC 2428)
)

// command is an announcement as read from a line.
type command struct {
	kind commandKind
	off  int         // of the numbers, bytes from the start of the line
	n    int         // length of the numbers with their delimiters, bytes
	addr packet.Addr // announced; not valid for kindEPSV
	port uint16      // announced, host order, never 0
}

// parseCommand reads an announcement at the start of line b, which may reach
// to the end of the segment. Original flows announce by PORT and EPRT, reply
// flows by 227 and 229. It returns CauseNone if b is an announcement or
// something else entirely (ok tells which), CausePartial if it may become one,
// else why it is not used.
func parseCommand(d flowtable.Dir, f packet.Family, b []byte) (c command, ok bool, cause Cause) {
	first, second := "PORT", "EPRT"
	if d == flowtable.DirReply {
		first, second = "227 ", "229 "
	}
	if hasFoldPrefix(b, first) {
		c.kind = kindPORT
	} else if hasFoldPrefix(b, second) {
		c.kind = kindEPRT
	} else {
		return c, false, CauseNone
	}
	if d == flowtable.DirReply {
		c.kind += kindPASV
	}
	if len(b) <= 4 {
		return c, false, CausePartial
	}
	switch c.kind {
	case kindPORT, kindEPRT:
		if b[4] != ' ' {
			return c, false, CauseNone
		}
		c.off = 5
	case kindPASV:
		c.off = findSix(b)
	case kindEPSV:
		c.off = findExtended(b)
	}
	cause = c.parseNumbers(f, b[c.off:])
	whole := b[len(b)-1] == '\n'
	if cause == CausePartial && whole {
		cause = CauseMalformed
	} else if cause == CauseMalformed && !whole && d == flowtable.DirReply {
		cause = CausePartial // the numbers may come further on
	}
	return c, cause == CauseNone, cause
}

// hasFoldPrefix tells whether b starts with pattern, upper case, in any case;
// also if b ends before pattern does.
func hasFoldPrefix(b []byte, pattern string) bool {
	if len(b) == 0 {
		return false
	}
	for i := range min(len(b), len(pattern)) {
		ch := b[i]
		if ch >= 'a' && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		if ch != pattern[i] {
			return false
		}
	}
	return true
}

// isFold tells whether b is pattern, upper case, in any case.
func isFold(b []byte, pattern string) bool {
	return len(b) == len(pattern) && hasFoldPrefix(b, pattern)
}

// findSix returns where the numbers of a 227 reply start: after the parenthesis
// if there is one, else at the first digit, as RFC 1123 section 4.1.2.6 demands.
func findSix(b []byte) int {
	if i := bytes.IndexByte(b, '('); i >= 0 {
		return i + 1
	}
	for i := 4; i < len(b); i++ {
		if isDigit(b[i]) {
			return i
		}
	}
	return len(b)
}

// findExtended returns where the text of a 229 reply starts: after the
// parenthesis if there is one, else at the first three equal delimiters.
func findExtended(b []byte) int {
	if i := bytes.IndexByte(b, '('); i >= 0 {
		return i + 1
	}
	for i := 4; i+2 < len(b); i++ {
		if b[i] == '|' && b[i+1] == '|' && b[i+2] == '|' {
			return i
		}
	}
	return len(b)
}

// parseNumbers reads address and port at the start of b.
func (c *command) parseNumbers(f packet.Family, b []byte) Cause {
	switch c.kind {
	case kindPORT, kindPASV:
		return c.parseSix(b)
	case kindEPRT:
		return c.parseExtended(f, b)
	default:
		return c.parseEPSV(b)
	}
}

// parseSix reads h1,h2,h3,h4,p1,p2. A PORT command ends there with CR, a 227
// reply with anything but a number or a comma.
func (c *command) parseSix(b []byte) Cause {
	var v [6]uint8
	i := 0
	for k := range v {
		num, n, cause := parseOctet(b[i:])
		if cause != CauseNone {
			return cause
		}
		v[k] = num
		i += n
		if i >= len(b) {
			return CausePartial
		}
		if k < 5 {
			if b[i] != ',' {
				return CauseMalformed
			}
			i++
		}
	}
	if c.kind == kindPORT && b[i] != '\r' || b[i] == ',' {
		return CauseMalformed
	}
	c.n = i
	c.addr = packet.AddrFrom4(v[:4])
	c.port = uint16(v[4])<<8 | uint16(v[5])
	if c.port == 0 {
		return CausePortZero
	}
	return CauseNone
}

// parseOctet reads a decimal number from 0 to 255 and returns its length; the
// digits must not reach to the end of b.
func parseOctet(b []byte) (v uint8, n int, cause Cause) {
	num := 0
	for n < len(b) && isDigit(b[n]) {
		if num = num*10 + int(b[n]-'0'); num > 255 || n > 2 {
			return 0, 0, CauseMalformed
		}
		n++
	}
	switch {
	case n == len(b):
		return 0, 0, CausePartial
	case n == 0:
		return 0, 0, CauseMalformed
	}
	return uint8(num), n, CauseNone
}

// parseExtended reads |1|addr|port| or |2|addr|port| with any printable
// delimiter (RFC 2428 section 2). The number must match family f.
func (c *command) parseExtended(f packet.Family, b []byte) Cause {
	if len(b) <= 3 {
		return CausePartial
	}
	delim := b[0]
	if !isDelimiter(delim) || b[2] != delim ||
		f == packet.IPv4 && b[1] != '1' || f == packet.IPv6 && b[1] != '2' {
		return CauseMalformed
	}
	addr, n, cause := parseAddrText(b[3:], delim, f)
	if cause != CauseNone {
		return cause
	}
	c.addr = addr
	start := 3 + n + 1
	c.port, n, cause = parsePortText(b[start:], delim)
	c.n = start + n
	return cause
}

// parseEPSV reads |||port| with any printable delimiter (RFC 2428 section 3).
func (c *command) parseEPSV(b []byte) Cause {
	if len(b) <= 3 {
		return CausePartial
	}
	delim := b[0]
	if !isDelimiter(delim) || b[1] != delim || b[2] != delim {
		return CauseMalformed
	}
	port, n, cause := parsePortText(b[3:], delim)
	c.port, c.n = port, 3+n
	return cause
}

// maxAddrText is the longest text form of an address (RFC 4291 section 2.2,
// with an embedded IPv4 address), in bytes.
const maxAddrText = 45

// parseAddrText reads an address of family f that ends with delim and returns
// its length without the delimiter.
func parseAddrText(b []byte, delim byte, f packet.Family) (packet.Addr, int, Cause) {
	n := 0
	for n < len(b) && b[n] != delim {
		if n++; n > maxAddrText {
			return packet.Addr{}, 0, CauseMalformed
		}
	}
	if n == len(b) {
		for _, ch := range b {
			if ch == '\n' {
				return packet.Addr{}, 0, CauseMalformed
			}
		}
		return packet.Addr{}, 0, CausePartial
	}
	a, err := netip.ParseAddr(string(b[:n]))
	if err != nil || a.Zone() != "" || a.Is4() != (f == packet.IPv4) || a.Is4In6() {
		return packet.Addr{}, 0, CauseMalformed
	}
	return packet.AddrOf(a), n, CauseNone
}

// parsePortText reads a port that ends with delim and returns its length with
// the delimiter.
func parsePortText(b []byte, delim byte) (port uint16, n int, cause Cause) {
	num := 0
	for n < len(b) && isDigit(b[n]) {
		if num = num*10 + int(b[n]-'0'); num > 65535 || n > 4 {
			return 0, 0, CauseMalformed
		}
		n++
	}
	switch {
	case n == len(b):
		return 0, 0, CausePartial
	case n == 0 || b[n] != delim:
		return 0, 0, CauseMalformed
	case num == 0:
		return 0, 0, CausePortZero
	}
	return uint16(num), n + 1, CauseNone
}

func isDigit(ch byte) bool { return ch >= '0' && ch <= '9' }

// isDelimiter tells whether ch may delimit the fields of EPRT and 229: a
// printable character (RFC 2428: 33 to 126) that is no digit.
func isDelimiter(ch byte) bool { return ch >= 33 && ch <= 126 && !isDigit(ch) }

// appendText appends the announcement of addr and port in the form of c.
func (c *command) appendText(b []byte, f packet.Family, addr packet.Addr, port uint16) []byte {
	switch c.kind {
	case kindPORT, kindPASV:
		for shift := 24; shift >= 0; shift -= 8 {
			b = append(appendDecimal(b, uint16(addr.Lo>>shift&0xff)), ',')
		}
		b = append(appendDecimal(b, port>>8), ',')
		return appendDecimal(b, port&0xff)
	case kindEPRT:
		b = append(b, '|', '1', '|')
		if f == packet.IPv6 {
			b[len(b)-2] = '2'
		}
		b = append(addr.Netip(f).AppendTo(b), '|')
	case kindEPSV:
		b = append(b, '|', '|', '|')
	}
	return append(appendDecimal(b, port), '|')
}

func appendDecimal(b []byte, v uint16) []byte {
	if v >= 10 {
		b = appendDecimal(b, v/10)
	}
	return append(b, '0'+byte(v%10))
}

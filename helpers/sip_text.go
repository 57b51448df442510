package helpers

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/xdpct/xdpct/packet"
)

// Words of SIP and SDP (RFC 3261 section 25.1, RFC 8866 section 9).

// hasFold tells whether b starts with pattern, upper case, in any case.
func hasFold(b []byte, pattern string) bool {
	return len(b) >= len(pattern) && hasFoldPrefix(b, pattern)
}

// parseNumber reads b, all of it, as a decimal number of at most limit.
func parseNumber(b []byte, limit uint64) (v uint64, ok bool) {
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	for _, ch := range b {
		if !isDigit(ch) {
			return 0, false
		}
		v = v*10 + uint64(ch-'0')
	}
	return v, v <= limit
}

// parseAddr reads b, all of it, as an address of a family.
func parseAddr(b []byte, f packet.Family) (a packet.Addr, ok bool) {
	if f == packet.IPv4 {
		return parseIPv4(b)
	}
	if len(b) > maxAddrText || bytes.IndexByte(b, ':') < 0 {
		return a, false
	}
	ip, err := netip.ParseAddr(string(b))
	if err != nil || ip.Zone() != "" || ip.Is4In6() || !ip.Is6() {
		return a, false
	}
	return packet.AddrOf(ip), true
}

// parseIPv4 reads four numbers with dots between them.
func parseIPv4(b []byte) (a packet.Addr, ok bool) {
	var v [4]byte
	for i := range v {
		n := bytes.IndexByte(b, '.')
		if i == 3 {
			n = len(b)
		}
		if n < 1 || n > 3 || n > 1 && b[0] == '0' {
			return a, false
		}
		num, ok := parseNumber(b[:n], 255)
		if !ok {
			return a, false
		}
		v[i] = byte(num)
		b = b[min(n+1, len(b)):]
	}
	return packet.AddrFrom4(v[:]), true
}

// isToken tells whether b is a token: a name of a method, header or parameter.
func isToken(b []byte) bool {
	for _, ch := range b {
		if !isTokenChar(ch) {
			return false
		}
	}
	return len(b) > 0
}

func isTokenChar(ch byte) bool {
	return ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || isDigit(ch) || strings.IndexByte("-.!%*_+`'~", ch) >= 0
}

// isBlank tells whether ch is white space; line ends within a header's value are
// those of a folded header (RFC 3261 section 7.3.1).
func isBlank(ch byte) bool { return ch == ' ' || ch == '\t' || ch == '\r' || ch == '\n' }

// trim takes the white space off both ends of b[at:end].
func trim(b []byte, at, end int) (int, int) {
	for at < end && isBlank(b[at]) {
		at++
	}
	for end > at && isBlank(b[end-1]) {
		end--
	}
	return at, end
}

// until returns where in b[at:end] the first of stops is, outside of quoted strings
// and angle brackets; end if there is none.
func until(b []byte, at, end int, stops string) int {
	for i := at; i < end; i++ {
		switch ch := b[i]; {
		case ch == '"':
			for i++; i < end && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case strings.IndexByte(stops, ch) >= 0:
			return i
		case ch == '<':
			for i < end && b[i] != '>' {
				i++
			}
		}
	}
	return end
}

// hostPort is a host that is named by its address, and a port.
type hostPort struct {
	span // of both
	addr packet.Addr
	port uint16
	ok   bool // it is an address of the family, and well-formed
}

// parseHostPort reads "host" or "host:port" at the start of b[at:end], up to one of
// ";?> \t\r\n" or the end. A name, or an address of the other family, is not ok.
func parseHostPort(b []byte, at, end int, family packet.Family, port uint16) (h hostPort) {
	stop := at
	for stop < end && strings.IndexByte(";?>, \t\r\n", b[stop]) < 0 {
		stop++
	}
	h.span, h.port = span{uint16(at), uint16(stop - at)}, port
	if next, _ := trim(b, stop, end); next > stop && next < end && b[next] == ':' {
		return h // a blank before the colon, which may be in Via
	}
	rest := h.readHost(b[at:stop], family)
	if len(rest) > 0 {
		v, good := parseNumber(rest[1:], 65535)
		h.port = uint16(v)
		h.ok = h.ok && good && v != 0 && rest[0] == ':'
	}
	return h
}

// readHost reads the host of text, of IPv6 in brackets, and returns what follows it.
func (h *hostPort) readHost(text []byte, family packet.Family) (rest []byte) {
	end := bytes.IndexByte(text, ':')
	if family == packet.IPv6 {
		end = bytes.IndexByte(text, ']') + 1
		if end < 2 || text[0] != '[' {
			return nil
		}
		h.addr, h.ok = parseAddr(text[1:end-1], family)
		return text[end:]
	}
	if end < 0 {
		end = len(text)
	}
	h.addr, h.ok = parseIPv4(text[:end])
	return text[end:]
}

// Default ports (RFC 3261 section 19.1.2).
const (
	sipPort  = 5060
	sipsPort = 5061
)

// parseURI returns the host of the SIP URI b[at:end]; not ok if it is another URI or
// names no address.
func parseURI(b []byte, at, end int, family packet.Family) (h hostPort) {
	port := uint16(sipPort)
	switch text := b[at:end]; {
	case hasFold(text, "SIP:"):
		at += 4
	case hasFold(text, "SIPS:"):
		at, port = at+5, sipsPort
	default:
		return h
	}
	if i := bytes.IndexByte(b[at:end], '@'); i >= 0 {
		at += i + 1
	}
	return parseHostPort(b, at, end, family, port)
}

// parseNameAddr returns the host in b[at:end], one value of Contact, From, To or a
// route: a URI, or a name and a URI in angle brackets (RFC 3261 section 20.10). rest is
// where its parameters begin.
func parseNameAddr(b []byte, at, end int, family packet.Family) (h hostPort, rest int, ok bool) {
	at, end = trim(b, at, end)
	open := at
	for open < end && b[open] != '<' { // brackets in a quoted name are not meant
		if b[open] == '"' {
			open = until(b, open, end, "<;,")
			continue
		}
		if b[open] == ';' || b[open] == ':' { // the URI itself
			break
		}
		open++
	}
	if open < end && b[open] == '<' {
		i := bytes.IndexByte(b[open:end], '>')
		if i < 0 {
			return h, 0, false
		}
		return parseURI(b, open+1, open+i, family), open + i + 1, true
	}
	rest = until(b, at, end, ";")
	return parseURI(b, at, rest, family), rest, true
}

// param returns the value of a parameter, upper case, among b[at:end], which begins at
// a semicolon; n 0 = it is not there or has none.
func param(b []byte, at, end int, name string) (value span) {
	for at < end {
		stop := until(b, at+1, end, ";")
		from, to := trim(b, at+1, stop)
		if i := bytes.IndexByte(b[from:to], '='); i >= 0 {
			_, nameEnd := trim(b, from, from+i)
			if isFold(b[from:nameEnd], name) {
				from, to = trim(b, from+i+1, to)
				return span{uint16(from), uint16(to - from)}
			}
		}
		at = stop
	}
	return value
}

package packet

import "encoding/binary"

// maxExtHeaders bounds the walk over IPv6 extension headers; RFC 8200 §4.1
// lists seven, and no honest packet repeats them.
const maxExtHeaders = 8

// routingSource is the type of routing header by which the sender chooses the way;
// routers reject it (RFC 5095).
const routingSource = 0

// skipExtHeaders moves L4 and Proto over the extension headers (RFC 8200 §4). What
// follows a fragment header that says "all of it" (an atomic fragment) is a whole
// packet (RFC 6946).
func skipExtHeaders(frame []byte, h *Headers, inner bool) Result {
	fragmented := false
	for range maxExtHeaders {
		n := 0
		p := int(h.L4)
		switch h.Proto {
		case protoHopByHop, protoRouting, protoDestOpts, protoAuth, protoFragment:
			if p+8 > int(h.End) {
				return ParseTruncated
			}
			n = (int(frame[p+1]) + 1) * 8
		default:
			return ParseOK
		}
		switch h.Proto {
		case protoAuth: // RFC 4302 §2.2: 4-byte units, minus 2
			n = (int(frame[p+1]) + 2) * 4
		case protoRouting:
			if frame[p+2] == routingSource && !inner {
				return ParseSourceRoute
			}
		case protoFragment:
			if fragmented {
				return ParseExtHeaders
			}
			n, fragmented = 8, true
			if w := binary.BigEndian.Uint16(frame[p+2:]); w>>3 != 0 {
				h.Fragment = FragmentLater
			} else if w&1 != 0 {
				h.Fragment = FragmentFirst
			}
		}
		if p+n > int(h.End) {
			return ParseTruncated
		}
		h.Proto = frame[p]
		h.L4 = uint16(p + n)
		if h.Fragment == FragmentLater {
			return ParseOK
		}
	}
	return ParseExtHeaders
}

// IPv4 options (RFC 791 §3.1).
const (
	optionEnd         = 0
	optionNoOperation = 1
	optionLooseRoute  = 131
	optionStrictRoute = 137
)

// checkOptions looks through the options of an IPv4 header: their lengths have to
// be right, and none may be a source route, which the kernel does not forward either
// (net.ipv4.conf.*.accept_source_route = 0; RFC 7126 §4.3, §4.4).
func checkOptions(b []byte) Result {
	for len(b) > 0 {
		switch b[0] {
		case optionEnd:
			return ParseOK
		case optionNoOperation:
			b = b[1:]
			continue
		case optionLooseRoute, optionStrictRoute:
			return ParseSourceRoute
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return ParseMalformed
		}
		b = b[b[1]:]
	}
	return ParseOK
}

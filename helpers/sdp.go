package helpers

import (
	"bytes"

	"github.com/xdpct/xdpct/packet"
)

// Session descriptions (RFC 8866), as far as they say where media go.

// maxMedia is how many streams of one description are read.
const maxMedia = 8

// sdp is what a description says. Places are in the payload of the datagram.
type sdp struct {
	origin  sdpAddr // of o=
	session sdpAddr // of c= before the first stream
	streams [maxMedia]stream
	n       int
}

// sdpAddr is an address in a description; n 0 = there is none.
type sdpAddr struct {
	span
	addr packet.Addr
}

// stream is one medium (m=).
type stream struct {
	class    uint8 // of its expectations; 0 = not followed
	alone    bool  // no RTCP beside it
	portAt   span
	port     uint16  // 0 = not in use
	addr     sdpAddr // of its own c=
	rtcpAt   span    // of the port in a=rtcp (RFC 3605)
	rtcp     uint16  // that port; 0 = the next one after port
	rtcpAddr sdpAddr
}

// sdpReader reads a description line by line.
type sdpReader struct {
	d      *sdp
	b      []byte // the whole payload
	family packet.Family
}

// parseSDP reads the description that b, a payload, has from offset at on. It returns
// CauseNone if it is well-formed.
func parseSDP(d *sdp, b []byte, at int, family packet.Family) Cause {
	r := sdpReader{d: d, b: b, family: family}
	for first := true; at < len(b); first = false {
		end := len(b)
		next := end
		if i := bytes.IndexByte(b[at:], '\n'); i >= 0 {
			end, next = at+i, at+i+1
		}
		if end > at && b[end-1] == '\r' {
			end--
		}
		if cause := r.line(at, end, first); cause != CauseNone {
			return cause
		}
		at = next
	}
	return CauseNone
}

// line reads b[at:end], which is "x=value".
func (r *sdpReader) line(at, end int, first bool) Cause {
	if end-at < 2 || r.b[at+1] != '=' || bytes.IndexByte(r.b[at:end], '\r') >= 0 ||
		first != (r.b[at] == 'v') {
		return CauseMalformed
	}
	d := r.d
	switch r.b[at] {
	case 'o':
		if d.n > 0 {
			return CauseMalformed
		}
		return r.address(&d.origin, fieldsFrom(r.b, at+2, end, 3), end)
	case 'c':
		if d.n > 0 {
			return r.address(&d.streams[d.n-1].addr, at+2, end)
		}
		return r.address(&d.session, at+2, end)
	case 'm':
		if d.n == maxMedia {
			return CauseTooMany
		}
		d.n++
		return r.media(&d.streams[d.n-1], at+2, end)
	case 'a':
		if d.n > 0 && bytes.HasPrefix(r.b[at+2:end], []byte("rtcp:")) {
			return r.rtcp(&d.streams[d.n-1], at+7, end)
		}
	}
	return CauseNone
}

// fieldsFrom returns where the field that comes n blanks after at begins; end if there
// is none.
func fieldsFrom(b []byte, at, end, n int) int {
	for ; n > 0; n-- {
		i := bytes.IndexByte(b[at:end], ' ')
		if i < 0 {
			return end
		}
		at += i + 1
	}
	return at
}

// address reads "IN IP4 1.2.3.4" or "IN IP6 ...". A name, or a group of hosts, is left
// alone: its addr stays zero. There may be one only: several are for layered streams.
func (r *sdpReader) address(to *sdpAddr, at, end int) Cause {
	if to.n != 0 {
		return CauseMalformed
	}
	kind := "IN IP4 "
	if end-at > 6 && r.b[at+5] == '6' {
		kind = "IN IP6 "
	}
	if !bytes.HasPrefix(r.b[at:end], []byte(kind)) || end == at+len(kind) {
		return CauseMalformed
	}
	at += len(kind)
	text := r.b[at:end]
	if bytes.IndexByte(text, ' ') >= 0 {
		return CauseMalformed
	}
	to.span = span{uint16(at), uint16(end - at)}
	if addr, ok := parseAddr(text, r.family); ok && (r.family == packet.IPv6) == (kind[5] == '6') {
		to.addr = addr
	}
	return CauseNone
}

// media reads "audio 49170 RTP/AVP 0 8".
func (r *sdpReader) media(s *stream, at, end int) Cause {
	portAt := fieldsFrom(r.b, at, end, 1)
	protoAt := fieldsFrom(r.b, portAt, end, 1)
	formatAt := fieldsFrom(r.b, protoAt, end, 1)
	if formatAt >= end {
		return CauseMalformed
	}
	port := r.b[portAt : protoAt-1]
	if i := bytes.IndexByte(port, '/'); i >= 0 { // "/2": layers on more ports, not followed
		port = port[:i]
	}
	value, ok := parseNumber(port, 65535)
	if !ok {
		return CauseMalformed
	}
	s.port, s.portAt = uint16(value), span{uint16(portAt), uint16(len(port))}
	proto := r.b[protoAt : formatAt-1]
	s.alone = isFold(proto, "UDPTL") // fax (ITU-T T.38)
	if s.alone || hasFold(proto, "RTP/") || hasFold(proto, "UDP/") {
		s.class = mediaClass(r.b[at : portAt-1])
	}
	return CauseNone
}

// mediaClass returns the class of a medium's expectations, 0 if it is not followed
// (net/netfilter/nf_conntrack_sip.c, sdp_media_types).
func mediaClass(b []byte) uint8 {
	switch string(b) {
	case "audio":
		return sipAudio
	case "video":
		return sipVideo
	case "image":
		return sipImage
	}
	return 0
}

// rtcp reads "53020" or "53020 IN IP4 1.2.3.4" (RFC 3605 section 2.1).
func (r *sdpReader) rtcp(s *stream, at, end int) Cause {
	next := fieldsFrom(r.b, at, end, 1)
	stop := next
	if next < end {
		stop = next - 1
	}
	value, ok := parseNumber(r.b[at:stop], 65535)
	if !ok || value == 0 || s.rtcp != 0 {
		return CauseMalformed
	}
	s.rtcp, s.rtcpAt = uint16(value), span{uint16(at), uint16(stop - at)}
	if next == end {
		return CauseNone
	}
	return r.address(&s.rtcpAddr, next, end)
}

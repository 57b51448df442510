package dataplane

import (
	"fmt"
	"net/netip"
)

// forged is a message of SIP or TFTP by which one outside tries to have ports of the
// inside opened: in a flow to or from it, or to who is served behind a rule.
func (s *siege) forged() []byte {
	src, dst := at(one(s, "remote", serverAddr, server2Addr), one[uint16](s, "rport", 5060, 5061, 69)), netip.MustParseAddrPort("198.51.100.34:5060")
	var signalling []refKey
	for _, k := range s.keys() {
		if f := s.ref.find(k); f != nil && k.proto == 17 && (f.text || k.rport == 69) {
			signalling = append(signalling, k)
		}
	}
	if len(signalling) > 0 && s.draw("known", 4) > 0 {
		k := signalling[s.draw("flow", len(signalling))]
		src, dst = at(k.remote, k.rport), at(k.local, k.lport)
	}
	bait := at(one(s, "named", src.Addr(), dst.Addr(), clientAddr, client2Addr, wanAddr, lanAddr, client6Addr), one(s, "bait", siegePorts...))
	s.bait = at(one(s, "outside", dst.Addr(), bait.Addr()), bait.Port())
	if s.draw("tftp", 6) == 0 {
		dst = at(dst.Addr(), one[uint16](s, "dport", 69, dst.Port()))
		return build(s.t, wan, spec{src: src.Addr(), dst: dst.Addr(), sport: src.Port(), dport: dst.Port(), payload: []byte("\x00\x01boot\x00octet\x00")})
	}
	method := one(s, "method", "INVITE", "REGISTER", "UPDATE", "PRACK", "ACK", "BYE", "OPTIONS")
	first := method + " sip:b@" + bait.String() + " SIP/2.0"
	if s.draw("response", 2) == 0 {
		first = one(s, "status", "SIP/2.0 200 OK", "SIP/2.0 183 Session Progress", "SIP/2.0 100 Trying", "SIP/2.0 401 Unauthorized")
	}
	header, body := "", ""
	if s.draw("contact", 2) == 0 {
		header = fmt.Sprintf("Contact: <sip:a@%s>;expires=%d\r\n", bait, one(s, "expires", 0, 60, 600, 1<<30))
	}
	if s.draw("described", 3) > 0 {
		body = sdpAt(bait)
		if s.draw("rtcp", 3) == 0 {
			body += fmt.Sprintf("a=rtcp:%d\r\n", one(s, "bait", siegePorts...))
		}
	}
	id := one(s, "id", "r", "c0", "c1", "c2", "c3", "x")
	return sipFrame(s.t, wan, src, dst, first, method, id, header, body)
}

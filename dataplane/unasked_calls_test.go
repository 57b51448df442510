package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/helpers"
)

// Hosts inside that announce connections: by FTP, TFTP and SIP.

// helpers follows all of them, some loosely.
func (s *siege) helpers(t testing.TB) *helpers.Set {
	t.Helper()
	var specs []helpers.Spec
	for _, name := range []string{"ftp", "tftp", "sip"} {
		if name != "tftp" && s.draw("loose", 3) == 0 {
			s.ref.loose[map[string]refWay{"ftp": refFTP, "sip": refMedia}[name]] = true
			name += ":loose"
		}
		spec, err := helpers.ParseSpec(name)
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, spec)
	}
	return helpers.NewSet(specs...)
}

// siegeCall is a call that a host inside has begun or answered, as it sees it.
type siegeCall struct {
	inside, remote netip.AddrPort
	id             string
	media          netip.AddrPort // where it wants to hear
	heard          netip.AddrPort // where it is told to speak to
}

// siegePhones are ports of signalling inside, and siegeMedia of media: the last one is
// none that may be announced.
var (
	siegePhones = []uint16{5060, 5066, 7000, 40000}
	siegeMedia  = []uint16{40000, 5000, 7102, 7104, 20000, 1000}
)

// speakSIP lets a host inside begin a call, go on with one, or register.
func (s *siege) speakSIP(src, dst netip.Addr) string {
	phone, remote := at(src, one(s, "phone", siegePhones...)), at(dst, 5060)
	switch s.draw("dialogue", 5) {
	case 0:
		return s.register(phone, remote)
	case 1, 2:
		if len(s.calls) > 0 {
			return s.goOn(&s.calls[s.draw("call", len(s.calls))])
		}
	}
	s.sessions++
	c := siegeCall{inside: phone, remote: remote, id: fmt.Sprint("c", s.sessions%8), media: at(src, one(s, "media", siegeMedia...))}
	if s.draw("whose", 8) == 0 { // what it may not announce: another host's port
		c.media = at(one(s, "other", client2Addr, lanAddr, poolAddr, wanAddr, client26Addr, server2Addr), c.media.Port())
	}
	s.calls = append(s.calls, c)
	return s.say(&c, "INVITE sip:b@"+remote.String()+" SIP/2.0", "INVITE", "", sdpAt(c.media))
}

// say sends a message of a call from inside.
func (s *siege) say(c *siegeCall, first, method, header, body string) string {
	return s.leave(sipFrame(s.t, lan, c.inside, c.remote, first, method, c.id, header, body))
}

// sipFrame is a message in a datagram.
func sipFrame(t testing.TB, from int, src, dst netip.AddrPort, first, method, id, header, body string) []byte {
	t.Helper()
	if body != "" {
		header += "Content-Type: application/sdp\r\n"
	}
	caller, callee := src, dst
	if strings.HasPrefix(first, "SIP/2.0 ") { // headers are those of the request
		caller, callee = dst, src
	}
	text := fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", sipHead(first, method, caller, callee, id), header, len(body), body)
	return build(t, from, spec{src: src.Addr(), dst: dst.Addr(), sport: src.Port(), dport: dst.Port(), payload: []byte(text)})
}

// sdpAt is sdpOf for either family.
func sdpAt(a netip.AddrPort) string {
	if a.Addr().Is4() {
		return sdpOf(a)
	}
	return strings.ReplaceAll(sdpOf(a), "IN IP4", "IN IP6")
}

// goOn is what may come after the first message of a call.
func (s *siege) goOn(c *siegeCall) string {
	switch s.draw("next", 5) {
	case 0:
		return s.say(c, "BYE sip:b@"+c.remote.String()+" SIP/2.0", "BYE", "", "")
	case 1: // other media
		c.media = at(c.media.Addr(), one(s, "media", siegeMedia...))
		return s.say(c, "INVITE sip:b@"+c.remote.String()+" SIP/2.0", "INVITE", "", sdpAt(c.media))
	case 2:
		if c.heard.IsValid() && c.heard.Addr().Is4() == c.inside.Addr().Is4() && !s.ref.isInside(c.heard.Addr()) {
			return s.leave(build(s.t, lan, spec{src: c.inside.Addr(), dst: c.heard.Addr(), sport: c.media.Port(), dport: c.heard.Port(), payload: []byte("voice")}))
		}
	}
	// Where the other side sees it.
	var outside netip.AddrPort
	for _, k := range s.keys() {
		if f := s.ref.find(k); f != nil && f.text && k.proto == 17 && f.refEnd == (refEnd{c.inside.Addr(), c.inside.Port()}) && at(k.remote, k.rport) == c.remote {
			outside = at(k.local, k.lport)
		}
	}
	if !outside.IsValid() {
		return ""
	}
	c.heard = at(c.remote.Addr(), one(s, "media", siegeMedia...))
	first := one(s, "answer", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK", "SIP/2.0 486 Busy Here")
	return s.arrive(sipFrame(s.t, wan, c.remote, outside, first, "INVITE", c.id, "", sdpAt(c.heard)))
}

// register lets a phone tell where it may be called, which the registrar mostly grants.
func (s *siege) register(phone, registrar netip.AddrPort) string {
	contact := phone
	if s.draw("elsewhere", 3) == 0 {
		contact = at(phone.Addr(), one(s, "phone", siegePhones...))
	}
	frame := sipFrame(s.t, lan, phone, registrar, "REGISTER sip:x SIP/2.0", "REGISTER", "r", "Contact: <sip:a@"+contact.String()+">;expires=600\r\n", "")
	out, why := s.leaving(frame)
	if why != "" || len(out) != 1 || out[0].port != wan {
		return why
	}
	v, _ := viewOf(out[0].frame)
	named, ok := contactIn(v.payload())
	if !ok || s.draw("granted", 4) == 0 {
		return ""
	}
	grant := fmt.Sprintf("Contact: <sip:a@%s>;expires=%d\r\n", named, 60+60*s.draw("minutes", 5))
	return s.arrive(sipFrame(s.t, wan, registrar, ends(s.t, out[0].frame)[0], "SIP/2.0 200 OK", "REGISTER", "r", grant, ""))
}

// requestTFTP asks a server for a file; its answer may come from any port.
func (s *siege) requestTFTP(src, dst netip.AddrPort) string {
	request := "\x00\x01boot\x00octet\x00"
	if s.draw("broken", 4) == 0 {
		request = "\x00\x03boot\x00octet\x00"
	}
	return s.leave(build(s.t, lan, spec{src: src.Addr(), dst: dst.Addr(), sport: src.Port(), dport: dst.Port(), payload: []byte(request)}))
}

// serve lets hosts inside answer what has come to them, as phones and a TFTP server do.
func (s *siege) serve(inward []view) string {
	for i := range inward {
		v := &inward[i]
		k, ok := v.asAnswer()
		if !ok || v.proto != 17 || v.fragment || s.draw("served", 2) == 0 {
			continue
		}
		here, there, text := at(k.local, k.lport), at(k.remote, k.rport), v.payload()
		why := ""
		switch {
		case k.lport == 69 && strings.HasPrefix(text, "\x00\x01"): // by a port of its own
			why = s.leave(build(s.t, lan, spec{src: here.Addr(), dst: there.Addr(), sport: 50000, dport: there.Port(), payload: []byte("\x00\x03\x00\x01data")}))
		case strings.HasPrefix(text, "INVITE"):
			c := siegeCall{inside: here, remote: there, id: fieldOf(text, "Call-ID"), media: at(here.Addr(), one(s, "media", siegeMedia...))}
			c.heard, _ = mediaAt(text)
			s.calls = append(s.calls, c)
			why = s.say(&c, "SIP/2.0 200 OK", "INVITE", "", sdpAt(c.media))
		case strings.HasPrefix(text, "REGISTER"):
			c := siegeCall{inside: here, remote: there, id: "r"}
			named, _ := contactIn(text)
			why = s.say(&c, "SIP/2.0 200 OK", "REGISTER", fmt.Sprintf("Contact: <sip:a@%s>;expires=600\r\n", named), "")
		case strings.HasPrefix(text, "SIP/2.0 200 OK"):
			s.hear(here, text)
		}
		if why != "" {
			return why
		}
	}
	return ""
}

// hear notes where a call's other side wants to hear.
func (s *siege) hear(here netip.AddrPort, text string) {
	for i := range s.calls {
		if c := &s.calls[i]; c.inside == here && c.id == fieldOf(text, "Call-ID") {
			if heard, ok := mediaAt(text); ok {
				c.heard = heard
			}
		}
	}
}

// waiting lists the announced connections in an order that does not depend on the map.
func (s *siege) waiting() []refExpect {
	var list []refExpect
	for e := range s.ref.expect {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b refExpect) int {
		return cmp.Or(a.remote.Compare(b.remote), a.local.Compare(b.local), cmp.Compare(a.proto, b.proto), cmp.Compare(a.lport, b.lport))
	})
	return list
}

// announceFTP opens an FTP session in which the client announces a port.
func (s *siege) announceFTP(src, dst netip.Addr) string {
	s.sessions++
	port, data := 41000+s.sessions, 6400+s.sessions
	q := spec{src: src, dst: dst, sport: port, dport: 21}
	why := ""
	say := func(flags layers.TCP, text string) []sent {
		q.tcp, q.payload = &flags, []byte(text)
		out, wrong := s.leaving(build(s.t, lan, q))
		why += wrong
		return out
	}
	out := say(layers.TCP{SYN: true, Seq: 99}, "")
	if len(out) != 1 || out[0].port != wan {
		return ""
	}
	outside := ends(s.t, out[0].frame)[0]
	reply := func(flags layers.TCP, text string) string {
		return s.arrive(build(s.t, wan, spec{src: dst, dst: outside.Addr(), sport: 21, dport: outside.Port(), tcp: &flags, payload: []byte(text)}))
	}
	why += reply(layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 100}, "")
	say(layers.TCP{ACK: true, Seq: 100, Ack: 500}, "")
	why += reply(layers.TCP{ACK: true, PSH: true, Seq: 500, Ack: 100}, "220 hi\r\n")
	say(layers.TCP{ACK: true, PSH: true, Seq: 100, Ack: 508}, "USER x\r\n")
	host := src
	if s.draw("whose", 6) == 0 {
		host = one(s, "other", client2Addr, lanAddr, poolAddr, server2Addr)
	}
	a := host.As4()
	out = say(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, fmt.Sprintf("PORT %d,%d,%d,%d,%d,%d\r\n", a[0], a[1], a[2], a[3], data>>8, data&255))
	if len(out) != 1 {
		return why
	}
	var b [4]byte
	var high, low uint16
	if _, err := fmt.Sscanf(string(decode(s.t, out[0].frame).ApplicationLayer().Payload()), "PORT %d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &high, &low); err != nil {
		return "the command left unread: " + err.Error()
	}
	there := netip.AddrFrom4(b)
	if host == there && s.ref.loose[refFTP] { // its own, as it is seen
		host = src
	}
	if s.ref.mayName(refFTP, src, host, data) {
		s.ref.announce(refExpect{6, dst, there, high<<8 | low},
			&refPending{refEnd: refEnd{host, data}, way: refFTP, until: s.ref.now + 301*time.Second, peer: dst, shown: dst, foreign: host != src})
	}
	if s.draw("data", 2) == 0 {
		why += s.arrive(build(s.t, wan, spec{src: dst, dst: there, sport: 20, dport: high<<8 | low, tcp: &layers.TCP{SYN: true, Seq: 7}}))
	}
	return why
}

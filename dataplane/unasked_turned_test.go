package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Hosts inside that ask for outside addresses of each other.

// askInside sends what a host inside asks of an outside address of the gateway.
func (s *siege) askInside() string {
	turned := s.turnedFlows()
	switch s.draw("asked", 10) {
	case 0:
		if len(turned) > 0 {
			f := turned[s.draw("which", len(turned))]
			return s.ask(one(s, "direction", f.asked, f.got.inverse()))
		}
	case 1:
		if len(turned) > 0 {
			return s.leave(s.turnedError(turned[s.draw("which", len(turned))]))
		}
	case 2, 3:
		if waiting := s.waiting(); len(waiting) > 0 {
			e := waiting[s.draw("which", len(waiting))]
			return s.ask(s.toward(e.proto, refEnd{e.local, e.lport}))
		}
	case 4: // what another host's packets come from
		if keys := s.keys(); len(keys) > 0 {
			k := keys[s.draw("flow", len(keys))]
			return s.ask(s.toward(k.proto, refEnd{k.local, k.lport}))
		}
	case 5: // what nobody serves, perhaps
		return s.ask(s.toward(one[uint8](s, "proto", 6, 17), refEnd{one(s, "asked", s.outside()...), one(s, "dport", siegePorts...)}))
	}
	rule := s.ref.rules[s.draw("rule", len(s.ref.rules))]
	asked := refEnd{rule.Addr, rule.Port}
	if rule.Port == 5060 && s.draw("calls", 4) > 0 {
		return s.speakSIP(one(s, "client", clientAddr, client2Addr), asked.addr)
	}
	return s.ask(s.toward(rule.Proto, asked))
}

// outside are the addresses that hosts inside have there.
func (s *siege) outside() []netip.Addr {
	list := []netip.Addr{poolAddr, pool6Addr, wanAddr}
	for _, r := range s.ref.rules {
		list = append(list, r.Addr)
	}
	return list
}

// toward is a question to a place by a host of its family.
func (s *siege) toward(proto uint8, asked refEnd) refTurn {
	src := one(s, "client", clientAddr, client2Addr)
	if asked.addr.Is6() {
		src = one(s, "client", client6Addr, client26Addr)
	}
	return refTurn{proto, refEnd{src, one(s, "sport", siegePorts...)}, asked}
}

// ask sends a packet from inside, now and then in pieces.
func (s *siege) ask(t refTurn) string {
	if t.src.addr.Is4() != t.dst.addr.Is4() || s.ref.isInside(t.dst.addr) { // hosts of one wire need no gateway
		return ""
	}
	if t.proto == 17 && t.dst.port == 69 {
		return s.requestTFTP(at(t.src.addr, t.src.port), at(t.dst.addr, t.dst.port))
	}
	q := spec{src: t.src.addr, dst: t.dst.addr, sport: t.src.port, dport: t.dst.port, payload: []byte("question")}
	switch {
	case t.proto == 6:
		q.tcp, q.payload = &layers.TCP{SYN: true, Seq: 1}, nil
		if f := s.ref.turnedBy(t); f != nil && t != f.asked {
			q.tcp = &layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 2}
		}
	case t.proto != 17:
		return ""
	case s.draw("long", 4) == 0:
		return s.leave(split(build(s.t, lan, long(q, 1300)), uint32(t.src.port)<<8|uint32(s.draw("id", 4)), 800)...)
	}
	return s.leave(build(s.t, lan, q))
}

// turnedError is what a host inside, or a router before it, says about a packet that has
// come from another one: that it did not arrive.
func (s *siege) turnedError(f *refTurned) []byte {
	got := f.got
	if s.draw("direction", 2) == 0 {
		got = f.asked.inverse()
	}
	v, _ := viewOf(build(s.t, lan, spec{src: got.src.addr, dst: got.dst.addr, sport: got.src.port, dport: got.dst.port, payload: []byte("question")}))
	if got.proto == 6 {
		v, _ = viewOf(build(s.t, lan, spec{src: got.src.addr, dst: got.dst.addr, sport: got.src.port, dport: got.dst.port, tcp: &layers.TCP{SYN: true, Seq: 1}}))
	}
	e := spec{src: got.dst.addr, dst: got.src.addr}
	if e.src.Is4() {
		e.src = one(s, "reporter", e.src, netip.MustParseAddr("10.9.9.9"))
		e.icmp, e.payload = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, v.ip[:v.l4+8]
	} else {
		e.icmp6, e.payload = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, append(make([]byte, 4), v.ip...)
	}
	return build(s.t, lan, e)
}

// turnedFlows lists the flows between hosts inside in an order that does not depend on the
// map.
func (s *siege) turnedFlows() (list []*refTurned) {
	for t, f := range s.ref.turned {
		if t == f.asked && s.ref.turnedBy(t) != nil {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b *refTurned) int { return strings.Compare(fmt.Sprint(a.asked), fmt.Sprint(b.asked)) })
	return list
}

// answerTurned answers every flow between hosts inside: the answers have to arrive.
func (s *siege) answerTurned() string {
	for _, f := range s.turnedFlows() {
		t := f.got.inverse()
		alive := s.ref.turnedBy(t) == f && s.ref.now-f.refFlow.asked < 29*time.Second && !s.ref.isTwofold(t)
		arrived := func() int { return s.ref.passed[refTurnBack] + s.ref.passed[refTurnRule] } // it may ask itself
		before, dropped := arrived(), drops(s.path)
		if why := s.ask(t); why != "" {
			return why
		}
		if alive && arrived() == before {
			return fmt.Sprintf("the answer %v to %v did not arrive\ndropped %v\nbefore  %v", t, f.asked, drops(s.path), dropped)
		}
	}
	return ""
}

// impersonated is a packet from outside that looks as one of a flow between hosts inside:
// as either sends or gets it, or with the outside addresses of both.
func (s *siege) impersonated() refKey {
	turned := s.turnedFlows()
	if len(turned) == 0 {
		return refKey{proto: 17, remote: clientAddr, local: poolAddr, rport: 53, lport: 7000}
	}
	f := turned[s.draw("turned", len(turned))]
	t := one(s, "as", f.asked, f.got, refTurn{f.got.proto, f.got.src, f.asked.dst})
	if s.draw("back", 2) == 0 {
		t = t.inverse()
	}
	return refKey{t.proto, t.src.addr, t.dst.addr, t.src.port, t.dst.port}
}

package dataplane

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/nat"
)

// Nothing reaches the inside that no one asked for, and nothing leaves untranslated:
// random traffic from inside makes flows, random packets come from outside, and a slow
// reference judges what passes.
//
//	go test ./dataplane -run TestNothingUnasked -rapid.checks 20000 -timeout 0
func TestNothingUnasked(t *testing.T) {
	var passed [numRefWays]int
	rapid.Check(t, func(rt *rapid.T) {
		s := newSiege(t, func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, name) })
		defer s.close()
		for range 12 {
			if why := s.fromInside(); why != "" {
				rt.Fatal(why)
			}
		}
		for range 300 {
			if why := s.step(); why != "" {
				rt.Fatal(why)
			}
		}
		for way, n := range s.ref.passed {
			passed[way] += n
		}
	})
	t.Logf("replies, rule, announced, related, in fragments: %v packets", passed)
	for way, n := range passed {
		if n == 0 {
			t.Errorf("nothing came in by way %d: the test sees nothing", way)
		}
	}
}

// siege is a gateway between random hosts.
type siege struct {
	*path
	draw     func(name string, n int) int // a number below n
	ref      *reference
	sessions uint16
}

var (
	server2Addr  = netip.MustParseAddr("203.0.113.48")
	client26Addr = netip.MustParseAddr("fd00:1:2::4")
	server26Addr = netip.MustParseAddr("2001:db8:113::48")
	wan6Addr     = netip.MustParseAddr("2001:db8:113::1")

	siegeRules = []string{"tcp:198.51.100.32:80=10.1.2.3:8080", "udp:198.51.100.33:53=10.1.2.4:5353", "udp:[2001:db8:98::33]:53=[fd00:1:2::3]:53"}
)

// newSiege makes one of several kinds of gateway.
func newSiege(t testing.TB, draw func(string, int) int) *siege {
	t.Helper()
	s := &siege{draw: draw, ref: &reference{opened: make(map[refKey]*refFlow), expect: make(map[refExpect]refEnd),
		inside: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}}}
	for _, text := range siegeRules {
		s.ref.rules = append(s.ref.rules, mustRule(text))
	}
	workers := 1 + draw("workers", 2)
	s.path = newPath(t, func(o *Options) {
		o.Queues, o.MaxFlows, o.RingSize = workers, 1024, 128
		o.NAT.DNAT = s.ref.rules
		switch draw("translation", 4) {
		case 0:
			o.NAT = nat.Config{Masquerade: true, DNAT: s.ref.rules}
		case 1:
			o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32:5000-5255")}
		case 2:
			natBoth(o)
			s.ref.v6 = true
		}
	})
	s.queue = func(int, []byte) int { return draw("queue", workers) }
	s.mirror.SetFixed(siegeNetwork())
	s.run()
	return s
}

func siegeNetwork() ([]fib.FixedPort, []fib.FixedRoute) {
	ports, routes := testNetwork(nil)
	host := func(a netip.Addr, port uint16, m [6]byte) fib.FixedRoute {
		return fib.FixedRoute{Dst: netip.PrefixFrom(a, a.BitLen()), Port: port, Gateway: a, MAC: m}
	}
	return ports, append(routes, host(client26Addr, lan, mac(clientMAC)),
		host(server2Addr, wan, mac(serverMAC)), host(server26Addr, wan, mac(serverMAC)),
		fib.FixedRoute{Dst: prefix("0.0.0.0/0"), Port: wan, Gateway: serverAddr, MAC: mac(serverMAC)},
		fib.FixedRoute{Dst: prefix("::/0"), Port: wan, Gateway: server6Addr, MAC: mac(serverMAC)})
}

// close checks that no frame is lost, and frees the gateway.
func (s *siege) close() {
	s.run()
	s.advance(61 * time.Second)
	s.checkLedger(s.t, 0)
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

// step lets something happen: mostly outside.
func (s *siege) step() string {
	switch s.draw("step", 12) {
	case 0, 1:
		return s.fromInside()
	case 2:
		s.pass(time.Duration([]int{3, 31, 121, 700}[s.draw("seconds", 4)]) * time.Second)
		return ""
	case 3:
		return s.answerAll()
	case 4: // a burst
		var burst [][]byte
		for range 2 + s.draw("packets", 8) {
			burst = append(burst, s.hostile()...)
		}
		return s.arrive(burst...)
	}
	return s.arrive(s.hostile()...)
}

// pass lets time go by.
func (s *siege) pass(d time.Duration) {
	s.ref.now += d
	s.ref.pieces = slices.DeleteFunc(s.ref.pieces, func(p refPiece) bool { return s.ref.now-p.at > 61*time.Second })
	s.advance(d)
}

// one draws one of several values.
func one[T any](s *siege, name string, of ...T) T { return of[s.draw(name, len(of))] }

var siegePorts = []uint16{20, 53, 80, 1024, 5000, 7000, 7104, 8080, 40000}

// fromInside sends what honest hosts inside send, and what answers it needs to be so.
func (s *siege) fromInside() string {
	src, dst := one(s, "client", clientAddr, client2Addr), one(s, "server", serverAddr, server2Addr)
	if s.draw("family", 3) == 0 {
		src, dst = one(s, "client", client6Addr, client26Addr), one(s, "server", server6Addr, server26Addr)
	}
	sport, dport := one(s, "sport", siegePorts...), one(s, "dport", siegePorts...)
	q := spec{src: src, dst: dst, sport: sport, dport: dport, payload: []byte("question")}
	switch s.draw("kind", 7) {
	case 0:
		q.tcp, q.payload = &layers.TCP{SYN: true, Seq: 1}, nil
	case 1:
		s.echo(&q, 8, 128)
	case 2:
		return s.leave(sctpFrame(s.t, lan, src, dst, sport, dport, 1))
	case 3:
		q.proto = layers.IPProtocol(one(s, "proto", 47, 50, 253))
	case 4:
		frame := build(s.t, lan, long(q, 2000))
		return s.leave(split(frame, uint32(sport)<<8|uint32(s.draw("id", 4)), 1000)...)
	case 5:
		if src.Is4() {
			return s.announceFTP(src, dst)
		}
	}
	return s.leave(build(s.t, lan, q))
}

// echo makes a packet an ICMP message of a type of either family.
func (s *siege) echo(q *spec, typ, typ6 uint8) {
	if q.src.Is4() {
		q.icmp = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: q.sport}
	} else {
		q.icmp6, q.echo6 = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ6, 0)}, &layers.ICMPv6Echo{Identifier: q.sport}
	}
}

// leave sends packets from inside and judges what leaves the gateway.
func (s *siege) leave(frames ...[]byte) string {
	out := s.send(lan, frames...)
	for i, o := range out {
		if o.port != wan {
			continue
		}
		in := frames[0]
		if len(out) == len(frames) {
			in = frames[i]
		}
		if why := s.ref.left(in, o.frame); why != "" {
			return why
		}
	}
	return ""
}

// sctpFrame is a packet with one chunk, INIT or INIT ACK.
func sctpFrame(t testing.TB, from int, src, dst netip.Addr, sport, dport uint16, chunk uint8) []byte {
	t.Helper()
	b := make([]byte, 12+20)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	if chunk != 1 {
		binary.BigEndian.PutUint32(b[4:], 0x01020304)
	}
	b[12], b[15] = chunk, 20
	binary.BigEndian.PutUint32(b[16:], 0x01020304)
	sumSCTPFrame(b)
	return build(t, from, spec{src: src, dst: dst, proto: 132, payload: b})
}

// announceFTP opens an FTP session in which the client announces a port.
func (s *siege) announceFTP(src, dst netip.Addr) string {
	s.sessions++
	port, data := 41000+s.sessions, 6400+s.sessions
	q := spec{src: src, dst: dst, sport: port, dport: 21}
	say := func(flags layers.TCP, text string) []sent {
		q.tcp, q.payload = &flags, []byte(text)
		out := s.send(lan, build(s.t, lan, q))
		if len(out) == 1 {
			s.ref.left(build(s.t, lan, q), out[0].frame)
		}
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
	why := reply(layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 100}, "")
	say(layers.TCP{ACK: true, Seq: 100, Ack: 500}, "")
	why += reply(layers.TCP{ACK: true, PSH: true, Seq: 500, Ack: 100}, "220 hi\r\n")
	say(layers.TCP{ACK: true, PSH: true, Seq: 100, Ack: 508}, "USER x\r\n")
	a := src.As4()
	out = say(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, fmt.Sprintf("PORT %d,%d,%d,%d,%d,%d\r\n", a[0], a[1], a[2], a[3], data>>8, data&255))
	if len(out) != 1 {
		return why
	}
	var b [4]byte
	var high, low uint16
	if _, err := fmt.Sscanf(string(decode(s.t, out[0].frame).ApplicationLayer().Payload()), "PORT %d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &high, &low); err != nil {
		return "the command left unread: " + err.Error()
	}
	s.ref.expect[refExpect{dst, netip.AddrFrom4(b), high<<8 | low}] = refEnd{src, data}
	return why
}

// answerAll answers every flow as its server does: of UDP, an answer has to arrive.
func (s *siege) answerAll() string {
	keys := s.keys()
	for _, k := range keys {
		f := s.ref.find(k)
		if f == nil {
			continue
		}
		before, dropped := s.ref.passed[refReply], drops(s.path)
		if why := s.arrive(s.answerOf(k)); why != "" {
			return why
		}
		alive := k.proto == 17 && s.ref.now-f.asked < 29*time.Second
		if alive && s.ref.passed[refReply] != before+1 {
			return fmt.Sprintf("the answer %v did not arrive at %v; dropped: %v, before: %v", k, f.refEnd, drops(s.path), dropped)
		}
	}
	return ""
}

// keys lists what may come in as an answer, in an order that does not depend on the map.
func (s *siege) keys() []refKey {
	var keys []refKey
	for k := range s.ref.opened {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b refKey) int {
		return cmp.Or(a.remote.Compare(b.remote), a.local.Compare(b.local), cmp.Compare(a.proto, b.proto),
			cmp.Compare(a.rport, b.rport), cmp.Compare(a.lport, b.lport))
	})
	return keys
}

// waiting lists the announced connections, in the order of their announcement.
func (s *siege) waiting() []refExpect {
	var list []refExpect
	for e := range s.ref.expect {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b refExpect) int { return int(s.ref.expect[a].port) - int(s.ref.expect[b].port) })
	return list
}

// answerOf builds an honest packet with a key.
func (s *siege) answerOf(k refKey) []byte {
	a := spec{src: k.remote, dst: k.local, sport: k.rport, dport: k.lport, payload: []byte("an answer")}
	switch k.proto {
	case 6:
		a.tcp = &layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 2}
		a.payload = nil
	case 17:
	case 132:
		return sctpFrame(s.t, wan, k.remote, k.local, k.rport, k.lport, 2)
	case 1, 58:
		a.sport = k.lport
		s.echo(&a, uint8(k.rport>>8), uint8(k.rport>>8))
	default:
		a.proto = layers.IPProtocol(k.proto)
	}
	return build(s.t, wan, a)
}

// arrive sends packets from outside and judges what becomes of them.
func (s *siege) arrive(frames ...[]byte) string {
	var in []view
	for _, f := range frames {
		v, ok := viewOf(f)
		if !ok {
			continue
		}
		in = append(in, v)
		if v.fragment {
			s.ref.pieces = append(s.ref.pieces, refPiece{v, s.ref.now})
		}
	}
	var inward []view
	for _, o := range s.send(wan, frames...) {
		v, ok := viewOf(o.frame)
		if !ok {
			return fmt.Sprintf("sent by port %d: %x", o.port, o.frame)
		}
		if o.port == lan {
			inward = append(inward, v)
		} else if own := v.src == wanAddr || v.src == wan6Addr; !own || !v.isError() {
			return fmt.Sprintf("a packet from outside went back there: %x", o.frame)
		}
	}
	return s.judge(in, inward)
}

// judge explains each packet that was sent inside by one from outside. Errors may be
// about a flow that came in the same burst.
func (s *siege) judge(in, inward []view) string {
	for _, errors := range []bool{false, true} {
		for i := range inward {
			out := &inward[i]
			if out.isError() == errors && !s.explained(in, out) {
				k, _ := out.asAnswer()
				return fmt.Sprintf("nobody asked for %v: %x\nThis came from outside:%s", k, out.ip, s.ref.told(in))
			}
		}
	}
	return ""
}

// told lists packets from outside, and where each may go.
func (r *reference) told(in []view) string {
	text := ""
	for i := range in {
		text += fmt.Sprintf("\n%x", in[i].ip)
		if k, ok := in[i].asAnswer(); ok {
			for _, to := range r.leads(k) {
				text += fmt.Sprintf("\n may come in by way %d to %v", to.way, to.refEnd)
			}
		}
	}
	return text
}

func (s *siege) explained(in []view, out *view) bool {
	for i := range in {
		if s.ref.explains(&in[i], out) {
			return true
		}
	}
	for i := range s.ref.pieces { // that wait, or did
		if s.ref.explains(&s.ref.pieces[i].view, out) {
			return true
		}
	}
	return false
}

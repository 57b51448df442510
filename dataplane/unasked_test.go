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
	"github.com/xdpct/xdpct/packet"
)

// Nothing reaches the inside that no one asked for, and nothing leaves untranslated:
// random traffic from inside makes flows, random packets come from outside, and a slow
// reference judges what passes.
//
//	go test ./dataplane -run TestNothingUnasked -rapid.checks 20000 -timeout 0
func TestNothingUnasked(t *testing.T) {
	var passed [numRefWays]int
	var byRSS, handed, strays int
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
		if s.path.path.steering.ByRSS != 0 {
			byRSS++
		}
		handed += int(s.counterValue("handed_over"))
		strays += s.path.path.strays.Len()
	})
	t.Logf("replies, rule, FTP, TFTP, media, calls, related, in fragments, loose: %v packets", passed[:refTurnRule])
	t.Logf("between hosts inside: questions by rules, answers, announced, loose, errors, in fragments, to themselves: %v packets", passed[refTurnRule:])
	t.Logf("%d gateways steer by RSS; %d packets were handed over, %d strays are left", byRSS, handed, strays)
	if byRSS == 0 || handed == 0 || strays == 0 {
		t.Error("nobody had to look for a flow elsewhere: the test sees too little")
	}
	for way, n := range passed {
		if n == 0 {
			t.Errorf("nothing came by way %d: the test sees nothing", way)
		}
	}
}

// siege is a gateway between random hosts.
type siege struct {
	*path
	draw     func(name string, n int) int // a number below n
	ref      *reference
	sessions uint16
	calls    []siegeCall    // by hosts inside, and what they have answered
	bait     netip.AddrPort // what a forged message has named last
}

var (
	server2Addr  = netip.MustParseAddr("203.0.113.48")
	client26Addr = netip.MustParseAddr("fd00:1:2::4")
	server26Addr = netip.MustParseAddr("2001:db8:113::48")
	wan6Addr     = netip.MustParseAddr("2001:db8:113::1")

	siegeRules = []string{"tcp:198.51.100.32:80=10.1.2.3:8080", "udp:198.51.100.33:53=10.1.2.4:5353", "udp:[2001:db8:98::33]:53=[fd00:1:2::3]:53",
		"udp:198.51.100.34:5060=10.1.2.4:5060", "udp:198.51.100.34:69=10.1.2.3:69", "udp:203.0.113.1:7000=10.1.2.4:7000"}
)

// newSiege makes one of several kinds of gateway.
func newSiege(t testing.TB, draw func(string, int) int) *siege {
	t.Helper()
	s := &siege{draw: draw, ref: &reference{opened: make(map[refKey]*refFlow), expect: make(map[refExpect][]*refPending),
		turned: make(map[refTurn]*refTurned), loose: make(map[refWay]bool), inside: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")}}}
	for _, text := range siegeRules {
		s.ref.rules = append(s.ref.rules, mustRule(text))
	}
	workers := 1 + draw("workers", 4)
	nics := &[2]*nic{newNIC(uint64(draw("key", 8)), workers), newNIC(uint64(8+draw("key", 8)), workers)}
	how := &spreads[draw("spread", len(spreads))]
	s.path = newPath(t, func(o *Options) {
		o.Queues, o.MaxFlows, o.RingSize = workers, 1024, 128
		o.NAT.DNAT = s.ref.rules
		o.Helpers = s.helpers(t)
		how.options(o, nics)
		switch draw("translation", 4) {
		case 0:
			o.NAT = nat.Config{Masquerade: true, DNAT: s.ref.rules}
		case 1:
			o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32:5000-5255")}
		case 2:
			natBoth(o)
			s.ref.v6 = true
		}
		s.ref.pools = o.NAT.SNAT
	})
	s.queue = s.spread(how.queue(s.path, nics, workers))
	s.mirror.SetFixed(siegeNetwork())
	s.run()
	return s
}

// spread brings packets to queues as told does, but now and then elsewhere, as what no
// NIC hashes by ports.
func (s *siege) spread(told func(port int, frame []byte) int) func(int, []byte) int {
	return func(port int, frame []byte) int {
		var h packet.Headers
		if packet.Parse(frame, &h) != packet.ParseOK || h.Fragment != packet.NotFragment || int(h.L4)+4 > len(frame) || s.draw("wrongly", 8) == 0 {
			return s.draw("queue", len(s.workers))
		}
		return told(port, frame) % len(s.workers)
	}
}

// send delivers frames to the queues that they are spread to, while the workers work in
// random order, and returns what the gateway sent.
func (s *siege) send(port int, frames ...[]byte) []sent {
	s.t.Helper()
	for _, f := range frames {
		s.deliver(port, s.queue(port, f), f)
		if len(s.workers) > 1 && s.draw("early", 2) == 0 {
			s.Burst(s.draw("worker", len(s.workers)))
		}
	}
	for range 4 { // what is put together is handed over twice
		first := 0
		if len(s.workers) > 1 {
			first = s.draw("first", len(s.workers))
		}
		for i := range s.workers {
			for s.Burst((first+i)%len(s.workers)) > 0 {
			}
		}
	}
	return s.collect()
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
		if why := s.answerAll(); why != "" {
			return why
		}
		return s.answerTurned()
	case 4: // a burst
		var burst [][]byte
		for range 2 + s.draw("packets", 8) {
			burst = append(burst, s.hostile()...)
		}
		if len(burst) > 0 && s.draw("again", 4) == 0 {
			burst = append(burst, burst[0], burst[0])
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
	switch s.draw("kind", 17) {
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
	case 6, 7, 8:
		return s.speakSIP(src, dst)
	case 9:
		return s.requestTFTP(at(src, sport), at(dst, 69))
	case 10, 11, 12, 13, 14:
		return s.askInside()
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

// leave sends packets from inside and judges what comes out of the gateway.
func (s *siege) leave(frames ...[]byte) string {
	_, why := s.leaving(frames...)
	return why
}

// leaving does so and returns that.
func (s *siege) leaving(frames ...[]byte) (out []sent, why string) {
	in := viewsOf(frames)
	var inward []view
	out = s.send(lan, frames...)
	for i, o := range out {
		if o.port != wan {
			v, ok := viewOf(o.frame)
			if !ok {
				return out, fmt.Sprintf("sent inside: %x", o.frame)
			}
			if why := s.ref.turns(in, &v); why != "" {
				return out, why
			}
			inward = append(inward, v)
			continue
		}
		in := frames[0]
		if len(out) == len(frames) {
			in = frames[i]
		}
		if why := s.ref.left(in, o.frame); why != "" {
			return out, why
		}
	}
	return out, s.serve(inward)
}

// viewsOf reads those of frames that can be read.
func viewsOf(frames [][]byte) (in []view) {
	for _, f := range frames {
		if v, ok := viewOf(f); ok {
			in = append(in, v)
		}
	}
	return in
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

// answerAll answers every flow as its server does: of UDP, an answer has to arrive.
func (s *siege) answerAll() string {
	keys := s.keys()
	for _, k := range keys {
		f := s.ref.find(k)
		if f == nil {
			continue
		}
		before, dropped := s.ref.passed, drops(s.path)
		if why := s.arrive(s.answerOf(k)); why != "" {
			return why
		}
		alive := k.proto == 17 && s.ref.now-f.asked < 29*time.Second
		if alive && s.ref.passed == before {
			return fmt.Sprintf("the answer %v did not arrive at %v\npassed %v, before %v\ndropped %v\nbefore  %v", k, f.refEnd, s.ref.passed, before, drops(s.path), dropped)
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
	in := viewsOf(frames)
	for _, v := range in {
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
			return fmt.Sprintf("a packet from outside went back there: %x\nThis came from outside:%s", o.frame, s.ref.listing(in))
		}
	}
	if why := s.judge(in, inward); why != "" {
		return why
	}
	return s.serve(inward)
}

// judge explains each packet that was sent inside by one from outside, the plain cases
// first. Errors may be about a flow that came in the same burst.
func (s *siege) judge(in, inward []view) string {
	used := make([]bool, len(in))
	for _, errors := range []bool{false, true} {
		var open []*view
		for i := range inward {
			if inward[i].isError() == errors {
				open = append(open, &inward[i])
			}
		}
		for fit := range numFits {
			open = slices.DeleteFunc(open, func(out *view) bool { return s.explained(in, used, out, fit) })
		}
		if len(open) > 0 {
			k, _ := open[0].asAnswer()
			return fmt.Sprintf("nobody asked for %v: %x\nThis came from outside:%s", k, open[0].ip, s.ref.listing(in))
		}
	}
	return ""
}

// listing tells of packets from outside, and where each may go.
func (r *reference) listing(in []view) string {
	text := ""
	for i := range in {
		text += fmt.Sprintf("\n%x", in[i].ip)
		if in[i].isError() {
			q, _ := in[i].quoted()
			k, ok := q.asQuestion()
			text += fmt.Sprintf("\n about a packet that %v %v answers, of flow %+v", k, ok, r.opened[k])
		}
		if k, ok := in[i].asAnswer(); ok {
			for _, to := range r.leads(k) {
				text += fmt.Sprintf("\n may come in by way %d to %v", to.way, to.refEnd)
			}
		}
	}
	return text
}

// explained looks for what explains a packet: rather what has explained nothing yet.
func (s *siege) explained(in []view, used []bool, out *view, fit refFit) bool {
	for _, again := range []bool{false, true} {
		for i := range in {
			if used[i] == again && s.ref.explains(&in[i], out, fit) {
				used[i] = true
				return true
			}
		}
	}
	for i := range s.ref.pieces { // that wait, or did
		if s.ref.explains(&s.ref.pieces[i].view, out, fit) {
			return true
		}
	}
	return false
}

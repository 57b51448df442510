package dataplane

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

var pool6Addr = netip.MustParseAddr("2001:db8:98::32")

// natBoth translates sources of both families.
func natBoth(o *Options) {
	o.NAT.SNAT = append(o.NAT.SNAT, mustPool(pool6Addr.String()))
}

// exchange is a question from the client and the server's answer, each in pieces.
type exchange struct {
	question, answer spec
}

// exchanges are of all protocols whose transport header is rewritten.
func exchanges(n int) map[string]exchange {
	echo := func(typ uint8) *layers.ICMPv4 {
		return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: 77, Seq: 1}
	}
	echo6 := func(typ uint8) (*layers.ICMPv6, *layers.ICMPv6Echo) {
		return &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, &layers.ICMPv6Echo{Identifier: 77, SeqNumber: 1}
	}
	list := map[string]exchange{
		"udp": {long(udp(7000, 53), n), long(answer(53, 7000), n)},
		"ping": {long(spec{src: clientAddr, dst: serverAddr, icmp: echo(8)}, n),
			long(spec{src: serverAddr, dst: poolAddr, icmp: echo(0)}, n)},
		"udp over ipv6": {long(spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53}, n),
			long(spec{src: server6Addr, dst: pool6Addr, sport: 53, dport: 7000}, n)},
		"generic": {long(spec{src: clientAddr, dst: serverAddr, proto: 253}, n), long(spec{src: serverAddr, dst: poolAddr, proto: 253}, n)},
		"generic over ipv6": {long(spec{src: client6Addr, dst: server6Addr, proto: 253}, n),
			long(spec{src: server6Addr, dst: pool6Addr, proto: 253}, n)},
	}
	sctp := func(s spec, sport, dport uint16, chunk uint8) spec { // a heartbeat, or its answer
		s = long(s, n)
		s.proto = 132
		h := packet.SCTP(s.payload)
		binary.BigEndian.PutUint16(h, sport)
		binary.BigEndian.PutUint16(h[2:], dport)
		binary.BigEndian.PutUint32(h[4:], 7) // verification tag
		h[packet.SCTPLen], h[packet.SCTPLen+1] = chunk, 0
		binary.BigEndian.PutUint16(h[packet.SCTPLen+2:], uint16(len(h)-packet.SCTPLen))
		h.SetChecksum(0)
		h.SetChecksum(crc32.Checksum(h, crc32.MakeTable(crc32.Castagnoli)))
		return s
	}
	list["sctp"] = exchange{sctp(spec{src: clientAddr, dst: serverAddr}, 7000, 53, 4), sctp(spec{src: serverAddr, dst: poolAddr}, 53, 7000, 5)}
	list["sctp over ipv6"] = exchange{sctp(spec{src: client6Addr, dst: server6Addr}, 7000, 53, 4),
		sctp(spec{src: server6Addr, dst: pool6Addr}, 53, 7000, 5)}
	ping6 := exchange{long(spec{src: client6Addr, dst: server6Addr}, n), long(spec{src: server6Addr, dst: pool6Addr}, n)}
	ping6.question.icmp6, ping6.question.echo6 = echo6(128)
	ping6.answer.icmp6, ping6.answer.echo6 = echo6(129)
	list["ping -6"] = ping6
	return list
}

// translatedFrame is what a packet looks like on the other side: only addresses, TTL
// and MACs differ, and the checksums are right.
func translatedFrame(t testing.TB, from int, s spec) []byte {
	t.Helper()
	pool, client := poolAddr, clientAddr
	if s.src.Is6() {
		pool, client = pool6Addr, client6Addr
	}
	if from == lan {
		s.src = pool
	} else {
		s.dst = client
	}
	s.ttl = 63
	f := build(t, from, s)
	src, dst := wanMAC, serverMAC
	if from == wan {
		src, dst = lanMAC, clientMAC
	}
	copy(f, slices.Concat(dst, src))
	return f
}

// checkPieces compares what was sent with a whole packet: the pieces leave in order,
// as large as they came.
func checkPieces(t *testing.T, got, sent [][]byte, want []byte) {
	t.Helper()
	if len(got) != len(sent) {
		t.Fatalf("%d pieces left, want %d", len(got), len(sent))
	}
	for i := range got {
		if len(got[i]) != len(sent[i]) {
			t.Errorf("piece %d has %d bytes, want %d", i, len(got[i]), len(sent[i]))
		}
	}
	whole := glue(t, got)
	binary.BigEndian.PutUint16(want[18:], binary.BigEndian.Uint16(whole[18:])) // the ID, or the payload length
	if headerLen(want) == packet.IPv4MinLen {
		ip := packet.IPv4Header(want[14:34])
		ip.SetChecksum(0)
		ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
	}
	if string(whole) != string(want[:14+ipLen(want)]) {
		t.Errorf("put together they are\n%x\nwant\n%x", whole[:80], want[:80])
	}
}

// A datagram in pieces is translated as a whole, both ways, in whichever order they
// come, with one worker and with two whose queues the pieces are spread over.
func TestDatagramsInPieces(t *testing.T) {
	orders := map[string]func(pieces [][]byte) [][]byte{
		"in order": func(p [][]byte) [][]byte { return p },
		"reversed": func(p [][]byte) [][]byte { r := slices.Clone(p); slices.Reverse(r); return r },
		"shuffled": func(p [][]byte) [][]byte {
			r := slices.Clone(p)
			rand.Shuffle(len(r), func(i, k int) { r[i], r[k] = r[k], r[i] })
			return r
		},
	}
	for name, x := range exchanges(8000) {
		for order, arrange := range orders {
			for workers := 1; workers <= 2; workers++ {
				t.Run(fmt.Sprintf("%s/%s/workers=%d", name, order, workers), func(t *testing.T) {
					p := newPath(t, func(o *Options) { natBoth(o); o.Queues = workers })
					p.queue = func(port int, _ []byte) int { return rand.IntN(workers) }
					for id := range uint32(5) { // assembled by either worker
						for from, s := range []spec{x.question, x.answer} {
							pieces := split(build(t, from, s), id, 1344)
							checkPieces(t, frames(t, p.send(from, arrange(pieces)...), 1-from), pieces, translatedFrame(t, from, s))
						}
					}
					if n := p.counterValue("flows_new"); n != 1 {
						t.Errorf("%d flows, want 1", n)
					}
					if n := p.counterValue("fragments_assembled"); n != 10 {
						t.Errorf("%d datagrams were put together, want 10", n)
					}
					p.checkLedger(t, 0)
				})
			}
		}
	}
}

// checkLedger verifies that every frame is in its place, and how many are aside.
func (p *path) checkLedger(t testing.TB, aside int) {
	t.Helper()
	p.advance(100 * time.Millisecond) // publishes it
	if l := p.Ledger(); l.Missing != 0 || l.Aside != aside {
		t.Errorf("%+v, want %d aside and 0 missing", l, aside)
	}
}

// Random cuts, orders and duplicates, several datagrams at a time from several
// sources that use the same identifications: each leaves once, whole and translated.
func TestRandomPiecesYieldTheDatagrams(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	for round := range 60 {
		workers := 1 + round%2
		p := newPath(t, func(o *Options) { natBoth(o); o.Queues = workers })
		p.queue = func(int, []byte) int { return rng.IntN(workers) }
		want := make(map[string]int) // whole packets
		var deliveries [][]byte
		for k := range 6 {
			s := long(spec{src: clientAddr, dst: serverAddr, sport: 5000 + uint16(k), dport: 53}, 100+rng.IntN(6000))
			switch k {
			case 1:
				s.src = client2Addr
			case 2, 3:
				s.src, s.dst = client6Addr, server6Addr
			}
			frame := build(t, lan, s)
			id := uint32(7)
			if k == 0 || k == 3 {
				id = 8
			}
			if k >= 4 {
				id = uint32(10 + k)
			}
			var pieces [][]byte
			n := ipLen(frame) - headerLen(frame)
			for from := 0; from < n; {
				step := 8 * (1 + rng.IntN(165))
				if from == 0 {
					step += 8
				}
				to := min(from+step, n)
				if to == n && from == 0 {
					to = 16
				}
				pieces = append(pieces, cut(frame, id, from, to, to < n))
				from = to
			}
			deliveries = append(deliveries, pieces...)
			deliveries = append(deliveries, pieces[rng.IntN(len(pieces))])
			w := translatedFrame(t, lan, s)
			want[string(w[14+headerLen(w):14+ipLen(w)])]++
		}
		rng.Shuffle(len(deliveries), func(i, k int) { deliveries[i], deliveries[k] = deliveries[k], deliveries[i] })
		var out []sent
		for len(deliveries) > 0 {
			n := min(len(deliveries), 1+rng.IntN(20))
			out = append(out, p.send(lan, deliveries[:n]...)...)
			deliveries = deliveries[n:]
		}
		// What leaves is not interleaved: a last piece ends a datagram.
		var pieces [][]byte
		for _, f := range frames(t, out, wan) {
			pieces = append(pieces, f)
			var h packet.Headers
			packet.Parse(f, &h)
			if piece, _ := packet.PieceOf(f, &h); piece.More {
				continue
			}
			whole := glue(t, pieces)
			pieces = nil
			want[string(whole[14+headerLen(whole):])]--
		}
		for _, n := range want {
			if n != 0 {
				t.Fatalf("round %d, seed %d: a datagram left %d times", round, seed, 1-n)
			}
		}
		p.advance(61 * time.Second) // duplicates that came late are gone
		p.checkLedger(t, 0)
	}
}

// Pieces of others with the same identification, and of other protocols, are kept
// apart.
func TestSameIdentificationOfOthers(t *testing.T) {
	p := newPath(t, nil)
	a, b := long(udp(7000, 53), 2000), long(udp(7001, 53), 2000)
	b.src = client2Addr
	c := long(spec{src: clientAddr, dst: serverAddr, proto: 253}, 2000)
	pa, pb, pc := split(build(t, lan, a), 9, 1200), split(build(t, lan, b), 9, 1200), split(build(t, lan, c), 9, 1200)
	if out := p.send(lan, pa[0], pb[1], pc[0]); len(out) != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	checkPieces(t, frames(t, p.send(lan, pb[0]), wan), pb, translatedFrame(t, lan, b))
	checkPieces(t, frames(t, p.send(lan, pc[1]), wan), pc, translatedFrame(t, lan, c))
	checkPieces(t, frames(t, p.send(lan, pa[1]), wan), pa, translatedFrame(t, lan, a))
}

// What a flow counts and what a time-out sees is the datagram, not its pieces; and
// IPv4 pieces wait 30 s, IPv6 pieces 60 s.
// Nothing else suffers when pieces come that never get complete: other packets pass,
// other datagrams too, and all frames are found again.
// A wrong checksum, a UDP length beyond the datagram and a first piece without a
// whole transport header make a datagram INVALID.
// A piece that does not fit the way out is answered with the size that does, quoting
// the first one as its sender knows it.
func TestPiecesTooBig(t *testing.T) {
	for name, s := range map[string]spec{
		"ipv4": func() spec { s := long(udp(7000, 53), 3000); s.df = true; return s }(),
		"ipv6": long(spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53}, 3000),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, natBoth)
			whole := build(t, lan, s)
			pieces := [][]byte{cut(whole, 1, 0, 1000, true), cut(whole, 1, 1000, 2440, true), cut(whole, 1, 2440, 3008, false)}
			if s.df {
				for _, f := range pieces {
					f[20] |= 0x40
					ip := packet.IPv4Header(f[14:34])
					ip.SetChecksum(0)
					ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
				}
			}
			out := p.send(lan, pieces...)
			if len(out) != 1 || out[0].port != lan {
				t.Fatalf("%d packets sent", len(out))
			}
			var h packet.Headers
			packet.Parse(out[0].frame, &h)
			quoted := out[0].frame[h.Payload:h.End]
			if n := len(quoted); string(quoted) != string(pieces[0][14:14+n]) {
				t.Errorf("quotes %x, want %x", quoted[:60], pieces[0][14:74])
			}
			if mtu := binary.BigEndian.Uint16(out[0].frame[h.L4+6:]); mtu != 1400 {
				t.Errorf("says %d", mtu)
			}
			if n := p.counterValue("drop_too_big"); n != 3 {
				t.Errorf("drop_too_big is %d, want 3", n)
			}
			p.checkLedger(t, 0)
		})
	}
}

// Pieces that wait for a neighbour leave together once it is known.
func TestPiecesWaitForTheirNeighbour(t *testing.T) {
	p := newPath(t, nil)
	s := long(udp(7000, 53), 3000)
	s.dst = netip.MustParseAddr("203.0.113.99")
	pieces := split(build(t, lan, s), 1, 1200)
	if out := p.send(lan, pieces...); len(out) != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	p.advance(100 * time.Millisecond)
	if l := p.Ledger(); l.Held != 3 || l.Missing != 0 {
		t.Errorf("%+v", l)
	}
	p.rewire(func(_ []fib.FixedPort, routes []fib.FixedRoute) {
		routes[0].Dst, routes[0].Gateway = prefix("203.0.113.99/32"), s.dst
	})
	p.Advance(time.Second)
	want := translatedFrame(t, lan, s)
	checkPieces(t, frames(t, p.run(), wan), pieces, want)
	p.checkLedger(t, 0)
}

// An atomic fragment is a whole packet (RFC 6946), also while others with its
// identification wait.
func TestAtomicFragments(t *testing.T) {
	p := newPath(t, natBoth)
	s := long(spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53}, 1000)
	whole := build(t, lan, s)
	p.send(lan, cut(whole, 7, 0, 504, true))
	out := frames(t, p.send(lan, cut(whole, 7, 0, 1008, false)), wan)
	if len(out) != 1 {
		t.Fatalf("%d packets sent", len(out))
	}
	want := cut(translatedFrame(t, lan, s), 7, 0, 1008, false)
	if string(out[0]) != string(want) {
		t.Errorf("%x\nwant\n%x", out[0][:80], want[:80])
	}
}

// Steered by RSS, pieces come where their addresses bring them and go to where the
// whole packets of their flow are.
func TestPiecesSteeredByRSS(t *testing.T) {
	nics := &[2]*nic{newNIC(11, 4), newNIC(12, 4)}
	p := newPath(t, func(o *Options) { o.Queues = 4; tellRSS(o, nics) })
	p.queue = asTold(p, nics, 4)
	for i := range uint16(40) {
		q := udp(7000+i, 53)
		first := frames(t, p.send(lan, build(t, lan, q)), wan)
		if len(first) != 1 {
			t.Fatal("the question did not pass")
		}
		port := packet.UDP(first[0][34:]).SrcPort()
		a := long(answer(53, port), 3000)
		pieces := split(build(t, wan, a), uint32(i), 1200)
		got := frames(t, p.send(wan, pieces...), lan)
		a.dst, a.dport, a.ttl = clientAddr, 7000+i, 63
		want := build(t, wan, a)
		copy(want, slices.Concat(clientMAC, lanMAC))
		checkPieces(t, got, pieces, want)
	}
	if n := p.counterValue("flows_new"); n != 40 {
		t.Errorf("%d flows, want 40", n)
	}
	if n := p.counterValue("rss_mismatch"); n != 0 {
		t.Errorf("rss_mismatch is %d", n)
	}
	p.checkLedger(t, 0)
}

// Pieces are put aside, sent on and dropped without an allocation.
// Behind a DNAT rule pieces are led inside, and the answers back.
func TestPiecesBehindDNAT(t *testing.T) {
	p := newPath(t, func(o *Options) {
		o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:5353")}
		o.Queues = 2
	})
	p.queue = func(int, []byte) int { return rand.IntN(2) }
	q := long(spec{src: serverAddr, dst: poolAddr, sport: 4000, dport: 53}, 3000)
	pieces := split(build(t, wan, q), 1, 1200)
	got := frames(t, p.send(wan, pieces...), lan)
	q.dst, q.dport, q.ttl = clientAddr, 5353, 63
	want := build(t, wan, q)
	copy(want, slices.Concat(clientMAC, lanMAC))
	checkPieces(t, got, pieces, want)
	a := long(spec{src: clientAddr, dst: serverAddr, sport: 5353, dport: 4000}, 3000)
	pieces = split(build(t, lan, a), 1, 1200)
	got = frames(t, p.send(lan, pieces...), wan)
	a.src, a.sport, a.ttl = poolAddr, 53, 63
	want = build(t, lan, a)
	copy(want, slices.Concat(serverMAC, wanMAC))
	checkPieces(t, got, pieces, want)
}

// A flow counts a datagram in pieces as one packet, as long as it is when it is put
// together, and tells of one event.
func TestPiecesCountAsOnePacket(t *testing.T) {
	for name, length := range map[string]uint64{"udp": 20 + 8 + 3000, "udp over ipv6": 40 + 8 + 3000} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, func(o *Options) { natBoth(o); counting(o) })
			x := exchanges(3000)[name]
			p.send(lan, split(build(t, lan, x.question), 1, 1200)...)
			p.checkCounts("the question", counts{1, length, 0, 0})
			p.send(wan, split(build(t, wan, x.answer), 1, 1200)...)
			p.checkCounts("and the answer", counts{1, length, 1, length})
		})
	}
}

package flowtable

import (
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// TestSteadyIsAdvance puts flows into every state, with every status bit, and
// checks that where Steady takes a packet, Advance would have done the same.
func TestSteadyIsAdvance(t *testing.T) {
	const now = Tick(1000)
	tr := NewTracker()
	taken := make(map[uint8]int)
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, packet.ProtoGRE} {
		for state := range uint8(tcpStates) {
			frames := steadyFrames(proto, state)
			for bits := range 1 << 14 {
				if bits&int(StatusIPv6|StatusDying) != 0 {
					continue
				}
				for _, frame := range frames {
					h := packet.Headers{Proto: proto}
					if frame != nil && packet.Parse(frame, &h) != packet.ParseOK {
						t.Fatal("parse")
					}
					f, g := steadyFlow(tr, proto, state, Status(bits)), steadyFlow(tr, proto, state, Status(bits))
					if !tr.Steady(f, 1, DirReply, frame, &h, now) {
						if f.flows[1] != g.flows[1] || f.windows[1] != g.windows[1] {
							t.Fatalf("Steady refused a packet and changed its flow")
						}
						continue
					}
					taken[proto]++
					step := tr.Advance(g, 1, DirReply, frame, &h, now)
					if step != (Step{Outcome: OutcomeAccept}) || f.flows[1] != g.flows[1] || f.windows[1] != g.windows[1] ||
						g.Flow(1).Status()&(StatusHelper|StatusSeqAdjust) != 0 {
						t.Fatalf("protocol %d state %d status %x flags %x: %+v, flow %+v, by Advance %+v",
							proto, state, bits, h.TCPFlags, step, f.flows[1], g.flows[1])
					}
				}
			}
		}
	}
	if taken[packet.ProtoTCP] == 0 || taken[packet.ProtoUDP] == 0 || len(taken) != 2 {
		t.Errorf("packets taken by protocol: %v", taken)
	}
}

// steadyFrames returns the packets to be tried: all TCP flags in the state of
// interest.
func steadyFrames(proto, state uint8) (frames [][]byte) {
	if proto != packet.ProtoTCP {
		return [][]byte{nil}
	}
	all := []uint8{packet.ACK, packet.SYN, packet.PSH}
	if state == uint8(TCPEstablished) {
		all = all[:0]
		for flags := range 64 {
			all = append(all, uint8(flags))
		}
	}
	for _, flags := range all {
		frame, _ := tcpSpec{flags: flags, seq: 5000, ack: 9000, win: 500}.build()
		frames = append(frames, frame)
	}
	return frames
}

// steadyFlow makes a table with one flow, which holds something, at index 1.
func steadyFlow(tr *Tracker, proto, state uint8, status Status) *Table {
	timeouts := map[uint8]Tick{packet.ProtoTCP: tr.Timeouts.TCP[TCPEstablished], packet.ProtoUDP: tr.Timeouts.UDPStream,
		packet.ProtoICMP: tr.Timeouts.ICMP, packet.ProtoGRE: tr.Timeouts.GREStream}
	f := Flow{LastSeen: 900, Created: 100}
	f.meta = uint64(timeouts[proto]) | 0xb<<metaHoldsShift | uint64(status)<<metaStatusShift | uint64(proto)<<metaProtoShift | uint64(state)<<metaStateShift
	w := window{side: [2]tcpSide{{end: 9000, maxEnd: 9500, maxWin: 500}, {end: 5000, maxEnd: 5500, maxWin: 500}}, lastWin: 1}
	return &Table{flows: []Flow{{}, f}, windows: []window{{}, w}, exts: make([]Ext, 1),
		sweep: sweep{block: make([]Tick, 1), group: make([]Tick, 1)}}
}

// TestSteadyMovesWindows lets two hosts exchange segments, most of them as they
// should be, and applies each to two flows: by Steady where it takes it, and by
// Advance alone. Both must be the same at every step.
func TestSteadyMovesWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 11))
	steady, moved := 0, 0
	for round := range 400 {
		tr := NewTracker()
		tr.TCPLiberal = round%10 == 9
		tr.TCPMaxRetrans = uint8(round % 4)
		a, b := newTable(t, 1), newTable(t, 1)
		p := newPeers(rng)
		now := Tick(100)
		handshake := p.handshake()
		ia, ib := beginBoth(t, tr, a, b, handshake[0].spec, now)
		for i := range 400 {
			s := p.segment()
			if i < 2 {
				s = handshake[i+1]
			}
			now += Tick(rng.IntN(20))
			frame, h := s.spec.build()
			want := tr.Advance(b, ib, s.d, frame, &h, now)
			if tr.Steady(a, ia, s.d, frame, &h, now) {
				steady++
				if want != (Step{Outcome: OutcomeAccept}) {
					t.Fatalf("round %d, segment %d %+v: taken by Steady, by Advance %+v", round, i, s, want)
				}
			} else if got := tr.Advance(a, ia, s.d, frame, &h, now); got != want {
				t.Fatalf("round %d, segment %d: %+v, want %+v", round, i, got, want)
			}
			if want.Outcome == OutcomeAccept {
				moved++
			}
			fa, fb := *a.Flow(ia), *b.Flow(ib)
			if fa != fb || a.windows[ia] != b.windows[ib] {
				t.Fatalf("round %d, segment %d %+v:\nsteady %+v %+v\n  full %+v %+v", round, i, s, fa, a.windows[ia], fb, b.windows[ib])
			}
		}
	}
	if steady < moved/2 || steady < 40_000 {
		t.Errorf("%d of %d accepted segments were steady: too few to mean anything", steady, moved)
	}
}

// beginBoth makes the same flow in two tables.
func beginBoth(t *testing.T, tr *Tracker, a, b *Table, first tcpSpec, now Tick) (ia, ib uint32) {
	t.Helper()
	frame, h := first.build()
	tu := tuple4(1)
	tu.Proto = packet.ProtoTCP
	for _, tb := range []*Table{a, b} {
		state, timeout, _ := tr.Start(frame, &h)
		idx := mustInsert(t, tb, tu, timeout, now)
		tb.Flow(idx).SetState(state)
		tb.Flow(idx).AddStatus(StatusConfirmed)
		tr.Begin(tb, idx, frame, &h)
		ia, ib = ib, idx
	}
	return ia, ib
}

// sent is a segment of one of two hosts.
type sent struct {
	d    Dir
	spec tcpSpec
}

// peers are two hosts that send at random.
type peers struct {
	rng   *rand.Rand
	next  [2]uint32 // number of the next byte
	acked [2]uint32 // what the other side has acknowledged
	last  sent
}

func newPeers(rng *rand.Rand) *peers {
	p := &peers{rng: rng}
	for d := range p.next {
		p.next[d] = [...]uint32{rng.Uint32(), 0xffffff00, 0x7fffff00}[rng.IntN(3)]
	}
	p.acked = p.next
	return p
}

// handshake returns the three segments of a handshake, with scaling or not.
func (p *peers) handshake() [3]sent {
	var options [2][]byte
	for d := range options {
		if p.rng.IntN(3) > 0 {
			options[d] = []byte{optionNop, optionScale, 3, uint8(p.rng.IntN(16)), optionSACKPerm, 2, 1, 1}
		}
	}
	syn := tcpSpec{flags: packet.SYN, seq: p.next[0], win: 60000, options: options[0]}
	synAck := tcpSpec{flags: packet.SYN | packet.ACK, seq: p.next[1], ack: p.next[0] + 1, win: 60000, options: options[1]}
	p.next[0]++
	p.next[1]++
	p.acked = p.next
	ack := tcpSpec{flags: packet.ACK, seq: p.next[0], ack: p.next[1], win: 60000}
	return [3]sent{{DirOriginal, syn}, {DirReply, synAck}, {DirOriginal, ack}}
}

// segment returns what one of them sends next.
func (p *peers) segment() sent {
	r := p.rng
	if r.IntN(6) == 0 && p.last.spec.flags != 0 {
		return p.last // again
	}
	d := Dir(r.IntN(2))
	o := d.Opposite()
	s := tcpSpec{flags: packet.ACK, seq: p.next[d], ack: p.next[o], win: uint16(r.IntN(65536))}
	if r.IntN(3) == 0 {
		s.ack = p.acked[o]
	}
	if r.IntN(2) == 0 {
		s.payload, s.flags = 1+r.IntN(1400), s.flags|packet.PSH
		p.next[d] += uint32(s.payload)
	}
	switch r.IntN(40) {
	case 0:
		s.seq -= uint32(r.IntN(200_000))
	case 1:
		s.seq += uint32(r.IntN(200_000))
	case 2:
		s.ack += uint32(r.IntN(200_000)) - 100_000
	case 3:
		s.win = 0
	case 4:
		s.options = []byte{1, 1, optionSACK, 10, 0, 0, 0, 0, 0, 0, 0, 0}
		copy(s.options[8:], []byte{byte(p.next[o] >> 24), byte(p.next[o] >> 16), byte(p.next[o] >> 8), byte(p.next[o])})
		s.ack = p.acked[o]
	case 5:
		s.flags |= packet.RST
		s.seq += 1 + uint32(r.IntN(3))
	case 6:
		s.options = []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	case 7:
		s.flags = packet.SYN
	}
	if s.flags&packet.ACK != 0 && s.ack == p.next[o] {
		p.acked[o] = s.ack
	}
	p.last = sent{d, s}
	return p.last
}

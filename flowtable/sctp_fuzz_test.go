package flowtable

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// FuzzSCTP plays packets of an association, and compares state, tags, lifetime and what
// is refused with sctpModel. The input is a list of packets: direction (one byte), length
// (two), the packet from its ports on. The corpus has the packets that pion/sctp sent in
// associations that were opened by one end or both, shut down, reset and aborted.
func FuzzSCTP(f *testing.F) {
	script := func(lines ...sctpLine) (b []byte) {
		for _, l := range lines {
			p := slices.Concat(append([][]byte{make([]byte, packet.SCTPLen)}, l.chunks...)...)
			binary.BigEndian.PutUint32(p[4:], l.tag)
			b = append(b, byte(l.d), byte(len(p)>>8), byte(len(p)))
			b = append(b, p...)
		}
		return b
	}
	o, r := DirOriginal, DirReply
	bundle := func(kinds ...uint8) (list [][]byte) {
		for _, kind := range kinds {
			list = append(list, chunk(kind, 0, 5))
		}
		return list
	}
	f.Add(script(sctpLine{o, toServer, bundle(sctpHeartbeat), ""}, sctpLine{r, toClient, bundle(sctpHeartbeatAck), ""}, // a second path
		sctpLine{o, 77, bundle(sctpHeartbeat), ""}, sctpLine{r, 78, bundle(sctpHeartbeatAck), ""}, sctpLine{o, 77, bundle(sctpHeartbeat), ""})) // and a restart
	for _, kinds := range [][]uint8{{sctpHeartbeat, sctpShutdown}, {193, sctpShutdown}, {132, 0}, {sctpInit, 0}, {sctpAbort}, {sctpShutdownAck, sctpError}} {
		f.Add(script(append(sctpHandshake(), sctpLine{o, 77, bundle(kinds...), ""}, sctpLine{r, toClient, bundle(kinds...), ""})...))
	}
	f.Add(script(append(sctpHandshake(), sctpLine{r, toServer, [][]byte{chunk(sctpAbort, 1, 0)}, ""}, sctpLine{o, 0, bundle(sctpInit), ""})...))
	tb, err := New(Options{MaxFlows: 8})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		g := sctpGame{t: t, tb: tb, tr: NewTracker(), now: 1000}
		defer func() {
			if g.idx != 0 {
				tb.Remove(g.idx)
			}
		}()
		for n := 0; len(input) >= 3 && n < 40; n++ {
			d, length := Dir(input[0]&1), min((int(input[1])<<8|int(input[2]))%1000, len(input)-3)
			b := input[3 : 3+length]
			if input = input[3+length:]; len(b) >= packet.SCTPLen {
				g.play(n, d, b)
			}
		}
	})
}

// sctpGame plays packets against both.
type sctpGame struct {
	t   *testing.T
	tb  *Table
	tr  *Tracker
	m   sctpModel
	idx uint32 // 0 = no flow yet
	now Tick
}

func (g *sctpGame) play(n int, d Dir, b []byte) {
	frame := frame4(packet.ProtoSCTP, b)
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		g.t.Fatal("parse")
	}
	tag, chunks := binary.BigEndian.Uint32(b[4:]), b[packet.SCTPLen:]
	g.now += 10
	if g.idx == 0 {
		g.begin(n, frame, &h, tag, chunks)
		return
	}
	flow, seen := *g.tb.Flow(g.idx), g.tb.windows[g.idx]
	s := g.tr.Advance(g.tb, g.idx, d, frame, &h, g.now)
	ok, renews := g.m.next(int(d), tag, chunks)
	if valid := s.Outcome != OutcomeInvalid; valid != ok {
		g.t.Fatalf("packet %d, direction %d: %v %v, the model says valid: %v; %+v\n%x", n, d, s.Outcome, s.Cause, ok, g.m, b)
	}
	if !ok && (*g.tb.Flow(g.idx) != flow || g.tb.windows[g.idx] != seen) {
		g.t.Fatalf("packet %d is invalid and has changed the flow", n)
	}
	if renewed := g.tb.Flow(g.idx).LastSeen == g.now; ok && renewed != renews {
		g.t.Fatalf("packet %d renews the flow: %v, the model says %v", n, renewed, renews)
	}
	g.compare(n)
}

func (g *sctpGame) begin(n int, frame []byte, h *packet.Headers, tag uint32, chunks []byte) {
	state, timeout, cause := g.tr.Start(frame, h)
	m := sctpModel{}
	if ok := m.start(tag, chunks); ok != (cause == InvalidNone) {
		g.t.Fatalf("packet %d begins: %v, the model says %v\n%x", n, cause, ok, frame)
	} else if !ok {
		return
	}
	tu := tuple4(1)
	tu.Proto = packet.ProtoSCTP
	g.m, g.idx = m, mustInsert(g.t, g.tb, tu, timeout, g.now)
	g.tb.Flow(g.idx).SetState(state)
	g.tr.Begin(g.tb, g.idx, frame, h)
	g.compare(n)
}

// compare holds the flow against the model.
func (g *sctpGame) compare(n int) {
	f, w := g.tb.Flow(g.idx), &g.tb.windows[g.idx]
	if got := SCTPState(f.State()).String(); got != g.m.state {
		g.t.Fatalf("after packet %d: %s, want %s", n, got, g.m.state)
	}
	if got := [2]uint32{w.side[0].end, w.side[1].end}; got != g.m.known {
		g.t.Fatalf("after packet %d: tags %x, want %x", n, got, g.m.known)
	}
	if f.LastSeen == g.now && f.Timeout() != g.tr.Timeouts.SCTP[f.State()] {
		g.t.Fatalf("after packet %d: lives for %d ticks in %s", n, f.Timeout(), g.m.state)
	}
	if assured := f.Status()&StatusAssured != 0; assured != g.m.assured {
		g.t.Fatalf("after packet %d: assured %v, want %v", n, assured, g.m.assured)
	}
}

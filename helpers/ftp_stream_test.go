package helpers_test

import (
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/packet"
)

const (
	portIn  = "PORT 10,99,1,2,25,0\r\n"
	portOut = "PORT 10,99,2,1,25,0\r\n"
)

// want sends the next segment of a direction and checks what becomes of it; ""
// = dropped.
func (e *session) want(d flowtable.Dir, in, out string, cause helpers.Cause) {
	e.t.Helper()
	e.wantAt(d, e.seq[d], in, out, cause)
	e.seq[d] += uint32(len(in))
}

func (e *session) wantAt(d flowtable.Dir, seq uint32, in, out string, cause helpers.Cause) {
	e.t.Helper()
	got, v := e.sendAt(d, seq, in)
	if got != out || (v == drop) != (out == "") || e.c.Cause != cause {
		e.t.Errorf("%q became %q, cause %v; want %q, %v", in, got, e.c.Cause, out, cause)
	}
}

// A command in two segments: the start is kept back, and goes with the rest.
func TestFTPSplitCommandIsJoined(t *testing.T) {
	for at := 1; at < len(portIn)-1; at++ {
		e := newSession(t, snat4)
		e.greet()
		e.want(orig, portIn[:at], "", helpers.CausePartial)
		e.want(orig, portIn[at:], portOut, helpers.CauseExpected)
		if n := e.counters.Load(helpers.IDFTP, helpers.CauseJoined); n != 1 {
			t.Errorf("split at %d: %d joined", at, n)
		}
		if seq := packet.TCP(e.c.Frame[e.h.L4:]).Seq(); seq != e.seq[orig]-uint32(len(portIn)) {
			t.Errorf("split at %d: sequence number %d", at, seq)
		}
		e.checkPending("10.99.2.2", "10.99.2.1:6400")
		e.want(orig, "LIST\r\n", "LIST\r\n", helpers.CauseNone)
	}
}

// One byte in each segment.
func TestFTPByteByByte(t *testing.T) {
	for _, tt := range []struct {
		sides sides
		dir   flowtable.Dir
		in    string
		out   string
		dst   string
	}{
		{snat4, orig, portIn, portOut, "10.99.2.1:6400"},
		{snat4, reply, "227 Entering (10,99,2,2,40,2)\r\n", "227 Entering (10,99,2,2,40,2)\r\n", "10.99.2.2:10242"},
		{sides{client: "10.99.1.2:35002", server: "10.99.2.2:21"}, orig, portIn, portIn, "10.99.1.2:6400"},
		{snat6, orig, "EPRT |2|fd99:1::2|6400|\r\n", "EPRT |2|fd99:2::1|6400|\r\n", "[fd99:2::1]:6400"},
	} {
		e := newSession(t, tt.sides)
		e.greet()
		var out strings.Builder
		for i := range tt.in {
			got, v := e.sendAt(tt.dir, e.seq[tt.dir], tt.in[i:i+1])
			if v != drop {
				out.WriteString(got)
			}
			e.seq[tt.dir]++
		}
		if out.String() != tt.out {
			t.Errorf("%q became %q, want %q", tt.in, out.String(), tt.out)
		}
		peer := netipOf(tt.sides.server)
		if tt.dir == reply {
			peer = netipOf(tt.sides.client)
		}
		e.checkPending(peer, tt.dst)
	}
}

// netipOf returns the address of "addr:port".
func netipOf(s string) string { return strings.Trim(s[:strings.LastIndexByte(s, ':')], "[]") }

// A sender that waits for an acknowledgement before the rest of a command does
// not wait for ever: the third time it goes as it is, and announces nothing.
func TestFTPSplitCommandGivesUp(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	seq := e.seq[orig]
	e.wantAt(orig, seq, portIn[:9], "", helpers.CausePartial)
	e.wantAt(orig, seq, portIn[:9], "", helpers.CausePartial)
	e.want(orig, portIn[:9], portIn[:9], helpers.CauseSplit)
	e.want(orig, portIn[9:], portIn[9:], helpers.CauseNone)
	e.checkPending("", "")
	e.want(orig, portIn, portOut, helpers.CauseExpected)
}

// A start too long to be kept.
func TestFTPSplitTooLong(t *testing.T) {
	s := sides{client: "198.51.100.9:5000", server: "203.0.113.1:21", target: "10.0.0.7:2121", pool: "203.0.113.1"}
	e := newSession(t, s)
	e.greet()
	long := "227 " + strings.Repeat("-", 60)
	e.want(reply, long, long, helpers.CauseSplit)
}

// Lines before and after an announcement in its segment.
func TestFTPSeveralCommands(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.want(orig, "TYPE I\r\nPWD\r\n"+portIn+"RETR f\r\n", "TYPE I\r\nPWD\r\n"+portOut+"RETR f\r\n", helpers.CauseExpected)
	// The second announcement has to come again, and then replaces the first.
	first := e.added.ID
	second := "EPRT |1|10.99.1.2|6401|\r\n"
	seq := e.seq[orig]
	e.wantAt(orig, seq, portIn+second, portOut, helpers.CauseSecond)
	if e.removed.ID != first || e.added.ID == 0 {
		t.Errorf("removed %d, added %d", e.removed.ID, e.added.ID)
	}
	e.wantAt(orig, seq+uint32(len(portIn)), second, "EPRT |1|10.99.2.1|6401|\r\n", helpers.CauseExpected)
	e.checkPending("10.99.2.2", "10.99.2.1:6401")
	// A start of a command after others is taken off alone.
	e.seq[orig] = seq + uint32(len(portIn)+len(second))
	e.send(reply, "200 ok\r\n")
	e.wantAt(orig, e.seq[orig], "NOOP\r\nPORT 10,", "NOOP\r\n", helpers.CausePartial)
	e.wantAt(orig, e.seq[orig]+uint32(len("NOOP\r\nPORT 10,")), "99,1,2,25,5\r\n", "PORT 10,99,2,1,25,5\r\n", helpers.CauseExpected)
	e.checkPending("10.99.2.2", "10.99.2.1:6405")
}

// What comes before the segment is missing: it has to come again, in order.
func TestFTPReordered(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	seq := e.seq[orig]
	const noop = "NOOP\r\n"
	e.wantAt(orig, seq+uint32(len(noop)), portIn, "", helpers.CauseReordered)
	e.wantAt(orig, seq, noop, noop, helpers.CauseNone)
	e.wantAt(orig, seq+uint32(len(noop)), portIn, portOut, helpers.CauseExpected)
}

// What the helper has not seen, but the receiver has, is not waited for.
func TestFTPAcknowledgedUnseen(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.seq[orig] += 100
	e.send(reply, "200 ok\r\n") // acknowledges it
	e.want(orig, portIn, portIn, helpers.CauseNone)
	e.want(orig, portIn, portOut, helpers.CauseExpected)
}

// A retransmission that divides a changed text elsewhere: whoever has the first
// byte carries all of it.
func TestFTPRetransmitDividedElsewhere(t *testing.T) {
	s := snat4
	s.public, s.pool = "203.0.113.200:35002", "203.0.113.200"
	e := newSession(t, s)
	e.greet()
	seq := e.seq[orig]
	const out = "PORT 203,0,113,200,25,0\r\n"
	e.want(orig, portIn, out, helpers.CauseExpected)
	e.wantAt(orig, seq, portIn[:9], out[:len(out)-2], helpers.CauseRepeated)
	e.wantAt(orig, seq, portIn[:3], portIn[:3], helpers.CauseNone)
	e.wantAt(orig, seq+9, portIn[9:], "\r\n", helpers.CauseNone)
	if got := packet.TCP(e.c.Frame[e.h.L4:]).Seq(); got != seq+uint32(len(portIn))-2 {
		t.Errorf("the rest starts at %d", got)
	}
	e.wantAt(orig, seq+9, portIn[9:12], "", helpers.CauseOutdated)
	// Another text at its place.
	e.wantAt(orig, seq, "PORT ||||||||,2,25,0\r\n", "PORT ", helpers.CauseOutdated)
}

// Grown over the MTU, the end of a segment is cut off and comes again.
func TestFTPAtTheMTU(t *testing.T) {
	s := snat4
	s.public, s.pool = "203.0.113.200:35002", "203.0.113.200"
	e := newSession(t, s)
	e.greet()
	e.c.MTU = 600
	fill := "SITE " + strings.Repeat("x", 600-40-len(portIn)-7) + "\r\n"
	seq := e.seq[orig]
	frame := e.frame(orig, seq, packet.ACK|packet.FIN, portIn+fill)
	got, v := e.pass(orig, frame)
	if v != changed || e.h.End-e.h.L3 != 600 || !strings.HasPrefix(got, "PORT 203,0,113,200,25,0\r\nSITE xxx") {
		t.Fatalf("verdict %d, %d bytes, %q", v, e.h.End-e.h.L3, got)
	}
	if e.h.TCPFlags&packet.FIN != 0 || packet.TCP(e.c.Frame[e.h.L4:]).Flags()&packet.FIN != 0 {
		t.Error("FIN before the end")
	}
	if e.counters.Load(helpers.IDFTP, helpers.CauseCut) != 1 || e.counters.Load(helpers.IDFTP, helpers.CauseExpected) != 1 {
		t.Error("not counted")
	}
	const lost = 4 // as many bytes as the text has grown
	end := portIn + fill
	rest := end[len(end)-lost:]
	e.wantAt(orig, seq+uint32(len(end)-lost), rest, rest, helpers.CauseNone)
	// The whole again: the same.
	if again, _ := e.pass(orig, e.frame(orig, seq, packet.ACK, end)); again != got {
		t.Errorf("again: %q", again)
	}
	// The text itself has no room.
	e.seq[orig] = seq + uint32(len(end))
	e.c.MTU = uint16(40 + len(portIn))
	e.want(orig, portIn, "", helpers.CauseNoRoom)
}

// A segment longer than the MTU is not touched: its sender hears of it.
func TestFTPLongerThanMTU(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.c.MTU = 60
	e.want(orig, portIn, portIn, helpers.CauseNone)
}

// Changes that nobody has acknowledged are all remembered; one too many waits.
func TestFTPUnacknowledged(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	for range flowtable.SeqChanges {
		e.want(orig, portIn, portOut, helpers.CauseExpected)
	}
	seq := e.seq[orig]
	e.wantAt(orig, seq, portIn, "", helpers.CauseUnacknowledged)
	e.send(reply, "200 ok\r\n")
	e.wantAt(orig, seq, portIn, portOut, helpers.CauseExpected)
}

// TestFTPUrgentTakenOff: the sender divides an announcement that the receiver has, and
// urgent data were in the part that is taken off: the rest is not urgent.
func TestFTPUrgentTakenOff(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	at := e.seq[orig]
	e.want(orig, portIn, portOut, helpers.CauseExpected)
	e.urgent = 3
	got, _ := e.pass(orig, e.frame(orig, at+8, packet.ACK|packet.URG, portIn[8:]))
	h := packet.TCP(e.c.Frame[e.h.L4:])
	if got != "\r\n" || h.Flags()&packet.URG != 0 || h.Urgent() != 0 {
		t.Errorf("%q, flags %#x, urgent pointer %d", got, h.Flags(), h.Urgent())
	}
}

package flowtable

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// chunk builds an SCTP chunk; INIT and INIT ACK begin with the tag that they announce.
func chunk(kind, flags uint8, announced uint32) []byte {
	b := make([]byte, 20)
	b[0], b[1], b[3] = kind, flags, uint8(len(b))
	binary.BigEndian.PutUint32(b[4:], announced)
	return b
}

// sctpFrame builds an SCTP packet.
func sctpFrame(t *testing.T, tag uint32, chunks ...[]byte) ([]byte, packet.Headers) {
	t.Helper()
	b := make([]byte, packet.SCTPLen)
	binary.BigEndian.PutUint32(b[4:], tag)
	for _, c := range chunks {
		b = append(b, c...)
	}
	frame := frame4(packet.ProtoSCTP, b)
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		t.Fatal("parse")
	}
	return frame, h
}

// sctpLine is a packet of an association, and what it must do.
type sctpLine struct {
	d      Dir
	tag    uint32
	chunks [][]byte
	want   string
}

// playSCTP plays packets, ten ticks apart.
func playSCTP(t *testing.T, lines []sctpLine) {
	t.Helper()
	tr, tb := NewTracker(), newTable(t, 1)
	now, idx := Tick(1000), uint32(0)
	for i, l := range lines {
		now += 10
		frame, h := sctpFrame(t, l.tag, l.chunks...)
		var got string
		if idx == 0 {
			state, timeout, cause := tr.Start(frame, &h)
			if got = "reject " + cause.String(); cause == InvalidNone {
				tu := tuple4(1)
				tu.Proto = packet.ProtoSCTP
				idx = mustInsert(t, tb, tu, timeout, now)
				tb.Flow(idx).SetState(state)
				tr.Begin(tb, idx, frame, &h)
				got = fmt.Sprintf("new %v %d", SCTPState(state), timeout.Seconds())
			}
		} else {
			before := *tb.Flow(idx)
			s := tr.Advance(tb, idx, l.d, frame, &h, now)
			f := tb.Flow(idx)
			if got = "invalid " + s.Cause.String(); s.Outcome != OutcomeInvalid {
				got = fmt.Sprintf("%v %v %d", s.Outcome, SCTPState(f.State()), f.Timeout().Seconds())
				if s.Changes&ChangeAssured != 0 {
					got += " assured"
				}
			} else if *f != before {
				t.Errorf("packet %d: invalid, and changed the flow", i)
			}
		}
		if got != l.want {
			t.Errorf("packet %d: %s, want %s", i, got, l.want)
		}
	}
}

// Tags of the two ends in the tests: packets to the server carry 20, to the client 10.
const toClient, toServer = 10, 20

// sctpHandshake is the four packets of RFC 9260 section 5.1.
func sctpHandshake() []sctpLine {
	o, r := DirOriginal, DirReply
	return []sctpLine{
		{o, 0, [][]byte{chunk(sctpInit, 0, toClient)}, "new CLOSED 10"},
		{r, toClient, [][]byte{chunk(sctpInitAck, 0, toServer)}, "accept COOKIE_WAIT 3"},
		{o, toServer, [][]byte{chunk(sctpCookieEcho, 0, 0), chunk(0, 3, 0)}, "accept COOKIE_ECHOED 3"},
		{r, toClient, [][]byte{chunk(sctpCookieAck, 0, 0)}, "accept ESTABLISHED 210 assured"},
	}
}

func TestSCTPLife(t *testing.T) {
	o, r := DirOriginal, DirReply
	data := [][]byte{chunk(0, 3, 0)}
	playSCTP(t, append(sctpHandshake(),
		sctpLine{o, toServer, data, "accept ESTABLISHED 210"},
		sctpLine{r, toClient, data, "accept ESTABLISHED 210"},
		sctpLine{r, toClient + 1, data, "invalid sctp_tag"},
		sctpLine{o, 1, [][]byte{chunk(sctpInit, 0, 99)}, "invalid sctp_tag"},
		sctpLine{o, 77, [][]byte{chunk(sctpAbort, 0, 0)}, "invalid sctp_tag"},
		sctpLine{o, toServer, [][]byte{chunk(0, 3, 0), chunk(sctpCookieAck, 0, 0)}, "invalid sctp_chunk"},
		sctpLine{o, toServer, [][]byte{{0, 3, 0, 0}}, "invalid sctp_chunk"},
		sctpLine{o, toServer, [][]byte{chunk(sctpShutdown, 0, 0)}, "accept SHUTDOWN_SENT 3"},
		sctpLine{r, toClient, [][]byte{chunk(sctpShutdownAck, 0, 0)}, "accept SHUTDOWN_ACK_SENT 3"},
		sctpLine{o, toServer, [][]byte{chunk(sctpShutdownComplete, 0, 0)}, "accept CLOSED 10"},
	))
}

// TestSCTPAborts: an ABORT carries the receiver's tag, or with its T bit the
// sender's (RFC 9260 section 8.5.1).
func TestSCTPAborts(t *testing.T) {
	playSCTP(t, append(sctpHandshake(), sctpLine{DirOriginal, toServer, [][]byte{chunk(sctpAbort, 0, 0)}, "accept CLOSED 10"}))
	playSCTP(t, append(sctpHandshake(), sctpLine{DirReply, toServer, [][]byte{chunk(sctpAbort, 1, 0)}, "accept CLOSED 10"}))
}

// TestSCTPTagsOfBundles: one who does not know the tag cannot end an association by a
// chunk that needs no tag, or that nothing here follows, before the SHUTDOWN.
func TestSCTPTagsOfBundles(t *testing.T) {
	const asconf, pad = 193, 132 // RFC 5061, RFC 4820
	for _, first := range []uint8{asconf, pad, sctpHeartbeat, sctpShutdownAck, 129} {
		for _, second := range []uint8{sctpShutdown, sctpError, 0} {
			playSCTP(t, append(sctpHandshake(),
				sctpLine{DirReply, 77, [][]byte{chunk(first, 0, 0), chunk(second, 0, 0)}, "invalid sctp_tag"},
				sctpLine{DirOriginal, toServer, [][]byte{chunk(0, 3, 0)}, "accept ESTABLISHED 210"}))
		}
	}
	playSCTP(t, append(sctpHandshake(), sctpLine{DirReply, toClient, [][]byte{chunk(asconf, 0, 0), chunk(0, 3, 0)}, "accept ESTABLISHED 210"}))
}

func TestSCTPStarts(t *testing.T) {
	for kind, want := range map[uint8]string{
		0: "reject sctp_new", sctpInit: "new CLOSED 10", sctpHeartbeat: "new HEARTBEAT_SENT 30",
		sctpShutdownAck: "new SHUTDOWN_ACK_SENT 3", sctpAbort: "reject sctp_new",
		sctpShutdownComplete: "reject sctp_new", sctpCookieAck: "reject sctp_new",
	} {
		playSCTP(t, []sctpLine{{DirOriginal, 0, [][]byte{chunk(kind, 0, 7)}, want}})
	}
	playSCTP(t, []sctpLine{{DirOriginal, 5, [][]byte{chunk(sctpInit, 0, 7)}, "reject sctp_new"}})
	playSCTP(t, []sctpLine{{DirOriginal, 0, nil, "reject sctp_chunk"}})
	// Nobody has told a tag that these could carry.
	for _, kind := range []uint8{sctpInitAck, sctpShutdown, sctpError, sctpCookieEcho} {
		playSCTP(t, []sctpLine{{DirOriginal, 5, [][]byte{chunk(kind, 0, 7)}, "reject sctp_tag"}})
		playSCTP(t, []sctpLine{{DirOriginal, 0, [][]byte{chunk(kind, 0, 7)}, "new CLOSED 10"}})
	}
}

// TestSCTPSecondPath: a heartbeat over another path makes a flow of its own; a
// retransmitted INIT does not renew a flow; a reply that no state allows is invalid.
func TestSCTPSecondPath(t *testing.T) {
	o, r := DirOriginal, DirReply
	playSCTP(t, []sctpLine{
		{o, toServer, [][]byte{chunk(sctpHeartbeat, 0, 0)}, "new HEARTBEAT_SENT 30"},
		{r, toClient, [][]byte{chunk(sctpShutdown, 0, 0)}, "invalid sctp_tag"},
		{r, toClient, [][]byte{chunk(sctpHeartbeatAck, 0, 0)}, "accept ESTABLISHED 210 assured"},
		{o, toServer, [][]byte{chunk(0, 3, 0)}, "accept ESTABLISHED 210"},
	})
	playSCTP(t, []sctpLine{
		{o, 0, [][]byte{chunk(sctpInit, 0, toClient)}, "new CLOSED 10"},
		{o, 0, [][]byte{chunk(sctpInit, 0, toClient)}, "ignore CLOSED 10"},
	})
	playSCTP(t, []sctpLine{
		{o, toServer, [][]byte{chunk(sctpHeartbeat, 0, 0)}, "new HEARTBEAT_SENT 30"},
		{r, 0, [][]byte{chunk(sctpInit, 0, 5)}, "invalid sctp_state"},
	})
}

// TestSCTPNames: states parse as they print.
func TestSCTPNames(t *testing.T) {
	for s := range sctpStates {
		if got, ok := ParseSCTPState(s.String()); !ok || got != s {
			t.Errorf("state %v does not parse", s)
		}
	}
	if _, ok := ParseSCTPState("LISTEN"); ok {
		t.Error("unknown state accepted")
	}
}

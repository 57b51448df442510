package helpers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

const (
	orig  = flowtable.DirOriginal
	reply = flowtable.DirReply

	drop    = helpers.VerdictDrop
	accept  = helpers.VerdictAccept
	changed = helpers.VerdictChanged
)

// snat4 is the exchange of conntrack's own tests: a client behind SNAT.
var snat4 = sides{client: "10.99.1.2:35002", server: "10.99.2.2:21", public: "10.99.2.1:35002", pool: "10.99.2.1"}

// snat6 is the same over IPv6.
var snat6 = sides{client: "[fd99:1::2]:35002", server: "[fd99:2::2]:21", public: "[fd99:2::1]:35002", pool: "fd99:2::1"}

// ftpEdges is what a 6.18 kernel does with one segment, and where this helper
// deviates on purpose.
var ftpEdges = []struct {
	name  string
	sides sides
	dir   flowtable.Dir
	in    string
	want  string // text that the other side gets; "" = dropped
	cause helpers.Cause
	dst   string // destination of the expectation
}{
	{"port", snat4, orig, "PORT 10,99,1,2,25,0\r\n", "PORT 10,99,2,1,25,0\r\n", helpers.CauseExpected, "10.99.2.1:6400"},
	{"port-lower-case", snat4, orig, "port 10,99,1,2,25,0\r\n", "port 10,99,2,1,25,0\r\n", helpers.CauseExpected, "10.99.2.1:6400"},
	{"port-bare-lf", snat4, orig, "PORT 10,99,1,2,25,0\n", "PORT 10,99,1,2,25,0\n", helpers.CauseMalformed, ""},
	{"port-two-spaces", snat4, orig, "PORT  10,99,1,2,25,0\r\n", "PORT  10,99,1,2,25,0\r\n", helpers.CauseMalformed, ""},
	{"port-seven-numbers", snat4, orig, "PORT 10,99,1,2,25,0,1\r\n", "PORT 10,99,1,2,25,0,1\r\n", helpers.CauseMalformed, ""},
	{"port-five-numbers", snat4, orig, "PORT 10,99,1,2,25\r\n", "PORT 10,99,1,2,25\r\n", helpers.CauseMalformed, ""},
	{"port-split-in-numbers", snat4, orig, "PORT 10,99,1", "", helpers.CausePartial, ""},
	{"port-split-after-p", snat4, orig, "P", "", helpers.CausePartial, ""},
	{"port-split-after-verb", snat4, orig, "PORT", "", helpers.CausePartial, ""},
	{"port-split-before-crlf", snat4, orig, "PORT 10,99,1,2,25,0", "", helpers.CausePartial, ""},
	{"port-split-in-crlf", snat4, orig, "PORT 10,99,1,2,25,0\r", "PORT 10,99,2,1,25,0\r", helpers.CauseExpected, "10.99.2.1:6400"},
	{"port-other-host", snat4, orig, "PORT 10,99,1,9,25,0\r\n", "PORT 10,99,1,9,25,0\r\n", helpers.CauseOtherAddress, ""},
	// The kernel expects port 21: no guard for privileged ports.
	{"port-privileged", snat4, orig, "PORT 10,99,1,2,0,21\r\n", "PORT 10,99,1,2,0,21\r\n", helpers.CausePrivilegedPort, ""},
	{"port-1023", snat4, orig, "PORT 10,99,1,2,3,255\r\n", "PORT 10,99,1,2,3,255\r\n", helpers.CausePrivilegedPort, ""},
	{"port-1024", snat4, orig, "PORT 10,99,1,2,4,0\r\n", "PORT 10,99,2,1,4,0\r\n", helpers.CauseExpected, "10.99.2.1:1024"},
	// The kernel drops it too, but leaves an expectation for port 0.
	{"port-zero", snat4, orig, "PORT 10,99,1,2,0,0\r\n", "PORT 10,99,1,2,0,0\r\n", helpers.CausePortZero, ""},
	// The kernel takes 258 as 2 with a carry into the octet before.
	{"port-octet-258", snat4, orig, "PORT 10,99,1,258,25,0\r\n", "PORT 10,99,1,258,25,0\r\n", helpers.CauseMalformed, ""},
	// The kernel takes an empty number as 0.
	{"port-empty-number", snat4, orig, "PORT 10,99,1,2,25,\r\n", "PORT 10,99,1,2,25,\r\n", helpers.CauseMalformed, ""},
	{"port-negative", snat4, orig, "PORT 10,99,1,2,25,-1\r\n", "PORT 10,99,1,2,25,-1\r\n", helpers.CauseMalformed, ""},
	{"port-without-blank", snat4, orig, "PORTS 10,99,1,2,25,0\r\n", "PORTS 10,99,1,2,25,0\r\n", helpers.CauseNotFTP, ""},
	{"second-command-in-segment", snat4, orig, "NOOP\r\nPORT 10,99,1,2,25,0\r\n", "NOOP\r\nPORT 10,99,2,1,25,0\r\n", helpers.CauseExpected, "10.99.2.1:6400"},
	{"two-ports-in-segment", snat4, orig, "PORT 10,99,1,2,25,0\r\nPORT 10,99,1,2,25,1\r\n", "PORT 10,99,2,1,25,0\r\n", helpers.CauseSecond, "10.99.2.1:6400"},
	{"port-from-server", snat4, reply, "PORT 10,99,2,2,25,0\r\n", "PORT 10,99,2,2,25,0\r\n", helpers.CauseNotFTP, ""},
	{"other-command", snat4, orig, "RETR file\r\n", "RETR file\r\n", helpers.CauseNone, ""},

	{"eprt", snat4, orig, "EPRT |1|10.99.1.2|6400|\r\n", "EPRT |1|10.99.2.1|6400|\r\n", helpers.CauseExpected, "10.99.2.1:6400"},
	{"eprt-other-delimiter", snat4, orig, "EPRT !1!10.99.1.2!6400!\r\n", "EPRT |1|10.99.2.1|6400|\r\n", helpers.CauseExpected, "10.99.2.1:6400"},
	{"eprt-without-last-delimiter", snat4, orig, "EPRT |1|10.99.1.2|6400\r\n", "EPRT |1|10.99.1.2|6400\r\n", helpers.CauseMalformed, ""},
	{"eprt-v6-on-v4", snat4, orig, "EPRT |2|fd99::1|6400|\r\n", "EPRT |2|fd99::1|6400|\r\n", helpers.CauseMalformed, ""},
	{"eprt-port-zero", snat4, orig, "EPRT |1|10.99.1.2|0|\r\n", "EPRT |1|10.99.1.2|0|\r\n", helpers.CausePortZero, ""},
	{"eprt-port-65536", snat4, orig, "EPRT |1|10.99.1.2|65536|\r\n", "EPRT |1|10.99.1.2|65536|\r\n", helpers.CauseMalformed, ""},
	{"eprt-split-in-address", snat4, orig, "EPRT |1|10.99", "", helpers.CausePartial, ""},
	{"eprt-split-in-port", snat4, orig, "EPRT |1|10.99.1.2|64", "", helpers.CausePartial, ""},
	{"eprt-digit-delimiter", snat4, orig, "EPRT 313fd9936400|\r\n", "EPRT 313fd9936400|\r\n", helpers.CauseMalformed, ""},
	{"eprt-v6", snat6, orig, "EPRT |2|fd99:1::2|6400|\r\n", "EPRT |2|fd99:2::1|6400|\r\n", helpers.CauseExpected, "[fd99:2::1]:6400"},
	{"eprt-v6-long-form", snat6, orig, "EPRT |2|FD99:0001:0:0:0:0:0:2|6400|\r\n", "EPRT |2|fd99:2::1|6400|\r\n", helpers.CauseExpected, "[fd99:2::1]:6400"},
	{"eprt-v6-zone", snat6, orig, "EPRT |2|fd99:1::2%eth0|6400|\r\n", "EPRT |2|fd99:1::2%eth0|6400|\r\n", helpers.CauseMalformed, ""},
	{"eprt-v4-on-v6", snat6, orig, "EPRT |1|10.99.1.2|6400|\r\n", "EPRT |1|10.99.1.2|6400|\r\n", helpers.CauseMalformed, ""},
	{"port-on-v6", snat6, orig, "PORT 10,99,1,2,25,0\r\n", "PORT 10,99,1,2,25,0\r\n", helpers.CauseOtherAddress, ""},

	{"227-parentheses", snat4, reply, "227 Entering Passive Mode (10,99,2,2,40,2).\r\n", "227 Entering Passive Mode (10,99,2,2,40,2).\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"227-bare", snat4, reply, "227 10,99,2,2,40,2\r\n", "227 10,99,2,2,40,2\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"227-earlier-digit", snat4, reply, "227 mode 7 (10,99,2,2,40,2)\r\n", "227 mode 7 (10,99,2,2,40,2)\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"227-split", snat4, reply, "227 Entering (10,99,2", "227 Entering (10,99,2", helpers.CauseNone, ""},
	{"227-without-terminator", snat4, reply, "227 Entering 10,99,2,2,40,2", "227 Entering 10,99,2,2,40,2", helpers.CauseNone, ""},
	{"227-without-numbers", snat4, reply, "227 Entering\r\n", "227 Entering\r\n", helpers.CauseMalformed, ""},
	{"227-second-line", snat4, reply, "227-hello\r\n227 (10,99,2,2,40,2)\r\n", "227-hello\r\n227 (10,99,2,2,40,2)\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"227-other-address", snat4, reply, "227 (10,99,2,9,40,2)\r\n", "227 (10,99,2,9,40,2)\r\n", helpers.CauseOtherAddress, ""},
	{"227-from-client", snat4, orig, "227 (10,99,1,2,40,2)\r\n", "227 (10,99,1,2,40,2)\r\n", helpers.CauseNotFTP, ""},
	{"229", snat4, reply, "229 Extended (|||10242|)\r\n", "229 Extended (|||10242|)\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"229-without-parentheses", snat4, reply, "229 Extended |||10242|\r\n", "229 Extended |||10242|\r\n", helpers.CauseExpected, "10.99.2.2:10242"},
	{"229-with-address", snat4, reply, "229 Extended (|1|10.99.2.2|10242|)\r\n", "229 Extended (|1|10.99.2.2|10242|)\r\n", helpers.CauseMalformed, ""},
	{"229-split", snat4, reply, "229 Extended (|||102", "229 Extended (|||102", helpers.CauseNone, ""},
	{"229-v6", snat6, reply, "229 Extended (|||10242|)\r\n", "229 Extended (|||10242|)\r\n", helpers.CauseExpected, "[fd99:2::2]:10242"},
	{"reply-split-after-2", snat4, reply, "2", "2", helpers.CauseNone, ""},
}

func TestFTPEdges(t *testing.T) {
	for _, tt := range ftpEdges {
		t.Run(tt.name, func(t *testing.T) {
			e := newSession(t, tt.sides)
			e.greet()
			got, v := e.send(tt.dir, tt.in)
			want := accept
			if tt.want == "" {
				want = drop
			} else if tt.want != tt.in {
				want = changed
			}
			if v != want || got != tt.want || e.c.Cause != tt.cause {
				t.Fatalf("verdict %d %q, cause %v; want %d %q, %v", v, got, e.c.Cause, want, tt.want, tt.cause)
			}
			peer := tt.sides.server
			if tt.dir == reply {
				peer = tt.sides.client
			}
			peer = strings.Trim(peer[:strings.LastIndexByte(peer, ':')], "[]")
			e.checkPending(peer, tt.dst)
			if tt.cause != helpers.CauseNone && e.counters.Load(helpers.IDFTP, tt.cause) != 1 {
				t.Errorf("cause %v counted %d times", tt.cause, e.counters.Load(helpers.IDFTP, tt.cause))
			}
		})
	}
}

func TestFTPNotAfterNewline(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.send(orig, "STOR x") // no end of line
	if got, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != accept || got == "" || e.c.Cause != helpers.CauseNone {
		t.Errorf("within a line: verdict %d, cause %v", v, e.c.Cause)
	}
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != changed {
		t.Errorf("after the line: verdict %d, cause %v", v, e.c.Cause)
	}
}

func TestFTPFirstSegment(t *testing.T) {
	e := newSession(t, snat4)
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != accept || e.c.Cause != helpers.CauseNone {
		t.Errorf("picked up in the middle: verdict %d, cause %v", v, e.c.Cause)
	}
	// With the handshake seen, the first data byte starts a line.
	e = handshake(t, snat4)
	// A stray SYN later changes nothing.
	e.pass(orig, e.frame(orig, e.seq[orig]+77, packet.SYN, ""))
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != changed {
		t.Errorf("first segment: verdict %d, cause %v", v, e.c.Cause)
	}
	if _, v := e.send(reply, "220 hi\r\n227 (10,99,2,2,40,2)\r\n"); v != accept || e.c.Cause != helpers.CauseExpected {
		t.Errorf("first reply: verdict %d, cause %v", v, e.c.Cause)
	}
}

func TestFTPBeforeReply(t *testing.T) {
	e := newSession(t, snat4)
	e.table.Flow(e.idx).ClearStatus(flowtable.StatusSeenReply)
	e.send(orig, "USER anna\r\n")
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != accept || e.pending() != nil {
		t.Errorf("traffic one way only: verdict %d", v)
	}
}

// TestFTPRetransmit: the same segment again gives the same text, the same
// expectation and no second sequence adjustment.
func TestFTPRetransmit(t *testing.T) {
	s := snat4
	s.public, s.pool = "203.0.113.200:35002", "203.0.113.200" // a longer text
	e := newSession(t, s)
	e.greet()
	const command = "PORT 10,99,1,2,25,0\r\n"
	seq := e.seq[orig]
	first, _ := e.send(orig, command)
	x, adj := *e.pending(), e.table.Ext(e.idx).SeqAdj
	if adj[0].N != 1 || adj[0].Changes[0].Start != seq+5 || adj[0].Changes[0].Offset != int32(len(first)-len(command)) || adj[0].Changes[0].Offset == 0 {
		t.Fatalf("sequence adjustment %+v", adj)
	}
	check := func(name string) {
		t.Helper()
		if e.c.Cause != helpers.CauseRepeated || e.added.ID != 0 || e.removed.ID != 0 {
			t.Errorf("%s: cause %v, events %d %d", name, e.c.Cause, e.added.ID, e.removed.ID)
		}
		if got := e.table.Ext(e.idx).SeqAdj; got != adj {
			t.Errorf("%s: sequence adjustment %+v, want %+v", name, got, adj)
		}
	}
	if got, v := e.sendAt(orig, seq, command); v != changed || got != first {
		t.Errorf("again: verdict %d %q, want %q", v, got, first)
	}
	check("again")
	if got := e.pending(); got == nil || *got != x {
		t.Errorf("expectation %+v, want %+v", got, x)
	}
	e.send(orig, "LIST\r\n")
	// Joined with the line before, as a sender may do.
	const user = "USER anna\r\n"
	if got, v := e.sendAt(orig, seq-uint32(len(user)), user+command+"LIST\r\n"); v != changed || got != user+first+"LIST\r\n" {
		t.Errorf("joined: verdict %d %q", v, got)
	}
	check("joined")
	// Consumed by the data connection: a late retransmission expects nothing.
	e.c.Expectations.Remove(x.ID)
	if got, v := e.sendAt(orig, seq, command); v != changed || got != first {
		t.Errorf("late: verdict %d %q, want %q", v, got, first)
	}
	check("late")
	e.checkPending("", "")
}

func TestFTPNewCommandReplaces(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.send(orig, "PORT 10,99,1,2,25,0\r\n")
	added := e.added
	if added.ID == 0 || added.Tuple.DstPort != 6400 || added.Deadline != 300*flowtable.TicksPerSecond {
		t.Errorf("added %+v", added)
	}
	if got := e.table.Ext(e.idx).Expect; got != added.ID {
		t.Errorf("flow's expectation %d, want %d", got, added.ID)
	}
	e.send(orig, "EPRT |1|10.99.1.2|6401|\r\n")
	if e.removed.ID != added.ID || e.added.ID == 0 || e.added.ID == added.ID {
		t.Errorf("removed %d, added %d, want %d removed", e.removed.ID, e.added.ID, added.ID)
	}
	e.checkPending("10.99.2.2", "10.99.2.1:6401")
	// The same port announced anew, at a new place in the stream.
	e.send(orig, "PORT 10,99,1,2,25,1\r\n")
	if e.c.Cause != helpers.CauseExpected || e.removed.ID == 0 || e.added.ID == 0 {
		t.Errorf("same port: cause %v", e.c.Cause)
	}
	e.checkPending("10.99.2.2", "10.99.2.1:6401")
}

// TestFTPBehindDNAT: the server's own address must not reach the client.
func TestFTPBehindDNAT(t *testing.T) {
	s := sides{client: "198.51.100.9:5000", server: "203.0.113.1:21", target: "10.0.0.7:2121", pool: "203.0.113.1"}
	for _, tt := range []struct{ in, want string }{
		{"227 Entering (10,0,0,7,40,2)\r\n", "227 Entering (203,0,113,1,40,2)\r\n"},
		{"229 Extended (!!!10242!)\r\n", "229 Extended (|||10242|)\r\n"},
	} {
		e := newSession(t, s)
		e.greet()
		if got, v := e.send(reply, tt.in); v != changed || got != tt.want {
			t.Errorf("verdict %d %q, want %q", v, got, tt.want)
		}
		e.checkPending("198.51.100.9", "203.0.113.1:10242")
		x := e.pending()
		if x.SavedAddr != e.reply.Src || x.SavedPort != 10242 || x.Dir != reply {
			t.Errorf("saved %v:%d, direction %v", x.SavedAddr, x.SavedPort, x.Dir)
		}
		// The data connection is led to the server.
		data := x.Tuple
		data.SrcPort = 5001
		c := e.c.Translator.Expected(e.table, &data, x, nil, &e.reply, 0)
		if c.Reason != nat.ReasonNone || c.Reply.Src != e.reply.Src || c.Reply.SrcPort != 10242 || c.Reply.Dst != data.Src {
			t.Errorf("data connection: %v %v", c.Reason, &c.Reply)
		}
	}
}

// TestFTPPortTaken: another master waits on the same port of the pool address;
// the text then names another port with the same owner.
func TestFTPPortTaken(t *testing.T) {
	s := snat4
	s.workers = 4
	e := newSession(t, s)
	e.greet()
	other := flowtable.Expectation{Tuple: flowtable.Tuple{Src: e.reply.Src, Dst: e.reply.Dst, DstPort: 6400, Proto: packet.ProtoTCP, Family: packet.IPv4},
		Master: flowtable.FlowID{Index: 99}, Deadline: 1 << 20}
	if r := e.c.Expectations.Add(&other); r != flowtable.AddOK {
		t.Fatal(r)
	}
	got, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n")
	x := e.added
	p := x.Tuple.DstPort
	if want := fmt.Sprintf("PORT 10,99,2,1,%d,%d\r\n", p>>8, p&0xff); v != changed || got != want {
		t.Errorf("verdict %d %q, want %q", v, got, want)
	}
	if p == 6400 || p < 1024 || nat.PortOwner(p, 4) != nat.PortOwner(6400, 4) || x.SavedPort != 6400 {
		t.Errorf("expectation on port %d for port %d", p, x.SavedPort)
	}
}

func TestFTPNoPort(t *testing.T) {
	s := snat4
	s.pool = "10.99.2.1:6400-6400"
	e := newSession(t, s)
	e.greet()
	if _, v := e.send(orig, "PORT 10,99,1,2,25,1\r\n"); v != changed || e.added.Tuple.DstPort != 6400 {
		t.Fatalf("verdict %d, port %d", v, e.added.Tuple.DstPort)
	}
	x := *e.pending()
	e.c.Expectations.Remove(x.ID)
	x.Master.Index = 99
	e.c.Expectations.Add(&x)
	if _, v := e.send(orig, "PORT 10,99,1,2,25,2\r\n"); v != drop || e.c.Cause != helpers.CauseNoPort {
		t.Errorf("verdict %d, cause %v, want no port", v, e.c.Cause)
	}
}

func TestFTPExpectationTableFull(t *testing.T) {
	e := newSession(t, snat4)
	e.c.Expectations = flowtable.NewExpectations(0)
	e.greet()
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != drop || e.c.Cause != helpers.CauseExpectFull {
		t.Errorf("verdict %d, cause %v", v, e.c.Cause)
	}
}

func TestFTPNoRoom(t *testing.T) {
	s := snat4
	s.public, s.pool = "203.0.113.200:35002", "203.0.113.200"
	e := newSession(t, s)
	e.greet()
	frame := e.frame(orig, e.seq[orig], packet.ACK, "PORT 10,99,1,2,25,0\r\n")
	if _, v := e.pass(orig, frame[:len(frame):len(frame)]); v != drop || e.c.Cause != helpers.CauseNoRoom {
		t.Errorf("verdict %d, cause %v", v, e.c.Cause)
	}
	if e.pending() != nil || e.added.ID != e.removed.ID || e.table.Flow(e.idx).Status()&flowtable.StatusSeqAdjust != 0 {
		t.Error("a dropped command left something behind")
	}
	if _, v := e.send(orig, "PORT 10,99,1,2,25,0\r\n"); v != changed || e.c.Cause != helpers.CauseExpected {
		t.Errorf("with room: verdict %d, cause %v", v, e.c.Cause)
	}
}

func TestFTPLoose(t *testing.T) {
	s := snat4
	s.spec = "ftp:loose"
	e := newSession(t, s)
	e.greet()
	if got, v := e.send(orig, "PORT 10,99,1,9,25,0\r\n"); v != changed || got != "PORT 10,99,2,1,25,0\r\n" {
		t.Errorf("another host: verdict %d %q", v, got)
	}
	if x := e.pending(); x.SavedAddr != packet.AddrFrom4([]byte{10, 99, 1, 9}) {
		t.Errorf("led to %v", x.SavedAddr.Netip(packet.IPv4))
	}
	if _, v := e.send(orig, "PORT 10,99,1,9,0,22\r\n"); v != accept || e.c.Cause != helpers.CausePrivilegedPort {
		t.Errorf("privileged port: verdict %d, cause %v", v, e.c.Cause)
	}
	// The client knows its public address.
	if _, v := e.send(orig, "PORT 10,99,2,1,25,3\r\n"); v == drop || e.c.Cause != helpers.CauseExpected || e.pending().SavedAddr != e.orig.Src {
		t.Errorf("public address: verdict %d, cause %v", v, e.c.Cause)
	}
}

func TestFTPTLS(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	e.send(orig, "AUTH TLS\r\n")
	e.send(reply, "234 go\r\n")
	for i, record := range []string{"\x16\x03\x01\x00\x05PORT\n", "\x17\x03\x03\x00\x09PORT 1,2\n", "\x17\x03\x03\x00\x01P\n"} {
		if got, v := e.send(orig, record); v != accept || got != record {
			t.Errorf("record %d: verdict %d", i, v)
		}
	}
	if n := e.counters.Load(helpers.IDFTP, helpers.CauseTLS); n != 1 {
		t.Errorf("TLS counted %d times, want once a flow", n)
	}
}

// A segment in fragments that cannot be made one packet is not read. With NAT it is
// kept back, lest an address from inside gets out, or text that was changed before comes
// again unchanged.
func TestFTPFragment(t *testing.T) {
	for _, tt := range []struct {
		s    sides
		want helpers.Verdict
	}{{snat4, drop}, {sides{client: "10.99.1.2:35002", server: "10.99.2.2:21"}, accept}} {
		e := newSession(t, tt.s)
		e.greet()
		frame := e.frame(orig, e.seq[orig], packet.ACK, "PORT 10,99,1,2,25,0\r\n")
		frame[20] |= 0x20 // more fragments
		if _, v := e.passUnchecked(frame); v != tt.want || e.c.Cause != helpers.CauseFragment {
			t.Errorf("verdict %d, cause %v", v, e.c.Cause)
		}
		e.checkPending("", "")
	}
}

// passUnchecked is pass for frames whose checksum cannot be right.
func (e *session) passUnchecked(frame []byte) (string, helpers.Verdict) {
	if r := packet.Parse(frame, &e.h); r != packet.ParseOK {
		e.t.Fatalf("parse: %d", r)
	}
	e.c.Index, e.c.Dir, e.c.Headers, e.c.Frame = e.idx, orig, &e.h, frame
	return "", e.set.Packet(helpers.IDFTP, &e.c)
}

func TestFTPAllocs(t *testing.T) {
	e := newSession(t, snat4)
	e.greet()
	const rounds = 1000
	for _, text := range []string{"", "RETR file\r\n", "STOR x", "PORT 10,99,1", "PORT 10,99,1,9,25,0\r\n", "\x17\x03\x03"} {
		frame := e.frame(orig, e.seq[orig], packet.ACK, text)
		if n := testing.AllocsPerRun(5, func() {
			for range rounds {
				packet.Parse(frame, &e.h)
				e.c.Index, e.c.Dir, e.c.Headers, e.c.Frame = e.idx, orig, &e.h, frame
				e.set.Packet(helpers.IDFTP, &e.c)
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations in %d packets", text, n, rounds)
		}
	}
}

func BenchmarkFTPPacket(b *testing.B) {
	e := newSession(b, snat4)
	frame := e.frame(orig, e.seq[orig], packet.ACK, "RETR file\r\n")
	packet.Parse(frame, &e.h)
	e.c.Index, e.c.Dir, e.c.Headers, e.c.Frame = e.idx, orig, &e.h, frame
	b.ReportAllocs()
	for b.Loop() {
		e.set.Packet(helpers.IDFTP, &e.c)
	}
}

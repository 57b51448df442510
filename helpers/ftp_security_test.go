package helpers_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/packet"
)

// handshake starts a session whose first bytes the helper sees.
func handshake(t *testing.T, s sides) *session {
	t.Helper()
	e := newSession(t, s)
	f := e.table.Flow(e.idx)
	f.SetState(uint8(flowtable.TCPSynSent))
	e.pass(orig, e.frame(orig, e.seq[orig]-1, packet.SYN, ""))
	f.SetState(uint8(flowtable.TCPSynRecv))
	e.pass(reply, e.frame(reply, e.seq[reply]-1, packet.SYN|packet.ACK, ""))
	e.established()
	return e
}

// said is a segment of a conversation.
type said struct {
	dir  flowtable.Dir
	text string
}

// Tricks of NAT slipstreaming: text of a page that a browser is made to send to
// the port of the helper, with the browser's own address, so that the address
// check does not help. None may announce anything, now or later.
var slipstreams = map[string][]said{
	"post":                   {{orig, "POST / HTTP/1.1\r\nHost: h\r\n\r\n" + portIn}},
	"post-at-segment-start":  {{orig, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"}, {orig, portIn}},
	"post-after-ftp-banner":  {{reply, "220 ready\r\n"}, {orig, "POST / HTTP/1.1\r\nHost: h\r\n\r\n"}, {orig, portIn}},
	"post-cut-in-its-name":   {{reply, "220 ready\r\n"}, {orig, "PO"}, {orig, "ST / HTTP/1.1\r\n"}, {orig, portIn}},
	"post-byte-by-byte":      {{reply, "220 ready\r\n"}, {orig, "P"}, {orig, "O"}, {orig, "S"}, {orig, "T"}, {orig, " /\r\n"}, {orig, portIn}},
	"get":                    {{reply, "220 ready\r\n"}, {orig, "GET / HTTP/1.1\r\n"}, {orig, portIn}},
	"put-in-lower-case":      {{reply, "220 ready\r\n"}, {orig, "put / HTTP/1.1\r\n"}, {orig, portIn}},
	"body-after-padding":     {{reply, "220 ready\r\n"}, {orig, "POST / HTTP/1.1\r\nA: " + strings.Repeat("x", 1000)}, {orig, portIn}},
	"tls-session-id":         {{orig, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"}, {orig, "\n"}, {orig, portIn}},
	"turn-over-tcp":          {{orig, "\x00\x03\x00\x08\x21\x12\xa4\x42user\r\n"}, {orig, portIn}},
	"empty-line-first":       {{reply, "220 ready\r\n"}, {orig, "\r\n"}, {orig, portIn}},
	"smtp":                   {{reply, "220 ready\r\n"}, {orig, "EHLO h\r\n"}, {orig, portIn}},
	"irc":                    {{reply, ":irc NOTICE * :hi\r\n"}, {orig, "USER x\r\n"}, {orig, portIn}},
	"pop3-banner":            {{reply, "+OK ready\r\n"}, {orig, "USER x\r\n"}, {orig, portIn}},
	"ssh-banner":             {{reply, "SSH-2.0-x\r\n"}, {orig, "USER x\r\n"}, {orig, portIn}},
	"http-answer":            {{reply, "HTTP/1.1 400 Bad\r\n"}, {orig, portIn}},
	"no-greeting":            {{reply, "227 (10,99,2,2,40,2)\r\n"}},
	"greeting-cut":           {{reply, "2"}, {reply, "00 hi\r\n"}, {reply, "227 (10,99,2,2,40,2)\r\n"}},
	"reply-in-other-text":    {{reply, "220 hi\r\n"}, {reply, "213-list\r\n227 (10,99,2,2,40,2)\r\n"}, {reply, "227 (10,99,2,2,40,2)\r\n"}},
	"reply-after-other-text": {{reply, "220 hi\r\n"}, {reply, "hello\r\n227 (10,99,2,2,40,2)\r\n"}},
	"after-tls":              {{reply, "220 hi\r\n"}, {orig, "AUTH TLS\r\n"}, {reply, "234 go\r\n"}, {orig, portIn}},
	"after-tls-in-pieces":    {{reply, "220 hi\r\n"}, {orig, "AUTH TLS\r\n"}, {reply, "23"}, {reply, "4 go\r\n"}, {orig, portIn}},
	"within-a-line":          {{reply, "220 hi\r\n"}, {orig, "USER x"}, {orig, portIn}},
	"long-name":              {{reply, "220 hi\r\n"}, {orig, "USER x\r\n"}, {orig, "ABCDEFGHI x\r\n" + portIn}},
	"header-line":            {{reply, "220 hi\r\n"}, {orig, "USER x\r\n"}, {orig, "Host: x\r\n" + portIn}},
}

func TestSlipstreaming(t *testing.T) {
	for name, talk := range slipstreams {
		t.Run(name, func(t *testing.T) {
			e := handshake(t, snat4)
			for _, x := range talk {
				e.send(x.dir, x.text)
				e.checkPending("", "")
			}
			if n := e.counters.Load(helpers.IDFTP, helpers.CauseExpected); n != 0 {
				t.Errorf("%d expectations", n)
			}
		})
	}
	// The check of the checks: what is FTP does announce.
	e := handshake(t, snat4)
	e.want(reply, "220-Welcome\r\n 227 (1,2,3,4,5,6)\r\n220 ready\r\n", "220-Welcome\r\n 227 (1,2,3,4,5,6)\r\n220 ready\r\n", helpers.CauseNone)
	e.want(orig, "US", "US", helpers.CauseNone)
	e.want(orig, "ER x\r\n", "ER x\r\n", helpers.CauseNone)
	e.want(orig, "\xff\xf4\xff\xf2ABOR\r\n", "\xff\xf4\xff\xf2ABOR\r\n", helpers.CauseNone)
	e.want(orig, portIn, portOut, helpers.CauseExpected)
}

func TestNotFTPIsCounted(t *testing.T) {
	e := handshake(t, snat4)
	e.send(orig, "POST / HTTP/1.1\r\n\r\n"+portIn)
	e.send(orig, portIn)
	if n := e.counters.Load(helpers.IDFTP, helpers.CauseNotFTP); n != 1 {
		t.Errorf("counted %d times, want once a flow", n)
	}
}

// No announcement may lead to the gateway, however loose.
func TestGatewayAddress(t *testing.T) {
	s := snat4
	s.spec, s.pool = "ftp:loose", "10.99.2.1-10.99.2.9"
	e := newSession(t, s)
	inner := packet.AddrOf(netip.MustParseAddr("10.99.1.1"))
	e.c.Own = func(a packet.Addr, f packet.Family) bool { return f == packet.IPv4 && a == inner }
	e.greet()
	for _, text := range []string{"PORT 10,99,1,1,25,0\r\n", "PORT 10,99,2,9,25,0\r\n"} {
		e.want(orig, text, text, helpers.CauseGatewayAddress)
	}
	e.checkPending("", "")
	e.want(orig, "PORT 10,99,1,3,25,0\r\n", portOut, helpers.CauseExpected)
}

// However loose, nobody announces for hosts on the other side: a client that lets two
// servers speak to each other (FXP) needs no translation for that.
func TestFTPAcross(t *testing.T) {
	s := snat4
	s.spec = "ftp:loose"
	e := newSession(t, s)
	e.c.Inside = func(a packet.Addr, _ packet.Family) bool {
		return netip.MustParsePrefix("10.99.1.0/24").Contains(a.Netip(packet.IPv4))
	}
	e.greet()
	for _, text := range []string{"PORT 203,0,113,9,25,0\r\n", "PORT 10,99,3,9,25,0\r\n"} {
		e.want(orig, text, text, helpers.CauseOtherAddress)
	}
	e.checkPending("", "")
	e.want(orig, "PORT 10,99,1,3,25,0\r\n", portOut, helpers.CauseExpected)
}

// A flow that announces without end has to wait, and can go on later.
func TestFTPTooFast(t *testing.T) {
	e := newSession(t, sides{client: "10.99.1.2:35002", server: "10.99.2.2:21"})
	e.greet()
	n := 0
	for n < 10_000 {
		if _, v := e.send(orig, portIn); v == drop {
			break
		}
		n++
	}
	if n != 256 || e.c.Cause != helpers.CauseTooFast {
		t.Errorf("stopped after %d, cause %v", n, e.c.Cause)
	}
	e.c.Now++
	e.want(orig, portIn, portIn, helpers.CauseExpected)
}

// Without translation the text cannot name another port: where another flow
// waits on the same one, the announcement passes, and announces nothing.
func TestFTPExpectPending(t *testing.T) {
	e := newSession(t, sides{client: "10.99.1.2:35002", server: "10.99.2.2:21"})
	e.greet()
	other := flowtable.Expectation{Tuple: flowtable.Tuple{Src: e.reply.Src, Dst: e.orig.Src, DstPort: 6400, Proto: packet.ProtoTCP, Family: packet.IPv4},
		Master: flowtable.FlowID{Index: 99}, Deadline: 1 << 20}
	if r := e.c.Expectations.Add(&other); r != flowtable.AddOK {
		t.Fatal(r)
	}
	e.want(orig, portIn, portIn, helpers.CauseExpectPending)
	if x := e.pending(); x.Master != other.Master {
		t.Error("another flow's expectation is replaced")
	}
}

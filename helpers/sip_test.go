package helpers_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// sipSides are the ways that signalling may take through the gateway.
var sipSides = map[string]sides{
	"snat":   {client: "10.99.1.2:5060", server: "10.99.2.2:5060", public: "10.99.2.1:5060", pool: "10.99.2.1", spec: "sip"},
	"moved":  {client: "10.99.1.2:5060", server: "10.99.2.2:5060", public: "203.0.113.200:1026", pool: "203.0.113.200", spec: "sip"},
	"none":   {client: "10.99.1.2:5060", server: "10.99.2.2:5060", spec: "sip"},
	"dnat":   {client: "10.99.2.9:5060", server: "203.0.113.200:5060", target: "10.99.1.5:5070", pool: "203.0.113.200", spec: "sip"},
	"v6":     {client: "[fd99:1::2]:5060", server: "[fd99:2::2]:5060", public: "[fd99:2::1]:5060", pool: "fd99:2::1", spec: "sip"},
	"v6none": {client: "[fd99:1::2]:5060", server: "[fd99:2::2]:5060", spec: "sip"},
}

// view is what one side of the gateway calls the ends of a call.
type view struct {
	caller, callee           string // host and port, as in a URI
	callerMedia, calleeMedia string // address, as in a description
}

// viewOf returns the names in a pair of tuples' ends.
func viewOf(caller, callee string) view {
	host := func(s string) string { return strings.Trim(s[:strings.LastIndexByte(s, ':')], "[]") }
	return view{caller, callee, host(caller), host(callee)}
}

// views returns what the caller's and the callee's side call the ends.
func (s sides) views() (callers, callees view) {
	public, target := s.public, s.target
	if public == "" {
		public = s.client
	}
	if target == "" {
		target = s.server
	}
	return viewOf(s.client, s.server), viewOf(public, target)
}

func ipOf(addr string) string {
	if strings.Contains(addr, ":") {
		return "IP6 " + addr
	}
	return "IP4 " + addr
}

// description is a session description; rtcp 0 = none is named.
func description(addr string, port, rtcp int) string {
	d := fmt.Sprintf("v=0\r\no=- 1 1 IN %[1]s\r\ns=call\r\nc=IN %[1]s\r\nt=0 0\r\nm=audio %[2]d RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n", ipOf(addr), port)
	if rtcp != 0 {
		d += fmt.Sprintf("a=rtcp:%d IN %s\r\n", rtcp, ipOf(addr))
	}
	return d + "a=sendrecv\r\n"
}

// message puts a body under a head.
func message(head, body string) string {
	kind := ""
	if body != "" {
		kind = "Content-Type: application/sdp\r\n"
	}
	return fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", head, kind, len(body), body)
}

// invite is the caller's INVITE as a side sees it; each side knows media by its own port.
func invite(v view, port, rtcp int) string {
	return message(fmt.Sprintf("INVITE sip:bob@%[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=z9hG4bK1;rport\r\n"+
		"Via: SIP/2.0/UDP 10.9.9.9:5060;branch=z9hG4bK0\r\nMax-Forwards: 70\r\nFrom: \"Al <sip:x@1.2.3.4>\" <sip:al@%[1]s>;tag=1\r\n"+
		"To: <sip:bob@%[2]s>\r\nCall-ID: 1@%[3]s\r\nCSeq: 1 INVITE\r\nRecord-Route: <sip:%[1]s;lr>\r\nRoute: <sip:%[2]s;lr>,<sip:p.example;lr>\r\n"+
		"Contact: <sip:al@%[1]s;transport=udp>;expires=60\r\n", v.caller, v.callee, "fixed"), description(v.callerMedia, port, rtcp))
}

// answer is a response of the callee to the INVITE, as a side sees it.
func answer(v view, status string, port int) string {
	body := ""
	if port != 0 {
		body = description(v.calleeMedia, port, 0)
	}
	rport := v.caller[strings.LastIndexByte(v.caller, ':')+1:]
	return message(fmt.Sprintf("SIP/2.0 %s\r\nv: SIP/2.0/UDP %s;received=%s;rport=%s;branch=z9hG4bK1\r\n"+
		"f: <sip:al@%[2]s>;tag=1\r\nt: <sip:bob@%[5]s>;tag=2\r\ni: 1@fixed\r\nCSeq: 1 INVITE\r\nm: <sip:bob@%[5]s>\r\n",
		status, v.caller, v.callerMedia, rport, v.callee), body)
}

// request is a request of the caller without a body.
func request(v view, method string, cseq int) string {
	return message(fmt.Sprintf("%s sip:bob@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK9\r\nFrom: <sip:al@%[3]s>;tag=1\r\n"+
		"To: <sip:bob@%[2]s>;tag=2\r\nCall-ID: 1@fixed\r\nCSeq: %[4]d %[1]s\r\n", method, v.callee, v.caller, cseq), "")
}

// pendingPorts lists what is pending as "class:port", oldest first.
func (e *session) pendingPorts() string {
	e.t.Helper()
	all := make(map[uint32]string)
	var first, last uint32 = 1 << 31, 0
	e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
		all[x.ID] = fmt.Sprintf("%d:%d", x.Class, x.Tuple.DstPort)
		first, last = min(first, x.ID), max(last, x.ID)
		return true
	})
	var list []string
	for id := first; id <= last; id++ {
		if s, ok := all[id]; ok {
			list = append(list, s)
		}
	}
	return strings.Join(list, " ")
}

// wantText passes a message that has to arrive as want.
func (e *session) wantText(d flowtable.Dir, in, want string) {
	e.t.Helper()
	got, v := e.send(d, in)
	verdict := accept
	if in != want {
		verdict = changed
	}
	if v != verdict || got != want {
		e.t.Fatalf("verdict %d, cause %v, got\n%s\nwant %d\n%s", v, e.c.Cause, got, verdict, want)
	}
}

// A call, its media and its end, whatever NAT there is between the sides. Each message
// has to arrive as if its sender had been where the receiver sees it.
func TestSIPCall(t *testing.T) {
	for name, s := range sipSides {
		t.Run(name, func(t *testing.T) {
			e := newSession(t, s)
			callers, callees := s.views()
			e.wantText(orig, invite(callers, 40000, 0), invite(callees, 40000, 0))
			if got := e.pendingPorts(); got != "1:40000 1:40001" {
				t.Errorf("after INVITE: %s", got)
			}
			e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
				if x.Tuple.Src != e.reply.Src || x.Tuple.SrcPort != 0 || x.SavedAddr != e.orig.Src || x.Next != 0 || x.Follows ||
					x.Deadline != 180*flowtable.TicksPerSecond {
					t.Errorf("%+v", x)
				}
				return true
			})
			e.c.Now += 100
			e.wantText(reply, answer(callees, "180 Ringing", 0), answer(callers, "180 Ringing", 0))
			e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
				if x.Deadline != e.c.Now+180*flowtable.TicksPerSecond {
					t.Errorf("ringing does not renew: %+v", x)
				}
				return true
			})
			e.wantText(reply, answer(callees, "200 OK", 30000), answer(callers, "200 OK", 30000))
			if got := e.pendingPorts(); got != "1:40000 1:40001 1:30000 1:30001" {
				t.Errorf("after OK: %s", got)
			}
			e.wantText(orig, request(callers, "ACK", 1), request(callees, "ACK", 1))
			e.wantText(orig, request(callers, "BYE", 2), request(callees, "BYE", 2))
			if got := e.pendingPorts(); got != "" || e.counters.Load(helpers.IDSIP, helpers.CauseEnded) != 1 {
				t.Errorf("after BYE: %s", got)
			}
		})
	}
}

// Media that come both ways: what the caller sends leaves from the very port that the
// callee was told, also when that is not the caller's own.
func TestSIPMediaPorts(t *testing.T) {
	s := sipSides["moved"]
	e := newSession(t, s)
	callers, callees := s.views()
	// Another call has announced the same ports for the same server.
	for i := range uint16(2) {
		x := flowtable.Expectation{Tuple: e.reply, Master: flowtable.FlowID{Index: 9, Gen: 2}, Deadline: 9999}
		x.Tuple.SrcPort, x.Tuple.DstPort = 0, 40000+i
		if e.c.Expectations.Add(&x) != flowtable.AddOK {
			t.Fatal("not added")
		}
	}
	got, v := e.send(orig, invite(callers, 40000, 40001))
	m := regexp.MustCompile(`m=audio (\d+) `).FindStringSubmatch(got)
	if v != changed || m == nil {
		t.Fatalf("verdict %d, cause %v\n%s", v, e.c.Cause, got)
	}
	var port int
	fmt.Sscan(m[1], &port)
	if port == 40000 || port%2 != 0 || got != invite(callees, port, port+1) {
		t.Fatalf("port %d\n%s", port, got)
	}
	// The same again, and a changed session: the same port.
	e.wantText(orig, invite(callers, 40000, 40001), invite(callees, port, port+1))
	e.wantText(reply, answer(callees, "200 OK", 30000), answer(callers, "200 OK", 30000))
	data := e.reply
	data.SrcPort, data.DstPort = 30000, uint16(port)
	in, ok := e.c.Expectations.Take(&data, e.c.Now)
	if !ok {
		t.Fatal("RTP from outside is not expected")
	}
	c := e.c.Translator.Expected(e.table, &data, &in, nil, &e.reply, 0)
	if c.Reply.Src != e.orig.Src || c.Reply.SrcPort != 40000 || c.Reply.Dst != e.reply.Src || c.Reply.DstPort != 30000 {
		t.Errorf("RTP from outside is answered as %v", &c.Reply)
	}
	e.wantText(orig, invite(callers, 40000, 40001), invite(callees, port, port+1))
	out := e.orig
	out.SrcPort, out.DstPort = 40000, 30000
	x, ok := e.c.Expectations.Take(&out, e.c.Now)
	if !ok {
		t.Fatal("RTP from inside is not expected")
	}
	own := e.c.Expectations.OfMaster(x.Master, func(o *flowtable.Expectation) bool { return o.SavedAddr == out.Src && o.SavedPort == 40000 })
	c = e.c.Translator.Expected(e.table, &out, &x, &own, &e.reply, 0)
	if c.Reason != nat.ReasonNone || c.Reply.Dst != e.reply.Dst || c.Reply.DstPort != uint16(port) || c.Reply.SrcPort != 30000 {
		t.Errorf("RTP from inside is answered as %v, %v", &c.Reply, c.Reason)
	}
}

// A session that is changed, one that is given up, and one that is refused.
func TestSIPCallsEnd(t *testing.T) {
	s := sipSides["snat"]
	callers, callees := s.views()
	e := newSession(t, s)
	other := strings.Replace(invite(callers, 50000, 0), "1@fixed", "2@other", 1)
	e.send(orig, other)
	e.send(orig, invite(callers, 40000, 0))
	e.send(reply, answer(callees, "200 OK", 30000))
	e.wantText(orig, invite(callers, 42000, 0), invite(callees, 42000, 0))
	if got := e.pendingPorts(); got != "1:50000 1:50001 1:30000 1:30001 1:42000 1:42001" {
		t.Errorf("after a change: %s", got)
	}
	for what, end := range map[string]func(){
		"CANCEL":   func() { e.send(orig, request(callers, "CANCEL", 1)) },
		"486":      func() { e.send(reply, answer(callees, "486 Busy Here", 0)) },
		"486, SDP": func() { e.send(reply, answer(callees, "486 Busy Here", 30000)) },
		"BYE":      func() { e.send(reply, strings.Replace(request(callers, "BYE", 1), "z9hG4bK9", "z9hG4bK8", 1)) },
	} {
		e.send(orig, invite(callers, 40000, 0))
		if end(); e.pendingPorts() != "1:50000 1:50001" {
			t.Errorf("after %s: %s", what, e.pendingPorts())
		}
	}
}

// What a message says, and what becomes of it.
var sipEdges = []struct {
	name     string
	old, new string // in the INVITE
	cause    helpers.Cause
	pending  string
	same     bool // the message is left alone
}{
	{"as-it-is", "", "", helpers.CauseTranslated, "1:40000 1:40001", false},
	{"other-host", "c=IN IP4 10.99.1.2", "c=IN IP4 10.99.1.9", helpers.CauseTranslated, "", false},
	{"privileged", "m=audio 40000", "m=audio 22", helpers.CauseTranslated, "", false},
	{"privileged-rtcp", "a=rtcp:40001", "a=rtcp:53", helpers.CauseTranslated, "", false},
	{"refused-stream", "m=audio 40000", "m=audio 0", helpers.CauseTranslated, "", false},
	{"on-hold", "c=IN IP4 10.99.1.2", "c=IN IP4 0.0.0.0", helpers.CauseTranslated, "", false},
	{"video", "m=audio", "m=video", helpers.CauseTranslated, "2:40000 2:40001", false},
	{"fax", "m=audio 40000 RTP/AVP 0 101", "m=image 40000 udptl t38", helpers.CauseTranslated, "3:40000", false},
	{"chat", "m=audio 40000 RTP/AVP", "m=message 40000 TCP/MSRP", helpers.CauseTranslated, "", false},
	{"tcp-audio", "RTP/AVP", "TCP/RTP/AVP", helpers.CauseTranslated, "", false},
	{"secure", "RTP/AVP", "UDP/TLS/RTP/SAVPF", helpers.CauseTranslated, "1:40000 1:40001", false},
	{"odd-port", "m=audio 40000", "m=audio 40003", helpers.CauseTranslated, "1:40003 1:40001", false},
	{"rtcp-elsewhere", "a=rtcp:40001", "a=rtcp:45000", helpers.CauseTranslated, "1:40000 1:45000", false},
	{"two-session-addresses", "t=0 0", "c=IN IP4 10.99.1.2", helpers.CauseMalformed, "", true},
	{"port-65535", "m=audio 40000 ", "m=audio 65536 ", helpers.CauseMalformed, "", true},
	{"port-not-a-number", "m=audio 40000 ", "m=audio 4x ", helpers.CauseMalformed, "", true},
	{"bare-line", "s=call", "call", helpers.CauseMalformed, "", true},
	{"not-version-first", "v=0\r\n", "", helpers.CauseMalformed, "", true},
	{"wrong-length", "Content-Length: ", "Content-Length: 1", helpers.CauseMalformed, "", true},
	{"two-lengths", "Max-Forwards: 70", "l: 5", helpers.CauseMalformed, "", true},
	{"two-call-ids", "Max-Forwards: 70", "i: 5", helpers.CauseMalformed, "", true},
	{"no-call-id", "Call-ID: 1@fixed\r\n", "", helpers.CauseMalformed, "", true},
	{"other-cseq", "1 INVITE", "1 BYE", helpers.CauseMalformed, "", true},
	{"open-bracket", "<sip:al@10.99.1.2:5060;transport=udp>", "<sip:al@10.99.1.2", helpers.CauseMalformed, "", true},
	{"header-without-colon", "Max-Forwards: 70", "Max-Forwards", helpers.CauseMalformed, "", true},
	{"http", "INVITE sip:bob@10.99.2.2:5060 SIP/2.0", "POST / HTTP/1.1", helpers.CauseNotSIP, "", true},
	{"leading-blank", "INVITE sip", " INVITE sip", helpers.CauseNotSIP, "", true},
	{"multipart", "application/sdp", "multipart/mixed;boundary=x", helpers.CauseTranslated, "", false},
	{"other-body", "application/sdp", "text/plain", helpers.CauseTranslated, "", false},
	{"folded", "CSeq: 1 INVITE", "Subject: a\r\n b", helpers.CauseMalformed, "", true},
	{"folded-contact", "Contact: <sip", "Contact:\r\n <sip", helpers.CauseTranslated, "1:40000 1:40001", false},
	{"name-with-brackets", "To: <", "To: \"<sip:a@10.99.1.2:5060>, \\\" ;\" <", helpers.CauseTranslated, "1:40000 1:40001", false},
}

func TestSIPEdges(t *testing.T) {
	s := sipSides["snat"]
	callers, _ := s.views()
	for _, tt := range sipEdges {
		t.Run(tt.name, func(t *testing.T) {
			e := newSession(t, s)
			text := invite(callers, 40000, 40001)
			head, body, _ := strings.Cut(text, "\r\n\r\n")
			if strings.Contains(body, tt.old) {
				body = strings.Replace(body, tt.old, tt.new, 1)
				head = regexp.MustCompile(`Content-Length: \d+`).ReplaceAllString(head, fmt.Sprint("Content-Length: ", len(body)))
			} else if head = strings.Replace(head, tt.old, tt.new, 1); !strings.Contains(text, tt.old) {
				t.Fatalf("%q is not in the message", tt.old)
			}
			text = head + "\r\n\r\n" + body
			got, v := e.send(orig, text)
			if e.c.Cause != tt.cause || (got == text) != tt.same || v == drop || e.pendingPorts() != tt.pending {
				t.Errorf("verdict %d, cause %v, pending %q, want %v, %q\n%s", v, e.c.Cause, e.pendingPorts(), tt.cause, tt.pending, got)
			}
		})
	}
}

// The reasons that do not stop a message are counted.
func TestSIPCounts(t *testing.T) {
	s := sipSides["snat"]
	callers, _ := s.views()
	for what, want := range map[[2]string]helpers.Cause{
		{"c=IN IP4 10.99.1.2", "c=IN IP4 10.99.1.9"}:         helpers.CauseOtherAddress,
		{"m=audio 40000", "m=audio 01023"}:                   helpers.CausePrivilegedPort,
		{"application/sdp", "multipart/x"}:                   helpers.CauseBody,
		{"a=sendrecv\r\n", strings.Repeat("m=x 0 x 0\n", 9)}: helpers.CauseTooMany,
	} {
		e := newSession(t, s)
		text := strings.Replace(invite(callers, 40000, 0), what[0], what[1], 1)
		text = regexp.MustCompile(`Content-Length: \d+\r\n`).ReplaceAllString(text, "")
		if e.send(orig, text); e.counters.Load(helpers.IDSIP, want) != 1 {
			t.Errorf("%s: %v not counted, cause %v", what[1], want, e.c.Cause)
		}
	}
	e := newSession(t, s)
	for _, text := range []string{"\r\n\r\n", "\x00", "\r\n"} {
		if e.send(orig, text); e.c.Cause != helpers.CauseNone {
			t.Errorf("keep-alive %q: %v", text, e.c.Cause)
		}
	}
}

// With loose, media may be another host's, and come from any.
func TestSIPLoose(t *testing.T) {
	s := sipSides["snat"]
	s.spec = "sip:loose"
	callers, callees := s.views()
	e := newSession(t, s)
	callers.callerMedia = "10.99.1.9"
	e.wantText(orig, invite(callers, 40000, 0), invite(callees, 40000, 0))
	x := e.added
	if !x.Tuple.Src.IsZero() || x.SavedAddr == e.orig.Src || x.SavedPort != 40001 {
		t.Errorf("%+v", &x)
	}
	callers.callerMedia = "10.99.2.1" // the gateway's
	e.send(orig, strings.Replace(invite(callers, 40002, 0), "1@fixed", "2@fixed", 1))
	if e.counters.Load(helpers.IDSIP, helpers.CauseGatewayAddress) != 1 || e.pendingPorts() != "1:40000 1:40001" {
		t.Errorf("the gateway's own: cause %v, pending %s", e.c.Cause, e.pendingPorts())
	}
}

// A message that would be longer than the MTU is not sent, and leaves nothing behind.
func TestSIPNoRoom(t *testing.T) {
	s := sipSides["moved"]
	callers, callees := s.views()
	e := newSession(t, s)
	text, longer := invite(callers, 40000, 0), invite(callees, 40000, 0)
	e.c.MTU = uint16(28 + len(longer) - 1)
	if _, v := e.send(orig, text); v != drop || e.c.Cause != helpers.CauseNoRoom || e.pending() != nil {
		t.Errorf("verdict %d, cause %v", v, e.c.Cause)
	}
	e.c.MTU++
	e.wantText(orig, text, longer)
	e.c.MTU = uint16(28 + len(text) - 1)
	e.wantText(orig, text, text) // too long as it came: its sender hears of it
}

func TestSIPLimits(t *testing.T) {
	s := sipSides["snat"]
	callers, _ := s.views()
	e := newSession(t, s)
	e.c.Expectations = flowtable.NewExpectations(1)
	if _, v := e.send(orig, invite(callers, 40000, 0)); v != drop || e.c.Cause != helpers.CauseExpectFull || e.c.Expectations.Len() != 0 {
		t.Errorf("full: verdict %d, cause %v, %d pending", v, e.c.Cause, e.c.Expectations.Len())
	}
	e.c.Expectations = flowtable.NewExpectations(1000)
	for i := range 100 { // calls of a trunk
		text := strings.Replace(invite(callers, 30000+2*i, 0), "1@fixed", fmt.Sprint("call", i), 1)
		text = regexp.MustCompile(`Content-Length: \d+\r\n`).ReplaceAllString(text, "")
		if _, v := e.send(orig, text); v != changed {
			t.Fatalf("call %d: verdict %d, cause %v", i, v, e.c.Cause)
		}
	}
	if n := e.c.Expectations.Len(); n != 64 {
		t.Errorf("%d pending, want 64", n)
	}
	n := 0
	for n < 1000 && e.c.Cause != helpers.CauseTooFast {
		e.send(orig, invite(callers, 40000, 0))
		n++
	}
	if n != 256-101+1 {
		t.Errorf("too fast after %d more", n)
	}
}

// What changes nothing allocates nothing.
func TestSIPAllocs(t *testing.T) {
	s := sipSides["snat"]
	callers, _ := s.views()
	e := newSession(t, s)
	for _, text := range []string{request(callers, "ACK", 1), request(callers, "OPTIONS", 1), "\r\n\r\n", "no SIP\r\n", "INVITE x"} {
		frame := e.frame(orig, 0, 0, text)
		room := make([]byte, len(frame), 2048)
		if n := testing.AllocsPerRun(100, func() {
			copy(room, frame)
			e.reparse(room)
			e.set.Packet(helpers.IDSIP, &e.c)
		}); n != 0 {
			t.Errorf("%.20q: %v allocations", text, n)
		}
	}
}

// BenchmarkSIP takes a message that is rewritten and announces media, one that is
// rewritten, and one that does not change.
func BenchmarkSIP(b *testing.B) {
	s := sipSides["moved"]
	callers, _ := s.views()
	none := sipSides["none"]
	for name, x := range map[string]struct {
		s    sides
		text string
	}{
		"invite": {s, invite(callers, 40000, 0)}, "bye": {s, request(callers, "BYE", 2)}, "untranslated": {none, request(callers, "BYE", 2)},
		"keep-alive": {s, "\r\n\r\n"},
	} {
		b.Run(name, func(b *testing.B) {
			e := newSession(b, x.s)
			frame := e.frame(orig, 0, 0, x.text)
			room := make([]byte, len(frame), 2048)
			b.ReportAllocs()
			for b.Loop() {
				copy(room[:cap(room)], frame)
				e.c.Now += 16
				e.reparse(room)
				e.set.Packet(helpers.IDSIP, &e.c)
			}
		})
	}
}

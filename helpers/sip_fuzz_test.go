package helpers_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
)

// FuzzSIP feeds any text from either side. Whatever it is, what arrives differs in
// addresses and numbers only, is well-formed if it was, names no expectation that may
// not be, and says its length.
func FuzzSIP(f *testing.F) {
	s := sipSides["moved"]
	callers, callees := s.views()
	for _, text := range []string{
		invite(callers, 40000, 40001), invite(callers, 40000, 0), request(callers, "BYE", 2), request(callers, "CANCEL", 1),
		registerText(callers, callers.caller, 1, "Expires: 60\r\n"), registerText(callers, "10.99.1.2:5099", 1, ""),
		strings.Replace(invite(callers, 40000, 0), "a=sendrecv", "m=video 40002 RTP/AVP 31\r\nc=IN IP4 10.99.1.2\r\na=rtcp:50000", 1),
		"SIP/2.0 200 OK\r\n\r\n", "INVITE sip:a SIP/2.0\r\nm: \"\\\"<>,;=?[]@\r\n\r\n",
	} {
		f.Add(false, text)
	}
	for _, text := range []string{answer(callees, "200 OK", 30000), answer(callees, "486 Busy", 0), registeredText(callees, callees.caller, "200 OK", 1, ";expires=5")} {
		f.Add(true, text)
	}
	f.Fuzz(func(t *testing.T, fromServer bool, text string) {
		if len(text) == 0 || len(text) > 1400 {
			return
		}
		e, d := newSession(t, s), orig
		e.send(orig, registerText(callers, callers.caller, 1, ""))
		if fromServer {
			d = reply
		}
		malformed := e.counters.Load(helpers.IDSIP, helpers.CauseMalformed)
		got, v := e.send(d, text)
		if v == drop {
			return
		}
		if sipSkeleton(got) != sipSkeleton(text) {
			t.Fatalf("arrived as\n%q\nof\n%q", got, text)
		}
		e.checkSIPExpectations()
		if v == changed {
			checkLength(t, got)
			// To the other side of the same kind it is the same kind of text.
			again := newSession(t, s)
			again.send(d, got)
			if again.counters.Load(helpers.IDSIP, helpers.CauseMalformed)+again.counters.Load(helpers.IDSIP, helpers.CauseNotSIP) != 0 {
				t.Fatalf("not well-formed any more:\n%q\nof\n%q", got, text)
			}
			if e.counters.Load(helpers.IDSIP, helpers.CauseMalformed) != malformed {
				t.Fatalf("malformed, but changed:\n%q", text)
			}
		}
	})
}

var (
	sipAddress = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+(:\d+)?`)
	sipNumber  = regexp.MustCompile(`\d+`)
)

// sipSkeleton is a message without its addresses and numbers.
func sipSkeleton(text string) string {
	return sipNumber.ReplaceAllString(sipAddress.ReplaceAllString(text, "A"), "N")
}

// checkLength checks Content-Length the slow way.
func checkLength(t *testing.T, text string) {
	t.Helper()
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "content-length" && name != "l" {
			continue
		}
		var n int
		if _, err := fmt.Sscan(value, &n); err != nil || n != len(body) {
			t.Fatalf("says %q, has %d bytes:\n%q", line, len(body), text)
		}
	}
}

// checkSIPExpectations checks what may never be expected.
func (e *session) checkSIPExpectations() {
	e.t.Helper()
	e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
		own := e.orig.Src
		if x.Dir == reply {
			own = e.reply.Src
		}
		if x.SavedAddr != own || x.SavedPort < 1024 || x.Tuple.DstPort < 1024 || x.Tuple.SrcPort != 0 || x.Tuple.Src.IsZero() ||
			x.Class != 0 && x.SavedPort%2 != x.Tuple.DstPort%2 && x.Tuple.Dst == x.SavedAddr {
			e.t.Fatalf("%+v", x)
		}
		return true
	})
}

// sipPieces are what messages are made of for the model; %[1]s is the caller, %[2]s the
// callee, each as the reader knows it, %[3]s and %[4]s their addresses alone.
var sipPieces = []string{
	"Contact: <sip:al@%[1]s>\r\n", "m: sip:al@%[1]s;expires=5\r\n", "Contact: \"Al, \\\"x\\\" <y>\" <sip:al@%[1]s;a=b>, <sip:c@%[2]s>\r\n",
	"Record-Route: <sip:%[1]s;lr>,<sip:other.example;lr>\r\n", "Route: <sip:%[2]s;lr>\r\n", "Subject: at %%[1]s\r\n", "X: 10.99.1.2:5060\r\n",
	"Via: SIP/2.0/UDP 10.99.1.2:5060;branch=second\r\n", "Contact:\r\n <sip:al@%[1]s>\r\n", "Allow: INVITE, ACK\r\n",
	"Contact: <tel:+12345>\r\n", "Contact: <sip:al@10.9.9.9:5060>\r\n", "Contact: <sips:al@host.example:5061>\r\n",
}

// sdpPieces are lines of a description; %[1]s is the sender's address as the reader
// knows it, %[2]d and %[3]d the port of a stream and of RTCP.
var sdpPieces = []string{
	"m=audio %[2]d RTP/AVP 0\r\n", "m=audio %[2]d RTP/SAVP 0 8\r\nc=IN IP4 %[1]s\r\n", "m=video %[2]d RTP/AVP 31\r\na=rtcp:%[3]d\r\n",
	"m=video %[2]d RTP/AVPF 31\r\na=rtcp:%[3]d IN IP4 %[1]s\r\n", "m=image %[2]d udptl t38\n", "m=audio 0 RTP/AVP 0\r\n",
	"m=message 2855 TCP/MSRP *\r\n", "a=candidate:1 1 UDP 1 10.99.1.2 40000 typ host\r\n", "b=AS:64\r\n",
}

// model makes a message from a script, as one side of the gateway reads it: ports are
// what it knows them by.
func sipModel(v view, from string, script []byte, ports func(i int) (rtp, rtcp int)) string {
	head := fmt.Sprintf("INVITE sip:b@%[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[1]s;branch=1\r\nFrom: <sip:a@%[1]s>;tag=1\r\nTo: sip:b@%[2]s;tag=7\r\n"+
		"Call-ID: x\r\nCSeq: 7 INVITE\r\n", v.caller, v.callee)
	body := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=x\r\nc=IN IP4 %[1]s\r\nt=0 0\r\n", from)
	streams := 0
	for _, k := range script[:min(len(script), 12)] {
		if k&0x80 == 0 {
			head += fmt.Sprintf(sipPieces[int(k)%len(sipPieces)]+"%.[3]s", v.caller, v.callee, "")
			continue
		}
		line := sdpPieces[int(k&0x7f)%len(sdpPieces)]
		rtp, rtcp := ports(streams)
		if strings.Contains(line, "%[2]d") {
			streams++
		}
		body += fmt.Sprintf(line+"%.[1]s%.[4]s", from, rtp, rtcp, "")
	}
	return message(head, body)
}

// FuzzSIPRewrite makes messages of all kinds of pieces. What arrives has to be what the
// sender would have written had it been where the receiver sees it.
func FuzzSIPRewrite(f *testing.F) {
	f.Add("moved", uint16(40000), []byte{0, 3, 0x80, 0x82})
	f.Add("snat", uint16(50001), []byte{1, 2, 5, 0x81, 0x83, 0x84, 0x85, 0x86})
	f.Add("dnat", uint16(1024), []byte{4, 6, 7, 8, 0x87, 0x80, 0x88})
	f.Fuzz(func(t *testing.T, way string, base uint16, script []byte) {
		s, known := sipSides[way]
		if !known || strings.Contains(s.client, "[") || base < 1024 || base > 60000 {
			return
		}
		e := newSession(t, s)
		callers, callees := s.views()
		in := sipModel(callers, callers.callerMedia, script, func(i int) (int, int) { return int(base) + 20*i, int(base) + 20*i + 10 })
		if len(in) > 1300 {
			return
		}
		got, v := e.send(orig, in)
		if n := e.counters.Load(helpers.IDSIP, helpers.CauseMalformed); n != 0 || v == drop {
			t.Fatalf("verdict %d, cause %v of\n%s", v, e.c.Cause, in)
		}
		if e.counters.Load(helpers.IDSIP, helpers.CauseTooMany) != 0 && v == accept {
			return
		}
		outside := make(map[int]int)
		e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
			outside[int(x.SavedPort)] = int(x.Tuple.DstPort)
			return true
		})
		want := sipModel(callees, callees.callerMedia, script, func(i int) (int, int) {
			rtp, rtcp := int(base)+20*i, int(base)+20*i+10
			if o, ok := outside[rtp]; ok {
				rtp = o
			}
			if o, ok := outside[rtcp]; ok {
				rtcp = o
			}
			return rtp, rtcp
		})
		if got != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
	})
}

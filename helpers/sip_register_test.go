package helpers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
)

// registerText is a REGISTER as a side sees it.
func registerText(v view, contact string, cseq int, expires string) string {
	return message(fmt.Sprintf("REGISTER sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK3\r\nFrom: <sip:al@example.org>;tag=1\r\n"+
		"To: <sip:al@example.org>\r\nCall-ID: r\r\nCSeq: %d REGISTER\r\nContact: <sip:al@%s>\r\n%s", v.callee, v.caller, cseq, contact, expires), "")
}

func registeredText(v view, contact, status string, cseq int, expires string) string {
	return message(fmt.Sprintf("SIP/2.0 %s\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK3\r\nFrom: <sip:al@example.org>;tag=1\r\n"+
		"To: <sip:al@example.org>;tag=3\r\nCall-ID: r\r\nCSeq: %d REGISTER\r\nContact: <sip:al@%s>%s\r\n", status, v.caller, cseq, contact, expires), "")
}

// A registration waits for calls once it is granted, for as long as that says.
func TestSIPRegister(t *testing.T) {
	s := sipSides["moved"]
	callers, callees := s.views()
	for name, contact := range map[string]string{"own port": callers.caller, "another port": "10.99.1.2:5099"} {
		t.Run(name, func(t *testing.T) {
			e := newSession(t, s)
			outside := callees.caller
			if contact != callers.caller {
				outside = "203.0.113.200:5099"
			}
			e.wantText(orig, registerText(callers, contact, 1, "Expires: 600\r\n"), registerText(callees, outside, 1, "Expires: 600\r\n"))
			x := *e.pending()
			if x.Class != 0 || x.Next != uint8(helpers.IDSIP) || x.Flags != flowtable.ExpectPermanent|flowtable.ExpectInactive {
				t.Fatalf("%+v", x)
			}
			// A challenge ends it, the second try makes it again.
			e.wantText(reply, registeredText(callees, outside, "401 Unauthorized", 1, ""), registeredText(callers, contact, "401 Unauthorized", 1, ""))
			if e.pending() != nil {
				t.Fatal("pending after a challenge")
			}
			e.wantText(orig, registerText(callers, contact, 2, ""), registerText(callees, outside, 2, ""))
			e.wantText(reply, registeredText(callees, outside, "200 OK", 2, ";expires=300"), registeredText(callers, contact, "200 OK", 2, ";expires=300"))
			x = *e.pending()
			if x.Flags != flowtable.ExpectPermanent || x.Deadline != 300*flowtable.TicksPerSecond {
				t.Fatalf("%+v", x)
			}
			// Renewed, and given up.
			e.c.Now = 1000
			e.wantText(orig, registerText(callers, contact, 3, ""), registerText(callees, outside, 3, ""))
			e.wantText(reply, registeredText(callees, outside, "200 OK", 3, ";expires=300"), registeredText(callers, contact, "200 OK", 3, ";expires=300"))
			if y := e.pending(); y == nil || y.ID != x.ID || y.Deadline != 1000+300*flowtable.TicksPerSecond {
				t.Fatalf("%+v", y)
			}
			e.send(orig, registerText(callers, contact, 4, "Expires: 0\r\n"))
			e.send(reply, strings.Replace(registeredText(callees, outside, "200 OK", 4, ""), "Contact", "X", 1))
			if e.pending() != nil {
				t.Error("pending after the registration was given up")
			}
		})
	}
}

// Nobody registers for another host: the contact goes out as it came, so nothing may wait
// for calls to it.
func TestSIPRegistersForOther(t *testing.T) {
	for _, spec := range []string{"sip", "sip:loose"} {
		s := sipSides["moved"]
		s.spec = spec
		callers, callees := s.views()
		e := newSession(t, s)
		const other = "10.99.1.9:5060"
		e.wantText(orig, registerText(callers, other, 1, ""), registerText(callees, other, 1, ""))
		if n := e.counters.Load(helpers.IDSIP, helpers.CauseOtherAddress); e.pending() != nil || n != 1 {
			t.Errorf("%s: pending %+v, counted %d times", spec, e.pending(), n)
		}
	}
}

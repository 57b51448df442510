package dataplane

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// withSIP makes a gateway follow SIP.
func withSIP(t *testing.T) func(*Options) {
	t.Helper()
	spec, err := helpers.ParseSpec("sip")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Helpers = helpers.NewSet(spec) }
}

// sip sends a message and returns the ends and the text that it arrived with.
func (p *path) sip(from int, src, dst netip.AddrPort, head, body string) (ends2 [2]netip.AddrPort, text string) {
	p.t.Helper()
	s := l4(false, src, dst, layers.TCP{})
	s.payload = fmt.Appendf(nil, "%sContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body)
	out := p.send(from, build(p.t, from, s))
	if len(out) != 1 || out[0].port != 1-from {
		p.t.Fatalf("%s > %s: %d packets left, dropped %v\n%s", src, dst, len(out), drops(p), head)
	}
	pk := p.check(out, 1-from)
	return ends(p.t, out[0].frame), string(pk.Layer(layers.LayerTypeUDP).LayerPayload())
}

// sdpOf describes media at a place.
func sdpOf(a netip.AddrPort) string {
	return fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %[1]s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %[2]d RTP/AVP 0\r\n", a.Addr(), a.Port())
}

// sipHead is the head of a message of a call from src to dst, as its sender knows them.
func sipHead(first, method string, src, dst netip.AddrPort, call string) string {
	return fmt.Sprintf("%s\r\nVia: SIP/2.0/UDP %s;branch=z\r\nFrom: <sip:a@%[2]s>;tag=1\r\nTo: <sip:b@%[3]s>;tag=2\r\nCall-ID: %[4]s\r\nCSeq: 1 %[5]s\r\n",
		first, src, dst, call, method)
}

// mediaIn returns where a description says that media are to go.
func mediaIn(t testing.TB, text string) netip.AddrPort {
	t.Helper()
	t.Helper()
	m := regexp.MustCompile(`(?s)c=IN IP4 (\S+).*m=audio (\d+) `).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no media in\n%s", text)
	}
	port, err := strconv.ParseUint(m[2], 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return at(netip.MustParseAddr(m[1]), uint16(port))
}

// sipCall is a call between two ends, each as its own side knows it and the other.
type sipCall struct {
	from             int // port of the caller's side
	caller, callee   netip.AddrPort
	id               string
	callers, callees netip.AddrPort // media of each
	// As the other side sees them; filled in by open.
	callerOut, callersOut, calleesOut netip.AddrPort
}

// open makes the call up to its answer.
func (c *sipCall) open(p *path) {
	p.t.Helper()
	e, text := p.sip(c.from, c.caller, c.callee, sipHead("INVITE sip:b@"+c.callee.String()+" SIP/2.0", "INVITE", c.caller, c.callee, c.id), sdpOf(c.callers))
	c.callerOut, c.callersOut = e[0], mediaIn(p.t, text)
	if !strings.Contains(text, "Via: SIP/2.0/UDP "+e[0].String()+";") || !strings.HasPrefix(text, "INVITE sip:b@"+e[1].String()) {
		p.t.Fatalf("from %s to %s arrived\n%s", e[0], e[1], text)
	}
	back, text := p.sip(1-c.from, e[1], e[0], sipHead("SIP/2.0 200 OK", "INVITE", e[0], e[1], c.id), sdpOf(c.callees))
	c.calleesOut = mediaIn(p.t, text)
	if back != [2]netip.AddrPort{c.callee, c.caller} || !strings.Contains(text, "Via: SIP/2.0/UDP "+c.caller.String()+";") {
		p.t.Fatalf("from %s to %s arrived\n%s", back[0], back[1], text)
	}
}

func next(a netip.AddrPort, n uint16) netip.AddrPort { return at(a.Addr(), a.Port()+n) }

// talk lets media go both ways: RTP and RTCP.
func (c *sipCall) talk(p *path, callerFirst bool) {
	p.t.Helper()
	for i := range uint16(2) {
		for k := range 3 {
			if callerFirst == (k != 1) {
				got := p.pass(c.from, false, next(c.callers, i), next(c.calleesOut, i), layers.TCP{})
				if want := [2]netip.AddrPort{next(c.callersOut, i), next(c.callees, i)}; got != want {
					p.t.Errorf("%s: the caller's media arrive from %s at %s, want %v", c.id, got[0], got[1], want)
				}
			} else {
				got := p.pass(1-c.from, false, next(c.callees, i), next(c.callersOut, i), layers.TCP{})
				if want := [2]netip.AddrPort{next(c.calleesOut, i), next(c.callers, i)}; got != want {
					p.t.Errorf("%s: the callee's media arrive from %s at %s, want %v", c.id, got[0], got[1], want)
				}
			}
		}
	}
}

// mediaFlows counts live flows that have a live master.
func (p *path) mediaFlows() (n int) {
	var s, master flowtable.Snapshot
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			if w.flows.table.Read(idx, p.Now(), &s) && s.Status&flowtable.StatusExpected != 0 &&
				p.workers[s.Master.Worker].flows.table.Read(s.Master.Index, p.Now(), &master) && master.Gen == s.Master.Gen {
				n++
			}
		}
	}
	return n
}

// Calls in both directions, of hosts with the same ports, whatever queue each packet
// comes to: the ports of both ends and of the gateway are of one worker, or another.
func TestSIPCallsOfAllWorkers(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(func(o *Options) {
			withSIP(t)(o)
			o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:5060=10.1.2.4:5060")}
		})
		n := 0
		for i, port := range []uint16{5062, 1100, 20000, 7104} {
			for j, media := range []uint16{40000, 5000, 7102, 7103, 1086} {
				out := sipCall{from: lan, caller: at(clientAddr, port), callee: at(serverAddr, 5060), id: fmt.Sprint("out", i, j),
					callers: at(clientAddr, media+uint16(100*i)), callees: at(serverAddr, 30000+uint16(10*n))}
				same := out
				same.caller, same.callers, same.id = at(client2Addr, port), at(client2Addr, out.callers.Port()), fmt.Sprint("same", i, j)
				same.callees = at(serverAddr, 33000+uint16(10*n))
				in := sipCall{from: wan, caller: at(serverAddr, port), callee: at(poolAddr, 5060), id: fmt.Sprint("in", i, j),
					callers: at(serverAddr, 36000+uint16(10*n)), callees: at(client2Addr, media+uint16(100*i)+20)}
				for _, c := range []*sipCall{&out, &same, &in} {
					c.open(p)
				}
				if same.callersOut.Port() == out.callersOut.Port() || same.callersOut.Port()%2 != media%2 {
					t.Errorf("media at %s and %s, both from port %d", out.callersOut, same.callersOut, out.callers.Port())
				}
				out.talk(p, n%2 == 0)
				same.talk(p, n%2 != 0)
				in.talk(p, n%3 == 0)
				n++
			}
		}
		if got := p.mediaFlows(); got != 6*n {
			t.Errorf("%d flows with a master, want %d", got, 6*n)
		}
		for _, name := range []string{"sip_malformed", "sip_no_port", "sip_expect_pending", "drop_nat_clash", "drop_nat_exhausted", "drop_external_new", "drop_helper"} {
			if v := p.counterValue(name); v != 0 {
				t.Errorf("%s is %d", name, v)
			}
		}
		p.checkStraysEnd()
		if n := p.Expectations().Len(); n != 0 {
			t.Errorf("%d expectations outlive their masters", n)
		}
	})
}

// A registration stays, and what it brings in has the helper; both end with their
// master.
func TestSIPRegistrationStays(t *testing.T) {
	p := newPath(t, withSIP(t))
	phone, registrar := at(clientAddr, 5066), at(serverAddr, 5060)
	head := func(first string, a netip.AddrPort, expires string) string {
		return sipHead(first, "REGISTER", a, registrar, "r") + "Contact: <sip:a@" + a.String() + ">" + expires + "\r\n"
	}
	e, _ := p.sip(lan, phone, registrar, head("REGISTER sip:x SIP/2.0", phone, ""), "")
	caller := at(serverAddr, 5099)
	if out := p.send(wan, build(t, wan, l4(false, caller, e[0], layers.TCP{}))); len(out) != 0 {
		t.Error("called before the registration is granted")
	}
	p.sip(wan, registrar, e[0], head("SIP/2.0 200 OK", e[0], ";expires=600"), "")
	for i := range uint16(3) {
		c := sipCall{from: wan, caller: next(caller, i), callee: e[0], id: fmt.Sprint(i), callers: at(serverAddr, 30000+2*i), callees: at(clientAddr, 40000+2*i)}
		c.open(p)
		c.talk(p, true)
		if n := p.Expectations().Len(); n < 1 {
			t.Fatalf("%d expectations", n)
		}
	}
	table := p.workers[0].flows.table
	helped := 0
	var s flowtable.Snapshot
	for idx := uint32(1); idx <= table.HighWater(); idx++ {
		if table.Read(idx, p.Now(), &s) && s.Helper == uint8(helpers.IDSIP) {
			if helped++; s.FullTimeout != 3600*flowtable.TicksPerSecond {
				t.Errorf("signalling lives for %d s", s.FullTimeout.Seconds())
			}
		}
	}
	if helped != 4 {
		t.Errorf("%d flows have the helper, want 4", helped)
	}
	if p.counterValue("expect_new")-p.counterValue("expect_ended") != uint64(p.Expectations().Len()) {
		t.Error("a call ended the registration in the counts")
	}
	p.checkStraysEnd()
	if n := p.Expectations().Len(); n != 0 {
		t.Errorf("%d expectations outlive their masters", n)
	}
}

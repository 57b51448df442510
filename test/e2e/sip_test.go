package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// sipEnd is one end of a call: sipp for signalling, and sockets of the test for RTP and
// RTCP, on the port before which sipp names.
type sipEnd struct {
	ns    *lab.Namespace
	addr  string
	port  int // of signalling
	media int // of RTP; RTCP has the next one
	rtp   [2]*net.UDPConn
	log   string // messages as this end sees them
	sipp  *lab.Process
}

// newEnd opens the media ports of an end.
func newEnd(t *testing.T, l *lab.Lab, ns *lab.Namespace, addr string, port, media int) *sipEnd {
	t.Helper()
	e := &sipEnd{ns: ns, addr: addr, port: port, media: media}
	e.log = filepath.Join(l.Dir, fmt.Sprintf("sip-%s-%d-%d", strings.ReplaceAll(addr, ":", "_"), port, media))
	for i := range e.rtp {
		at := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(media+i)))
		err := ns.Do(func() (err error) {
			e.rtp[i], err = net.ListenUDP("udp", at)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(e.close)
	return e
}

// close frees the media ports.
func (e *sipEnd) close() {
	for _, c := range e.rtp {
		_ = c.Close()
	}
}

// bracketed is an address as sipp takes it.
func bracketed(addr string) string {
	if strings.Contains(addr, ":") {
		return "[" + addr + "]"
	}
	return addr
}

// start starts a scenario of testdata/sip. more are flags and, of one that begins, the
// other end.
func (e *sipEnd) start(t *testing.T, scenario string, more ...string) {
	t.Helper()
	os.Remove(e.log)
	args := append([]string{"sipp", "-sf", "testdata/sip/" + scenario + ".xml", "-i", bracketed(e.addr), "-p", strconv.Itoa(e.port),
		"-mi", bracketed(e.addr), "-mp", strconv.Itoa(e.media + 1000), "-key", "media", strconv.Itoa(e.media), "-nostdin", "-trace_msg", "-message_file", e.log, "-timeout", "25s", "-timeout_error"}, more...)
	if strings.HasPrefix(scenario, "call") && scenario != "caller" || scenario == "registrar" {
		e.sipp = e.ns.StartServer(t, "udp", e.port, args...)
	} else {
		e.sipp = e.ns.Start(t, args...)
	}
}

// finish waits for the end of the scenario, which has to succeed.
func (e *sipEnd) finish(t *testing.T) {
	t.Helper()
	if r := e.sipp.Wait(t, 30*time.Second); r.Status != 0 {
		log, _ := os.ReadFile(e.log)
		t.Errorf("sipp at %s ended with %d:\n%s\n%s", e.addr, r.Status, r.Output(), log)
	}
}

// told waits for the n-th description that the end receives and returns where media are
// to go.
func (e *sipEnd) told(t *testing.T, n int) netip.AddrPort {
	t.Helper()
	received := regexp.MustCompile(`(?s)message received .*?\nc=IN IP[46] (\S+).*?\nm=audio (\d+) `)
	var m [][]string
	lab.Eventually(t, 20*time.Second, "sipp at "+e.addr+" is told of media", func() bool {
		running := e.sipp.Running()
		log, _ := os.ReadFile(e.log)
		m = received.FindAllStringSubmatch(string(log), -1)
		if len(m) < n && !running {
			t.Fatalf("sipp ended before:\n%s", e.sipp.Output())
		}
		return len(m) >= n
	})
	port, err := strconv.Atoi(m[n-1][2])
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(m[n-1][1]), uint16(port))
}

// says sends a text to RTP and RTCP of a place until the other end has it, and returns
// where it came from.
func (e *sipEnd) says(t *testing.T, to netip.AddrPort, other *sipEnd, text string) (from [2]netip.AddrPort) {
	t.Helper()
	for i := range e.rtp {
		at := netip.AddrPortFrom(to.Addr(), to.Port()+uint16(i))
		if _, err := e.rtp[i].WriteToUDPAddrPort([]byte(text+strconv.Itoa(i)), at); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2000)
		if err := other.rtp[i].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, src, err := other.rtp[i].ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("%s to %v: %v", text, at, err)
		}
		if got := string(buf[:n]); got != text+strconv.Itoa(i) {
			t.Fatalf("%q arrived, want %s%d", got, text, i)
		}
		from[i] = netip.AddrPortFrom(src.Addr().Unmap(), src.Port())
	}
	return from
}

// talk lets media go both ways, to where each end was told, and checks that they come
// from there, too: RTP and RTCP.
func talk(t *testing.T, caller, callee *sipEnd, callerFirst bool) {
	t.Helper()
	callers, callees := caller.told(t, 1), callee.told(t, 1) // each as the other end sees it
	checkFrom := func(who string, from [2]netip.AddrPort, want netip.AddrPort) {
		t.Helper()
		for i, a := range from {
			if a != netip.AddrPortFrom(want.Addr(), want.Port()+uint16(i)) {
				t.Errorf("media of the %s come from %v, they go to %v", who, a, want)
			}
		}
	}
	order := []bool{callerFirst, !callerFirst, callerFirst}
	for _, callerSpeaks := range order {
		if callerSpeaks {
			checkFrom("caller", caller.says(t, callers, callee, "caller"), callees)
		} else {
			checkFrom("callee", callee.says(t, callees, caller, "callee"), callers)
		}
	}
}

// checkHidden fails if a log of messages has an address outside of Call-ID.
func checkHidden(t *testing.T, e *sipEnd, addr string) {
	t.Helper()
	log, err := os.ReadFile(e.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, addr) && !strings.HasPrefix(line, "Call-ID") {
			t.Errorf("%s sees %s", e.addr, line)
		}
	}
}

// call makes a call and lets both ends talk.
func call(t *testing.T, caller, callee *sipEnd, to string, callerFirst bool) {
	t.Helper()
	callee.start(t, "callee", "-m", "1")
	caller.start(t, "caller", "-m", "1", "-d", "2500", to)
	talk(t, caller, callee, callerFirst)
	caller.finish(t)
	callee.finish(t)
}

// checkMedia checks that as many flows were announced by signalling flows as were
// media ports in use.
func checkMedia(t *testing.T, g *lab.Gateway, want int) {
	t.Helper()
	n := 0
	for line := range strings.Lines(g.Command(t, "flows", "-o", "json")) {
		var f struct {
			Status []string
			Helper string
			Master *struct{ Dport int }
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if f.Master != nil && strings.Contains(strings.Join(f.Status, " "), "EXPECTED") {
			n++
		}
	}
	if n != want {
		t.Errorf("%d flows have a master, want %d:\n%s", n, want, g.Command(t, "flows", "-o", "json"))
	}
}

// checkSIPCounters checks the figures that stay 0 where good programs speak.
func checkSIPCounters(t *testing.T, g *lab.Gateway) {
	t.Helper()
	c := g.Counters(t)
	for _, name := range []string{"other_address", "privileged_port", "malformed", "not_sip", "body", "too_many", "no_port", "no_room", "too_fast", "fragment"} {
		if n := c["sip_"+name]; n != 0 {
			t.Errorf("sip_%s is %d", name, n)
		}
	}
}

// TestSIP: calls from inside through source NAT of both families, and from outside to a
// phone behind a DNAT rule; media both ways, whoever speaks first.
func TestSIP(t *testing.T) {
	lab.NeedsXDPCT(t) // of IPv6 sources the kernel is told nothing
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		g := l.StartGateway(t, nat66(t, l, "--helper", "sip:5060,5061", "--dnat", "udp:198.51.100.32:5060=10.1.2.3:5060")...)
		for i, callerFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("snat/caller-first=%v", callerFirst), func(t *testing.T) {
				caller := newEnd(t, l, l.Client, lab.ClientAddr, 5062+i, 20000+10*i)
				callee := newEnd(t, l, l.Server, lab.ServerAddr, 5060, 30000+10*i)
				call(t, caller, callee, lab.ServerAddr+":5060", callerFirst)
				checkHidden(t, callee, lab.ClientAddr)
				checkMedia(t, g, 2)
				g.Flush(t)
			})
			t.Run(fmt.Sprintf("dnat/caller-first=%v", callerFirst), func(t *testing.T) {
				caller := newEnd(t, l, l.Server, lab.ServerAddr, 5070+i, 30100+10*i)
				callee := newEnd(t, l, l.Client, lab.ClientAddr, 5060, 40100+10*i)
				call(t, caller, callee, lab.NATAddr+":5060", callerFirst)
				checkHidden(t, caller, lab.ClientAddr)
				checkMedia(t, g, 2)
				g.Flush(t)
			})
		}
		t.Run("snat6", func(t *testing.T) {
			caller := newEnd(t, l, l.Client, lab.ClientAddr6, 5060, 40200)
			callee := newEnd(t, l, l.Server, lab.ServerAddr6, 5060, 30200)
			call(t, caller, callee, "["+lab.ServerAddr6+"]:5060", false)
			checkHidden(t, callee, lab.ClientAddr6)
			checkMedia(t, g, 2)
		})
		checkSIPCounters(t, g)
	})
}

// TestSIPTwoHosts: two phones with the same ports call one server at once. The second
// one's media get other ports, and find their way.
func TestSIPTwoHosts(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.Client.Run(t, "ip", "addr", "add", "10.1.2.4/24", "dev", "eth0")
		g := l.StartGateway(t, snat("--helper", "sip:5060,5061")...)
		first, second := newEnd(t, l, l.Client, lab.ClientAddr, 5060, 20000), newEnd(t, l, l.Client, "10.1.2.4", 5060, 20000)
		callee1, callee2 := newEnd(t, l, l.Server, lab.ServerAddr, 5060, 30000), newEnd(t, l, l.Server, lab.ServerAddr, 5061, 32000)
		callee1.start(t, "callee", "-m", "1")
		callee2.start(t, "callee", "-m", "1")
		first.start(t, "caller", "-m", "1", "-d", "4000", lab.ServerAddr+":5060")
		a := callee1.told(t, 1)
		second.start(t, "caller", "-m", "1", "-d", "3000", lab.ServerAddr+":5061")
		b := callee2.told(t, 1)
		if a.Port() != 20000 || b.Port() == a.Port() || b.Port()%2 != 0 {
			t.Errorf("media at %v and %v", a, b)
		}
		talk(t, second, callee2, false)
		talk(t, first, callee1, true)
		for _, e := range []*sipEnd{first, second, callee1, callee2} {
			e.finish(t)
		}
		checkMedia(t, g, 4)
		checkSIPCounters(t, g)
	})
}

// TestSIPMasquerade: a call to outside and, to a phone that has registered, from there,
// where NAT uses the gateway's own address.
func TestSIPMasquerade(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		g := l.StartGateway(t, "--masquerade", "--helper", "sip")
		caller, callee := inside(5060)(t, l), outside(5060)(t, l)
		call(t, caller, callee, lab.ServerAddr+":5060", false)
		checkHidden(t, callee, lab.ClientAddr)
		caller.close()
		callee.close()
		phone, registrar := inside(5066)(t, l), newEnd(t, l, l.Server, lab.ServerAddr, 5060, 30500)
		registrar.start(t, "registrar", "-m", "1")
		phone.start(t, "register", "-m", "1", lab.ServerAddr+":5060")
		phone.finish(t)
		registrar.finish(t)
		caller = outside(5099)(t, l)
		call(t, caller, phone, "203.0.113.1:5066", true)
		checkHidden(t, caller, lab.ClientAddr)
		ping(t, l.Server, "-c1", "203.0.113.1") // the gateway itself is there as ever
		if !g.Kernel() {
			checkSIPCounters(t, g)
		}
	})
}

// TestSIPRegistered: a phone registers outside, and is then called from another port of
// the registrar's host.
func TestSIPRegistered(t *testing.T) {
	lab.NeedsXDPCT(t)
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		g := l.StartGateway(t, snat("--helper", "sip")...)
		phone := newEnd(t, l, l.Client, lab.ClientAddr, 5066, 20000)
		registrar := newEnd(t, l, l.Server, lab.ServerAddr, 5060, 30000)
		registrar.start(t, "registrar", "-m", "1")
		phone.start(t, "register", "-m", "1", lab.ServerAddr+":5060")
		phone.finish(t)
		registrar.finish(t)
		if got := g.ProcExpectations(t); len(got) != 1 || !regexp.MustCompile(`^(59\d|600) .* dport=5066 PERMANENT sip/signalling$`).MatchString(got[0]) {
			t.Fatalf("expectations %q", got)
		}
		caller := newEnd(t, l, l.Server, lab.ServerAddr, 5099, 30010)
		call(t, caller, phone, lab.NATAddr+":5066", true)
		checkHidden(t, caller, lab.ClientAddr)
		checkMedia(t, g, 3) // and the signalling flow
		if got := g.Expectations(t); len(got) != 1 {
			t.Errorf("after the call: %q", got)
		}
		if got := strings.Join(g.Flows(t), "\n"); strings.Count(got, "helper=sip") != 2 {
			t.Errorf("the call's signalling has no helper:\n%s", got)
		}
		checkSIPCounters(t, g)
	})
}

// A sipExchange is a way to make a call, for both gateways.
type sipExchange struct {
	name           string
	caller, callee func(t *testing.T, l *lab.Lab) *sipEnd
	to             string // where the caller finds the callee
	registers      bool   // the callee registers with the caller's host first
}

func inside(port int) func(*testing.T, *lab.Lab) *sipEnd {
	return func(t *testing.T, l *lab.Lab) *sipEnd { return newEnd(t, l, l.Client, lab.ClientAddr, port, 20000) }
}

func outside(port int) func(*testing.T, *lab.Lab) *sipEnd {
	return func(t *testing.T, l *lab.Lab) *sipEnd { return newEnd(t, l, l.Server, lab.ServerAddr, port, 30000) }
}

var sipExchanges = []sipExchange{
	{"snat", inside(5060), outside(5060), lab.ServerAddr + ":5060", false},
	{"dnat", outside(5070), inside(5060), lab.NATAddr + ":5060", false},
	{"registered", outside(5099), inside(5066), lab.NATAddr + ":5066", true},
}

// TestSIPSameAsKernel lets both carry a call and compares what they show of it: when
// both ends have announced their media, and in the end.
func TestSIPSameAsKernel(t *testing.T) {
	eachQueues(t, func(t *testing.T, ours *lab.Lab) {
		theirs := lab.New(t, 2)
		flags := snat("--helper", "sip", "--dnat", "udp:198.51.100.32:5060=10.1.2.3:5060")
		kernel, xdpct := theirs.StartKernel(t, flags...), ours.StartGateway(t, flags...)
		for _, x := range sipExchanges {
			seen := make(chan [2]observation, 1)
			go func() {
				defer close(seen)
				seen <- x.observe(t, theirs, kernel)
			}()
			got := x.observe(t, ours, xdpct)
			want, ok := <-seen
			if !ok {
				t.FailNow()
			}
			for i, when := range []string{"announced", "in the end"} {
				t.Run(x.name+"/"+when, func(t *testing.T) { want[i].compare(t, got[i]) })
			}
		}
	})
}

// observe makes the call and records what the gateway shows when media are announced,
// and in the end.
func (x sipExchange) observe(t *testing.T, l *lab.Lab, g *lab.Gateway) (o [2]observation) {
	g.Flush(t)
	events, expectEvents := g.Events(t), g.ExpectEvents(t)
	caller, callee := x.caller(t, l), x.callee(t, l)
	defer caller.close()
	defer callee.close()
	if x.registers {
		registrar := newEnd(t, l, caller.ns, caller.addr, 5060, 30500)
		registrar.start(t, "registrar", "-m", "1")
		callee.start(t, "register", "-m", "1", registrar.addr+":5060")
		callee.finish(t)
		registrar.finish(t)
	}
	callee.start(t, "callee", "-m", "1")
	caller.start(t, "caller", "-m", "1", "-d", "4000", x.to)
	callers, callees := caller.told(t, 1), callee.told(t, 1)
	o[0] = observeListings(t, g)
	caller.says(t, callers, callee, "caller")
	callee.says(t, callees, caller, "callee")
	caller.finish(t)
	callee.finish(t)
	events.Settle(300 * time.Millisecond)
	o[1] = observeListings(t, g)
	o[1].Events = parseAll(t, events.Stop(t))
	o[1].ExpectEvents = parseAll(t, expectEvents.Stop(t))
	nominal(g, o[1].Events)
	return o
}

// parseAll splits lines; the ports are the same in each run.
func parseAll(t *testing.T, lines []string) (records []lab.Record) {
	t.Helper()
	for _, line := range lines {
		r, err := lab.Parse(line)
		if err != nil {
			t.Error(err)
		}
		records = append(records, r)
	}
	return records
}

func observeListings(t *testing.T, g *lab.Gateway) (o observation) {
	t.Helper()
	o.Flows, o.ProcFlows = parseAll(t, g.Flows(t)), parseAll(t, g.ProcFlows(t))
	o.Expectations, o.ProcExpect = parseAll(t, g.Expectations(t)), parseAll(t, g.ProcExpectations(t))
	for _, line := range g.ExpectationsIn(t, "xml") {
		o.XMLExpect = append(o.XMLExpect, regexp.MustCompile(`<timeout>\d+`).ReplaceAllString(line, ""))
	}
	slices.Sort(o.XMLExpect)
	return o
}

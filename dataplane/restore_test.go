package dataplane

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// savedState ends a gateway and returns its state file.
func (p *path) savedState() []byte {
	p.t.Helper()
	p.Stop()
	var b bytes.Buffer
	flows, err := p.WriteState(&b, time.Now())
	if err != nil || flows != p.counterValue("flows") {
		p.t.Fatalf("%d of %d flows saved: %v", flows, p.counterValue("flows"), err)
	}
	return b.Bytes()
}

// restore takes a state file that was saved some time ago.
func (p *path) restore(state []byte, ago time.Duration) Restored {
	p.t.Helper()
	sum, err := p.Restore(bytes.NewReader(state), time.Now().Add(ago))
	if err != nil {
		p.t.Fatal(err)
	}
	return sum
}

// listed returns what is told of all flows, in the order of their tuples.
func (p *path) listed() []flowtable.Snapshot {
	var all []flowtable.Snapshot
	for _, t := range p.Tables() {
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			var s flowtable.Snapshot
			if t.Read(idx, p.Now(), &s) {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b flowtable.Snapshot) int { return cmp.Compare(a.Orig.String(), b.Orig.String()) })
	return all
}

// checkSameList compares two lists of flows but for places in tables and points of
// the clock.
func checkSameList(t *testing.T, want, got []flowtable.Snapshot) {
	t.Helper()
	left := gocmp.FilterPath(func(p gocmp.Path) bool { return p.Last().String() == ".Timeout" },
		gocmp.Comparer(func(a, b uint32) bool { return a-b+2 <= 4 }))
	diff := gocmp.Diff(want, got, left, cmpopts.IgnoreFields(flowtable.Snapshot{}, "Created", "LastSeen", "Index", "Gen", "Master"),
		cmpopts.IgnoreUnexported(flowtable.Tuple{}))
	if diff != "" {
		t.Errorf("flows before and after (-before +after):\n%s", diff)
	}
}

// conversation is a flow of TCP or UDP, as both sides know it.
type conversation struct {
	from          int // the port that its questions come in by
	tcp           bool
	asked, came   [2]netip.AddrPort // question before and after the gateway
	answered, got [2]netip.AddrPort // answer before and after
}

// converse begins a flow and answers it.
func (p *path) converse(from int, tcp bool, src, dst netip.AddrPort) conversation {
	p.t.Helper()
	question, answer := p.exchange(from, tcp, src, dst)
	c := conversation{from, tcp, [2]netip.AddrPort{src, dst}, question, [2]netip.AddrPort{question[1], question[0]}, answer}
	p.goOn(&c)
	return c
}

// goOn sends a packet each way, in order and in window, which has to arrive as before.
func (p *path) goOn(c *conversation) {
	p.t.Helper()
	if got := p.pass(c.from, c.tcp, c.asked[0], c.asked[1], layers.TCP{ACK: true, Seq: 2, Ack: 10}); got != c.came {
		p.t.Errorf("%v arrives as %v, expected %v", c.asked, got, c.came)
	}
	if got := p.pass(1-c.from, c.tcp, c.answered[0], c.answered[1], layers.TCP{ACK: true, Seq: 10, Ack: 2}); got != c.got {
		p.t.Errorf("%v is answered as %v, expected %v", c.asked, got, c.got)
	}
}

// sshRule leads to the client.
const sshRule = "tcp:198.51.100.32:22=10.1.2.3:2222"

// manyFlows are rules with which manyConversations can be had.
func manyFlows(o *Options) {
	o.NAT.SNAT = []nat.Pool{mustPool("198.51.100.32-198.51.100.33"), mustPool("2001:db8:32::1")}
	o.NAT.DNAT = []nat.DNATRule{mustRule(sshRule), mustRule("udp:198.51.100.40:500=10.1.2.4:501")}
}

// manyConversations begins flows of all kinds: ports kept and changed, in and out,
// both families.
func (p *path) manyConversations() (all []conversation) {
	p.t.Helper()
	for _, port := range somePorts {
		for _, tcp := range []bool{true, false} {
			all = append(all, p.converse(lan, tcp, at(clientAddr, port), at(serverAddr, 80)),
				p.converse(lan, tcp, at(client6Addr, port), at(server6Addr, 80)))
		}
		// One address of the pool each, or one for both: some ports have to change.
		all = append(all, p.converse(lan, true, at(client2Addr, port), at(serverAddr, 80)),
			p.converse(wan, true, at(serverAddr, port), at(poolAddr, 22)),
			p.converse(wan, false, at(serverAddr, port), at(netip.MustParseAddr("198.51.100.40"), 500)))
	}
	return all
}

// Flows go on after a restart, however packets came to workers before and after and
// however many workers there were.
func TestRestartKeepsFlows(t *testing.T) {
	ways := append([]spread{{"one worker", 1, tellNothing, atRandom}}, spreads...)
	for _, before := range ways {
		for _, after := range ways {
			t.Run(before.name+" then "+after.name, func(t *testing.T) {
				old := before.open(t, manyFlows)
				all := old.manyConversations()
				list := old.listed()
				p := after.open(t, manyFlows)
				if sum := p.restore(old.savedState(), 0); sum.Flows != uint64(len(list)) {
					t.Fatalf("%+v of %d flows", sum, len(list))
				}
				checkSameList(t, list, p.listed())
				for range 2 {
					for i := range all {
						p.goOn(&all[i])
					}
				}
				p.checkFlows(len(list))
				if n := p.counterValue("flows_new"); n != 0 {
					t.Errorf("%d new flows", n)
				}
				checkNewFlowsFit(t, p, len(list))
			})
		}
	}
}

// checkNewFlowsFit: new flows get no port that a flow of before has.
func checkNewFlowsFit(t *testing.T, p *path, flows int) {
	t.Helper()
	third := netip.MustParseAddr("10.1.2.4")
	for i, port := range somePorts {
		p.converse(lan, true, at(third, port+1), at(serverAddr, 80))
		p.converse(lan, false, at(third, port), at(serverAddr, 80))
		flows += 2
		if n := int(p.counterValue("flows")); n != flows {
			t.Fatalf("%d flows after %d new ones, want %d", n, 2*(i+1), flows)
		}
	}
	seen := make(map[flowtable.Tuple]bool)
	for _, s := range p.listed() {
		if seen[s.Reply] || seen[s.Orig] {
			t.Errorf("two flows have %v", &s)
		}
		seen[s.Reply], seen[s.Orig] = true, true
	}
}

// Nothing that a flow holds is left over when it ends after a restart.
func TestRestartGivesBackWhatItTook(t *testing.T) {
	old := newPath(t, manyFlows)
	old.manyConversations()
	p := newPath(t, func(o *Options) { manyFlows(o); o.Queues = 3 })
	p.queue = atRandom(nil, nil, 3)
	mem := make([]uint32, nat.PortUseSlots)
	if err := p.shared.use.Register(packet.IPv4, packet.AddrOf(poolAddr), mem); err != nil {
		t.Fatal(err)
	}
	sum := p.restore(old.savedState(), 0)
	inUse := uint32(0)
	for _, n := range mem {
		inUse += n
	}
	if p.counterValue("nat_mappings") == 0 || inUse == 0 || p.path.strays.Len() == 0 {
		t.Errorf("%d mappings, %d ports in use, %d strays: nothing to be given back", p.counterValue("nat_mappings"), inUse, p.path.strays.Len())
	}
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			w.removeFlow(idx, flowtable.EndDeleted)
		}
	}
	if n := p.counterValue("flows_ended"); n != sum.Flows || p.counterValue("nat_mappings") != 0 || p.path.strays.Len() != 0 {
		t.Errorf("%d of %d flows ended, %d mappings and %d strays are left", n, sum.Flows, p.counterValue("nat_mappings"), p.path.strays.Len())
	}
	if i := slices.IndexFunc(mem, func(n uint32) bool { return n != 0 }); i >= 0 {
		t.Errorf("port %d is still in use", i)
	}
}

// A session whose text was changed goes on: sequence numbers are shifted as before,
// and what was announced is let in, by another number of workers.
func TestRestartKeepsFTP(t *testing.T) {
	for _, workers := range []int{1, 2, 3} {
		s := newFTPSession(t)
		s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
		before := s.listed()
		p := newPath(t, func(o *Options) { o.Queues = workers })
		p.queue = atRandom(nil, nil, workers)
		if err := p.shared.use.Register(packet.IPv4, packet.AddrOf(poolAddr), make([]uint32, nat.PortUseSlots)); err != nil {
			t.Fatal(err)
		}
		if sum := p.restore(s.savedState(), time.Minute); sum.Flows != 1 || sum.Expectations != 1 {
			t.Fatalf("%+v", sum)
		}
		if after := p.listed(); len(after) != 1 || after[0].Helper != before[0].Helper || after[0].ID != before[0].ID {
			t.Errorf("before %+v, after %+v", before, after)
		}
		s.path = p
		if s.portUse(6400) != 1 || s.portUse(40000) != 1 {
			t.Errorf("ports in use %d and %d times", s.portUse(6400), s.portUse(40000))
		}
		s.checkAnnouncedComesIn(t)
		// The helper has not lost its place: the next command is changed as well, and
		// the first one again if it is repeated.
		next := 108 + uint32(len(portCommand))
		if got := string(s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand).Payload); got != portOutside {
			t.Errorf("repeated as %q", got)
		}
		if got := string(s.client(layers.TCP{ACK: true, PSH: true, Seq: next, Ack: 516}, "PORT 10,1,2,3,25,1\r\n").Payload); got != "PORT 198,51,100,32,25,1\r\n" {
			t.Errorf("the next command left as %q", got)
		}
		if e := firstExpectation(p); e.ID != 2 {
			t.Errorf("the next expectation has the ID %d, want 2", e.ID)
		}
	}
}

// firstExpectation returns an expectation.
func firstExpectation(p *path) (first flowtable.Expectation) {
	p.Expectations().Each(func(e *flowtable.Expectation) bool { first = *e; return false })
	return first
}

// checkAnnouncedComesIn goes on with a session that has announced port 6400.
func (s *ftpSession) checkAnnouncedComesIn(t *testing.T) {
	t.Helper()
	s.port = 40000
	grown, end := uint32(len(portOutside)-len(portCommand)), 108+uint32(len(portCommand))
	if got := s.server(layers.TCP{ACK: true, Seq: 508, Ack: end + grown}, "200 ok\r\n").Ack; got != end {
		t.Errorf("server's ACK reached the client as %d, want %d", got, end)
	}
	data := spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6400, tcp: &layers.TCP{SYN: true, Seq: 7}}
	in := s.check(s.send(wan, build(t, wan, data)), lan)
	if got, want := endpoints(t, in), "203.0.113.47:20 10.1.2.3:6400"; got != want {
		t.Errorf("data connection arrived as %s, want %s", got, want)
	}
	list := s.listed()
	if len(list) != 2 || s.Expectations().Len() != 0 {
		t.Fatalf("%d flows, %d expectations", len(list), s.Expectations().Len())
	}
	m := list[slices.IndexFunc(list, func(s flowtable.Snapshot) bool { return s.Orig.DstPort == 6400 })].Master
	var master flowtable.Snapshot
	if !s.Tables()[m.Worker].Read(m.Index, s.Now(), &master) || master.Orig.DstPort != 21 {
		t.Errorf("the master is %+v", master)
	}
}

// An announced flow still knows its master after a restart.
func TestRestartKeepsMasters(t *testing.T) {
	s := newFTPSession(t)
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	s.checkAnnouncedComesIn(t)
	p := newPath(t, func(o *Options) { o.Queues = 3 })
	if sum := p.restore(s.savedState(), 0); sum.Flows != 2 {
		t.Fatalf("%+v", sum)
	}
	for _, f := range p.listed() {
		var master flowtable.Snapshot
		if f.Orig.DstPort == 6400 && (!p.Tables()[f.Master.Worker].Read(f.Master.Index, p.Now(), &master) ||
			master.Gen != f.Master.Gen || master.Orig.DstPort != 21) {
			t.Errorf("the master is %+v", master)
		}
	}
}

// The time that passed while nothing ran counts; if the clock was put back, none has.
func TestRestartCountsTheTime(t *testing.T) {
	for _, c := range []struct {
		away        time.Duration
		kept, ended uint64
		left        uint32 // of the TCP flow, seconds
	}{
		{0, 2, 0, 300}, {20 * time.Second, 2, 0, 280}, {100 * time.Second, 1, 1, 200}, {301 * time.Second, 0, 2, 0},
		{-time.Hour, 2, 0, 300}, {1 << 61, 0, 2, 0},
	} {
		old := newPath(t, nil)
		old.converse(lan, false, at(clientAddr, 4000), at(serverAddr, 53))
		old.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 80))
		for _, w := range old.workers {
			w.flows.table.Refresh(2, 300*flowtable.TicksPerSecond, old.Now())
		}
		p := newPath(t, nil)
		sum := p.restore(old.savedState(), c.away)
		if sum.Flows != c.kept || sum.Expired != c.ended || sum.Away != max(c.away, 0) && c.away < 1<<60 && sum.Away-c.away > time.Minute {
			t.Errorf("after %v: %+v", c.away, sum)
		}
		for _, s := range p.listed() {
			if s.Proto == packet.ProtoTCP && s.Timeout+1 < c.left || s.Timeout > 300 {
				t.Errorf("after %v: %d s left, want %d", c.away, s.Timeout, c.left)
			}
		}
		p.advance(301 * time.Second)
		if n := p.counterValue("flows"); n != 0 {
			t.Errorf("after %v: %d flows do not expire", c.away, n)
		}
	}
}

// What the rules do not allow any more is refused, and nothing else.
func TestRestartUnderOtherRules(t *testing.T) {
	masquerade := nat.Config{Masquerade: true}
	pool := func(s string) nat.Config { return nat.Config{SNAT: []nat.Pool{mustPool(s)}} }
	ruled := func(s ...string) nat.Config {
		c := pool(poolAddr.String())
		for _, r := range s {
			c.DNAT = append(c.DNAT, mustRule(r))
		}
		return c
	}
	out := func(p *path) { p.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 80)) }
	in := func(p *path) { p.converse(wan, true, at(serverAddr, 4000), at(poolAddr, 22)) }
	for name, c := range map[string]struct {
		before, after nat.Config
		begin         func(*path)
		kept          bool
	}{
		"same pool":              {pool("198.51.100.32"), pool("198.51.100.32"), out, true},
		"larger pool":            {pool("198.51.100.32"), pool("198.51.100.30-198.51.100.35"), out, true},
		"other pool":             {pool("198.51.100.32"), pool("198.51.100.33"), out, false},
		"range with the port":    {pool("198.51.100.32"), pool("198.51.100.32:3000-5000"), out, true},
		"range without the port": {pool("198.51.100.32"), pool("198.51.100.32:5000-9000"), out, false},
		"pool to masquerade":     {pool("198.51.100.32"), masquerade, out, false},
		"masquerade":             {masquerade, masquerade, out, true},
		"masquerade to pool":     {masquerade, pool("198.51.100.32"), out, false},
		"same rule":              {ruled(sshRule), ruled(sshRule), in, true},
		"no rule":                {ruled(sshRule), ruled(), in, false},
		"another target":         {ruled(sshRule), ruled("tcp:198.51.100.32:22=10.1.2.4:2222"), in, false},
		"a rule on the port":     {ruled(), ruled("tcp:198.51.100.32:4000=10.1.2.4:4000"), out, false},
		"a rule for the source":  {ruled(), ruled("tcp:198.51.100.32:4000=10.1.2.3:4000"), out, true},
	} {
		t.Run(name, func(t *testing.T) {
			old := newPath(t, func(o *Options) { o.NAT = c.before })
			c.begin(old)
			p := newPath(t, func(o *Options) { o.NAT = c.after })
			sum := p.restore(old.savedState(), 0)
			if kept := sum.Flows == 1; kept != c.kept || sum.Flows+sum.Refused != 1 {
				t.Errorf("%+v, want kept=%v", sum, c.kept)
			}
		})
	}
}

// With less room some flows are lost, and counted; those that are kept work.
func TestRestartWithLessRoom(t *testing.T) {
	old := newPath(t, nil)
	var all []conversation
	for port := range uint16(100) {
		all = append(all, old.converse(lan, true, at(clientAddr, 4000+port), at(serverAddr, 80)))
	}
	p := newPath(t, func(o *Options) { o.MaxFlows = 60 })
	if sum := p.restore(old.savedState(), 0); sum.Flows != 60 || sum.NoRoom != 40 {
		t.Fatalf("%+v", sum)
	}
	for i := range all[:60] {
		p.goOn(&all[i])
	}
	p.checkFlows(60)
}

// A file that is not whole changes nothing.
func TestRestartRefusesDamage(t *testing.T) {
	old := newPath(t, nil)
	old.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 80))
	state := old.savedState()
	p := newPath(t, nil)
	for i := range state {
		bad := slices.Clone(state)
		bad[i]++
		if _, err := p.Restore(bytes.NewReader(bad), time.Now()); !errors.Is(err, flowtable.ErrState) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	p.checkFlows(0)
}

// What a helper remembers may be anything in a file: it is judged before it is used.
func TestRestartRefusesBadHelperRecords(t *testing.T) {
	s := newFTPSession(t)
	x := s.workers[0].flows.table.Ext(1)
	x.Helper = 200
	p := newPath(t, nil)
	if _, err := p.Restore(bytes.NewReader(s.savedState()), time.Now()); !errors.Is(err, flowtable.ErrState) {
		t.Error(err)
	}
	x.Helper = uint8(helpers.IDFTP)
	p.checkFlows(0)
}

// No reader hears of flows that were there before.
func TestRestartTellsNoEvents(t *testing.T) {
	old := newPath(t, nil)
	c := old.converse(lan, false, at(clientAddr, 4000), at(serverAddr, 53))
	p := newPath(t, nil)
	sub := p.Subscribe(16)
	defer sub.Close()
	p.restore(old.savedState(), 0)
	p.goOn(&c)
	p.workers[0].removeFlow(1, flowtable.EndDeleted)
	var buf [16]flowtable.Event
	n, _, err := sub.Read(t.Context(), buf[:])
	if err != nil || n != 1 || buf[0].Kind != flowtable.EventDestroy {
		t.Errorf("%d events, the first %v: %v", n, buf[0].Kind, err)
	}
}

// A connection keeps its window: what lies beyond it is INVALID after a restart, too.
func TestRestartKeepsWindows(t *testing.T) {
	old := newPath(t, nil)
	c := old.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 80))
	p := newPath(t, nil)
	p.restore(old.savedState(), 0)
	far := l4(true, c.asked[0], c.asked[1], layers.TCP{ACK: true, Seq: 1 << 24, Ack: 10})
	if out := p.send(lan, build(t, lan, far)); len(out) != 0 || p.counterValue("invalid_tcp_window") != 1 {
		t.Errorf("%d packets out of window are forwarded", len(out))
	}
	p.goOn(&c)
}

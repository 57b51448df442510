package nat_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// gateway is a table with the translator of one worker.
type gateway struct {
	t     *testing.T
	table *flowtable.Table
	n     *nat.Translator
	masq  packet.Addr
}

func newGateway(t *testing.T, cfg nat.Config, worker int, use *nat.PortUse) *gateway {
	t.Helper()
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	mustDo(t, cfg.Validate())
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1 << 16, Seed: 1})
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, table.Close()) })
	return &gateway{t: t, table: table, n: nat.NewTranslator(&cfg, worker, 42, 1<<16, use)}
}

func snatConfig(t testing.TB, pools ...string) nat.Config {
	t.Helper()
	var cfg nat.Config
	for _, s := range pools {
		p, err := nat.ParseSNAT(s)
		mustDo(t, err)
		cfg.SNAT = append(cfg.SNAT, p)
	}
	return cfg
}

// choose proposes a translation and settles it.
func (g *gateway) choose(orig *flowtable.Tuple, in, out nat.Realm) nat.Choice {
	var c nat.Choice
	g.n.Propose(&c, g.table, orig, in, out, g.masq)
	g.n.Choose(&c, g.table, orig, 0)
	return c
}

// open chooses a translation, inserts the flow and binds it.
func (g *gateway) open(orig flowtable.Tuple, in, out nat.Realm) (nat.Choice, uint32) {
	g.t.Helper()
	c := g.choose(&orig, in, out)
	if c.Reason != nat.ReasonNone {
		return c, 0
	}
	return c, g.insert(&orig, &c)
}

func (g *gateway) insert(orig *flowtable.Tuple, c *nat.Choice) uint32 {
	g.t.Helper()
	idx, r := g.table.Add(&flowtable.NewFlow{
		Orig: orig, Reply: &c.Reply, Keys: flowtable.Keys{g.table.Hash(orig), c.Hash}, Status: c.Status}, 0)
	if r != flowtable.InsertOK {
		g.t.Fatalf("insert %v / %v: %v", orig, &c.Reply, r)
	}
	if c.Hash != g.table.Hash(&c.Reply) {
		g.t.Fatalf("%v came with another tuple's hash", &c.Reply)
	}
	g.n.Bind(g.table, idx, orig, c)
	return idx
}

func (g *gateway) close(idx uint32) {
	g.n.Release(g.table, idx)
	g.table.Remove(idx)
}

// mustOpen opens a flow from the internal to the external realm.
func (g *gateway) mustOpen(proto uint8, src, dst string) (nat.Choice, uint32) {
	g.t.Helper()
	c, idx := g.open(tuple(proto, src, dst), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonNone {
		g.t.Fatalf("%s > %s: %v", src, dst, c.Reason)
	}
	return c, idx
}

// checkReply asserts a reply tuple, given as "addr:port".
func checkReply(t *testing.T, c nat.Choice, src, dst string, status flowtable.Status) {
	t.Helper()
	want := tuple(c.Reply.Proto, src, dst)
	if c.Reply != want {
		t.Errorf("reply %v, want %v", &c.Reply, &want)
	}
	if c.Status != status {
		t.Errorf("status %#x, want %#x", c.Status, status)
	}
}

func TestChooseKeepsPort(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1"), 0, nil)
	c, _ := g.mustOpen(packet.ProtoTCP, "10.0.0.5:40000", "198.51.100.1:80")
	checkReply(t, c, "198.51.100.1:80", "203.0.113.1:40000", flowtable.StatusSNAT)
}

// TestChooseClasses is what a 6.18 kernel does with a second client on the
// same port: 100 -> 1-511, 600 -> 600-1023, 1024 and 7000 -> 1024-65535.
func TestChooseClasses(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1"), 0, nil)
	for _, tt := range []struct{ port, first, last uint16 }{
		{100, 1, 511}, {511, 1, 511}, {600, 600, 1023}, {1023, 600, 1023}, {1024, 1024, 65535}, {7000, 1024, 65535},
	} {
		for i := range 40 {
			src := fmt.Sprintf("10.0.0.%d:%d", i+1, tt.port)
			c, _ := g.mustOpen(packet.ProtoTCP, src, "198.51.100.1:80")
			got := c.Reply.DstPort
			if i == 0 && got != tt.port {
				t.Errorf("first client: port %d became %d", tt.port, got)
			}
			if got < tt.first || got > tt.last {
				t.Errorf("%s became port %d, want %d-%d", src, got, tt.first, tt.last)
			}
		}
	}
}

func TestChooseSameClientOtherDestinationKeepsMapping(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1-203.0.113.4"), 0, nil)
	g.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.1:53")
	// A second host is moved off port 7000 only if it shares the address.
	var second nat.Choice
	var host string
	for i := 6; ; i++ {
		host = fmt.Sprintf("10.0.0.%d:7000", i)
		if second, _ = g.mustOpen(packet.ProtoUDP, host, "198.51.100.1:53"); second.Reply.DstPort != 7000 {
			break
		}
	}
	for i := range 50 {
		c, _ := g.mustOpen(packet.ProtoUDP, host, fmt.Sprintf("198.51.100.2:%d", 1000+i))
		if c.Reply.Dst != second.Reply.Dst || c.Reply.DstPort != second.Reply.DstPort {
			t.Fatalf("mapping moved from %v to %v", &second.Reply, &c.Reply)
		}
	}
	if got := g.n.Stats().Mappings; got != 1 {
		t.Errorf("%d mappings, want that of the one host that was moved off its port", got)
	}
}

func TestChooseUnchangedIfItFits(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1-203.0.113.8"), 0, nil)
	c, _ := g.mustOpen(packet.ProtoTCP, "203.0.113.7:1234", "198.51.100.1:80")
	checkReply(t, c, "198.51.100.1:80", "203.0.113.7:1234", 0)
	if g.n.Stats().Mappings != 0 {
		t.Error("an untranslated flow has a mapping")
	}
}

func TestChoosePairedAddress(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1-203.0.113.16", "203.0.113.32-203.0.113.47")
	cfg.Workers = 2
	g, other := newGateway(t, cfg, 0, nil), newGateway(t, cfg, 1, nil)
	used := make(map[packet.Addr]int)
	for host := range 400 {
		addr := fmt.Sprintf("10.0.%d.%d", host/200, host%200+1)
		var first packet.Addr
		for i := range 8 {
			// Blocks of 64 ports alternate between the workers.
			w := []*gateway{g, other}[i%2]
			c, _ := w.mustOpen(packet.ProtoTCP, fmt.Sprintf("%s:%d", addr, 2048+64*i), "198.51.100.1:80")
			if i == 0 {
				first = c.Reply.Dst
				used[first]++
			} else if c.Reply.Dst != first {
				t.Fatalf("%s leaves with two addresses", addr)
			}
		}
	}
	if len(used) != 32 {
		t.Errorf("%d of 32 addresses are used", len(used))
	}
	for a, n := range used {
		if n > 40 { // 12.5 on average
			t.Errorf("%s has %d of 400 hosts", a.Netip(packet.IPv4), n)
		}
	}
}

func TestChooseExplicitRange(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1:2000-2099"), 0, nil)
	c, _ := g.mustOpen(packet.ProtoTCP, "10.0.0.1:2050", "198.51.100.1:80")
	checkReply(t, c, "198.51.100.1:80", "203.0.113.1:2050", flowtable.StatusSNAT)
	seen := map[uint16]bool{2050: true}
	for i := 1; i < 100; i++ {
		c, _ := g.mustOpen(packet.ProtoTCP, fmt.Sprintf("10.0.0.%d:500", i+1), "198.51.100.1:80")
		p := c.Reply.DstPort
		if p < 2000 || p > 2099 || seen[p] {
			t.Fatalf("client %d got port %d (seen %v)", i, p, seen[p])
		}
		seen[p] = true
	}
	c, _ = g.open(tuple(packet.ProtoTCP, "10.0.9.9:500", "198.51.100.1:80"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonPortsExhausted {
		t.Errorf("101st client: %v, want exhaustion", c.Reason)
	}
	if s := g.n.Stats(); s.Exhausted != 1 {
		t.Errorf("exhausted %d, want 1", s.Exhausted)
	}
	// Another destination has all ports again.
	g.mustOpen(packet.ProtoTCP, "10.0.9.9:500", "198.51.100.1:81")
}

func TestChooseICMP(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1", "2001:db8::1"), 0, nil)
	for _, tt := range []struct {
		proto            uint8
		a, b, dst        string
		request, replied uint16
	}{
		{packet.ProtoICMP, "10.0.0.1:7", "10.0.0.2:7", "198.51.100.1:2048", 8 << 8, 0},
		{packet.ProtoICMPv6, "[fd00::1]:7", "[fd00::2]:7", "[2001:db8:9::9]:32768", 128 << 8, 129 << 8},
	} {
		first, _ := g.mustOpen(tt.proto, tt.a, tt.dst)
		second, _ := g.mustOpen(tt.proto, tt.b, tt.dst)
		if first.Reply.SrcPort != 7 || first.Reply.DstPort != tt.replied {
			t.Errorf("first ping: %v", &first.Reply)
		}
		if second.Reply.SrcPort == 7 || second.Reply.DstPort != tt.replied || second.Reply.Dst != first.Reply.Dst {
			t.Errorf("second ping: %v", &second.Reply)
		}
		if second.Status != flowtable.StatusSNAT {
			t.Errorf("status %#x", second.Status)
		}
		high := 0 // ids have no classes: most of 65536 are above 511
		for i := range 20 {
			src := strings.Replace(strings.Replace(tt.b, "0.2", fmt.Sprintf("0.%d", i+3), 1), "::2", fmt.Sprintf("::%d", i+3), 1)
			if c, _ := g.mustOpen(tt.proto, src, tt.dst); c.Reply.SrcPort > 511 {
				high++
			}
		}
		if high < 15 {
			t.Errorf("only %d of 20 ids above 511", high)
		}
	}
}

// TestChooseWithoutPorts: GRE is translated by address; a second host to the
// same peer is refused and counted.
func TestChooseWithoutPorts(t *testing.T) {
	for _, proto := range []uint8{packet.ProtoGRE, 50, 253} {
		g := newGateway(t, snatConfig(t, "203.0.113.1"), 0, nil)
		c, _ := g.mustOpen(proto, "10.0.0.1:0", "198.51.100.1:0")
		checkReply(t, c, "198.51.100.1:0", "203.0.113.1:0", flowtable.StatusSNAT)
		c, _ = g.open(tuple(proto, "10.0.0.2:0", "198.51.100.1:0"), nat.RealmInternal, nat.RealmExternal)
		if c.Reason != nat.ReasonClash || g.n.Stats().Clashes != 1 {
			t.Errorf("second host: %v, %d clashes", c.Reason, g.n.Stats().Clashes)
		}
		g.mustOpen(proto, "10.0.0.2:0", "198.51.100.2:0")
	}
}

// TestChooseNullBinding: a forwarded host that collides with a translated one
// gets another source port, but keeps its address.
func TestChooseNullBinding(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1"), 0, nil)
	g.mustOpen(packet.ProtoTCP, "10.0.0.1:7000", "198.51.100.1:80")
	c, idx := g.open(tuple(packet.ProtoTCP, "203.0.113.1:7000", "198.51.100.1:80"), nat.RealmInternal, nat.RealmInternal)
	if c.Reason != nat.ReasonNone || c.Reply.Dst != packet.AddrOf(addr("203.0.113.1")) ||
		c.Reply.DstPort == 7000 || c.Reply.DstPort < 1024 || c.Status != flowtable.StatusSNAT {
		t.Errorf("colliding host: %v %v status %#x", c.Reason, &c.Reply, c.Status)
	}
	g.close(idx)
	if got := g.n.Stats().Mappings; got != 0 {
		t.Errorf("%d mappings after close, want none: the other flow kept its port", got)
	}

	plain := newGateway(t, nat.Config{}, 0, nil)
	reply := tuple(packet.ProtoTCP, "198.51.100.1:80", "10.0.0.1:7000")
	orig := tuple(packet.ProtoTCP, "10.0.0.9:1", "198.51.100.1:80")
	plain.insert(&orig, &nat.Choice{Reply: reply, Hash: plain.table.Hash(&reply)})
	c, _ = plain.open(tuple(packet.ProtoTCP, "10.0.0.1:7000", "198.51.100.1:80"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonClash {
		t.Errorf("without snat: %v, want a clash", c.Reason)
	}
}

func TestChooseMasquerade(t *testing.T) {
	g := newGateway(t, nat.Config{Masquerade: true}, 0, nil)
	c, _ := g.open(tuple(packet.ProtoUDP, "10.0.0.1:53", "198.51.100.1:53"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonNoAddress || g.n.Stats().NoAddress != 1 {
		t.Errorf("without address: %v", c.Reason)
	}
	g.masq = packet.AddrOf(addr("203.0.113.77"))
	c, _ = g.mustOpen(packet.ProtoUDP, "10.0.0.1:53", "198.51.100.1:53")
	checkReply(t, c, "198.51.100.1:53", "203.0.113.77:53", flowtable.StatusSNAT)
	// The address changes: the old mapping does not fit any more.
	g.masq = packet.AddrOf(addr("203.0.113.78"))
	c, _ = g.mustOpen(packet.ProtoUDP, "10.0.0.1:53", "198.51.100.2:53")
	checkReply(t, c, "198.51.100.2:53", "203.0.113.78:53", flowtable.StatusSNAT)
}

func TestChooseDNAT(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1")
	for _, s := range []string{"tcp:203.0.113.1:80=10.0.0.5:8080", "udp:203.0.113.1:80=10.0.0.6:80", "tcp:203.0.113.1:81=10.0.0.5:8080"} {
		r, err := nat.ParseDNAT(s)
		mustDo(t, err)
		cfg.DNAT = append(cfg.DNAT, r)
	}
	g := newGateway(t, cfg, 0, nil)
	in := func(proto uint8, src, dst string) nat.Choice {
		c, _ := g.open(tuple(proto, src, dst), nat.RealmExternal, nat.RealmInternal)
		return c
	}
	checkReply(t, in(packet.ProtoTCP, "198.51.100.9:4000", "203.0.113.1:80"), "10.0.0.5:8080", "198.51.100.9:4000", flowtable.StatusDNAT)
	checkReply(t, in(packet.ProtoUDP, "198.51.100.9:4000", "203.0.113.1:80"), "10.0.0.6:80", "198.51.100.9:4000", flowtable.StatusDNAT)
	checkReply(t, in(packet.ProtoTCP, "198.51.100.9:4000", "203.0.113.1:82"), "203.0.113.1:82", "198.51.100.9:4000", 0)

	// The same client through the second rule to the same host: its port
	// must change, or both flows had one reply tuple.
	c := in(packet.ProtoTCP, "198.51.100.9:4000", "203.0.113.1:81")
	if c.Reason != nat.ReasonNone || c.Reply.DstPort == 4000 || c.Status != flowtable.StatusDNAT|flowtable.StatusSNAT {
		t.Errorf("second rule: %v %v status %#x", c.Reason, &c.Reply, c.Status)
	}

	out := tuple(packet.ProtoTCP, "10.0.0.5:8080", "198.51.100.9:4000")
	if a, port, ok := g.n.MatchDNATReply(&out); !ok || a != packet.AddrOf(addr("203.0.113.1")) || port != 80 && port != 81 {
		t.Errorf("reverse match: %v %d %v", a, port, ok)
	}
	out.SrcPort = 8081
	if _, _, ok := g.n.MatchDNATReply(&out); ok {
		t.Error("reverse match of a port without a rule")
	}
	for dst, want := range map[string]bool{"10.0.0.5:8080": true, "10.0.0.5:8081": false, "203.0.113.1:80": false} {
		if tu := tuple(packet.ProtoTCP, "198.51.100.9:4000", dst); g.n.MatchDNATTarget(&tu) != want {
			t.Errorf("target match of %s is %v", dst, !want)
		}
	}
	if tu := tuple(packet.ProtoUDP, "198.51.100.9:4000", "10.0.0.5:8080"); g.n.MatchDNATTarget(&tu) {
		t.Error("target match of another protocol")
	}
}

// TestChooseOwnedPorts: whatever the workers hand out is theirs, and no two
// of them hand out the same port to the same destination.
func TestChooseOwnedPorts(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		cfg := snatConfig(t, "203.0.113.1")
		cfg.Workers = workers
		given := make(map[flowtable.Tuple]bool)
		for w := range workers {
			g := newGateway(t, cfg, w, nil)
			for _, port := range []uint16{64 * uint16(w), 640 + 64*uint16(w), 7040} {
				for nat.PortOwner(port, workers) != w || port == 0 {
					port++
				}
				for i := range 30 {
					c, _ := g.mustOpen(packet.ProtoTCP, fmt.Sprintf("10.0.%d.%d:%d", port%200, i+1, port), "198.51.100.1:80")
					if got := nat.PortOwner(c.Reply.DstPort, workers); got != w {
						t.Fatalf("worker %d of %d handed out port %d of worker %d", w, workers, c.Reply.DstPort, got)
					}
					if given[c.Reply] {
						t.Fatalf("%v was handed out twice", &c.Reply)
					}
					given[c.Reply] = true
				}
			}
		}
	}
}

// TestChooseKeptPortNotOwned: a packet that was steered by something else than
// its source port, as answers of a DNAT target are, must not keep a port whose
// answers would go to another worker.
func TestChooseKeptPortNotOwned(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1")
	cfg.Workers = 4
	g := newGateway(t, cfg, 2, nil)
	c, _ := g.mustOpen(packet.ProtoTCP, "10.0.0.5:8080", "198.51.100.1:80") // owner: worker 2
	checkReply(t, c, "198.51.100.1:80", "203.0.113.1:8080", flowtable.StatusSNAT)
	c, _ = g.mustOpen(packet.ProtoTCP, "10.0.0.5:8128", "198.51.100.1:80") // owner: worker 3
	if p := c.Reply.DstPort; nat.PortOwner(p, 4) != 2 {
		t.Errorf("port %d is not the worker's", p)
	}
}

// TestChooseExhaustion fills all 64512 ports of a destination: every flow
// either gets a port of its own or is refused within the bounded search.
func TestChooseExhaustion(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1"), 0, nil)
	refused := uint64(0)
	for i := range 66000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 30000)
		c, _ := g.open(tuple(packet.ProtoTCP, src.String(), "198.51.100.1:80"), nat.RealmInternal, nat.RealmExternal)
		if c.Reason == nat.ReasonPortsExhausted {
			refused++
		} else if c.Reason != nat.ReasonNone {
			t.Fatalf("flow %d: %v", i, c.Reason)
		}
	}
	s := g.n.Stats()
	if s.Exhausted != refused || refused < 66000-64512 || refused > 66000-64512+1500 {
		t.Errorf("%d refused, counted %d, want %d or a few more", refused, s.Exhausted, 66000-64512)
	}
	if s.Mappings != 66000-refused-1 { // one host kept its port
		t.Errorf("%d mappings, want %d", s.Mappings, 66000-refused-1)
	}
}

package nat_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// TestBindReleaseChurn: after random opens and closes nothing is left, and in
// between the figures are exact.
func TestBindReleaseChurn(t *testing.T) {
	use := new(nat.PortUse)
	mem := make([]uint32, nat.PortUseSlots)
	own := packet.AddrOf(addr("203.0.113.2"))
	mustDo(t, use.Register(packet.IPv4, own, mem))
	cfg := snatConfig(t, "203.0.113.1-203.0.113.3")
	r, err := nat.ParseDNAT("tcp:203.0.113.2:80=10.0.0.5:80")
	mustDo(t, err)
	cfg.DNAT = []nat.DNATRule{r}
	g := newGateway(t, cfg, 0, use)
	rng := rand.New(rand.NewPCG(7, 7))
	var live []uint32
	for range 30000 {
		if rng.IntN(1000) < len(live) {
			i := rng.IntN(len(live))
			g.close(live[i])
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		proto := []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP}[rng.IntN(3)]
		orig := flowtable.Tuple{
			Src: packet.Addr{Lo: 0x0a000000 + uint64(rng.IntN(30))}, SrcPort: uint16(2000 + rng.IntN(4)),
			Dst: packet.Addr{Lo: 0xc6336401 + uint64(rng.IntN(6))}, DstPort: uint16(80 + rng.IntN(2)),
			Proto: proto, Family: packet.IPv4,
		}
		in, out := nat.RealmInternal, nat.RealmExternal
		if proto == packet.ProtoICMP {
			orig.DstPort = 8 << 8
		} else if rng.IntN(10) == 0 {
			orig.Src, orig.Dst, orig.DstPort = orig.Dst, own, 80
			in, out = out, in
		}
		if g.table.Lookup(&orig, g.table.Hash(&orig), 0) != 0 {
			continue
		}
		if c, idx := g.open(orig, in, out); c.Reason == nat.ReasonNone {
			live = append(live, idx)
		}
	}
	checkUse(t, g, live, mem, own)
	for _, idx := range live {
		g.close(idx)
	}
	checkUse(t, g, nil, mem, own)
}

// checkUse recounts mappings and port use from the live flows.
func checkUse(t *testing.T, g *gateway, live []uint32, mem []uint32, own packet.Addr) {
	t.Helper()
	type end struct {
		addr  packet.Addr
		port  uint16
		proto uint8
	}
	mappings, external := make(map[[2]end]bool), make(map[packet.Addr]packet.Addr)
	want := make(map[int]uint32)
	slots := map[uint8]int{packet.ProtoTCP: 0, packet.ProtoUDP: 1, packet.ProtoICMP: 2}
	for _, idx := range live {
		var o, r flowtable.Tuple
		g.table.Tuple(idx, flowtable.DirOriginal, &o)
		g.table.Tuple(idx, flowtable.DirReply, &r)
		in, ext := end{o.Src, o.SrcPort, o.Proto}, end{r.Dst, r.DstPort, r.Proto}
		if r.Proto == packet.ProtoICMP {
			ext.port = r.SrcPort
		}
		if in == ext {
			continue
		}
		if ext.addr == own {
			want[slots[ext.proto]<<16|int(ext.port)]++
		}
		if in.port != ext.port {
			mappings[[2]end{in, ext}] = true
		}
		if a, ok := external[in.addr]; ok && a != ext.addr {
			t.Errorf("%v has two addresses", in.addr.Netip(packet.IPv4))
		}
		external[in.addr] = ext.addr
	}
	if got := g.n.Stats().Mappings; got != uint64(len(mappings)) {
		t.Errorf("%d mappings, want %d", got, len(mappings))
	}
	for i, v := range mem {
		if v != want[i] {
			t.Errorf("port use slot %#x is %d, want %d", i, v, want[i])
		}
	}
}

// TestMappingsFull: only translations that have to be recorded need room.
func TestMappingsFull(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1")
	cfg.Workers = 1
	g := newGateway(t, cfg, 0, nil)
	g.n = nat.NewTranslator(&cfg, 0, 1, 3, nil)
	if got := g.n.MemoryBytes(); got != 0 {
		t.Errorf("%d bytes taken by no mapping", got)
	}
	for i := range 4 { // the first one keeps its port
		g.mustOpen(packet.ProtoTCP, fmt.Sprintf("10.0.0.%d:80", i+1), "198.51.100.1:80")
	}
	c, _ := g.open(tuple(packet.ProtoTCP, "10.0.0.9:80", "198.51.100.1:80"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonMappingsFull || g.n.Stats().Full != 1 {
		t.Errorf("got %v, %d refused, want mappings full", c.Reason, g.n.Stats().Full)
	}
	g.mustOpen(packet.ProtoTCP, "10.0.0.9:80", "198.51.100.2:80")
	if got := g.n.MemoryBytes(); got < 3*24 || got > 3*24+4*16 {
		t.Errorf("3 mappings take %d bytes", got)
	}
}

func TestExpected(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1")
	g := newGateway(t, cfg, 0, nil)
	master := tuple(packet.ProtoTCP, "10.0.0.5:40000", "198.51.100.1:21")
	c, _ := g.open(master, nat.RealmInternal, nat.RealmExternal)
	masterReply := c.Reply

	// Active: the server connects to the pool address, led to the client.
	orig := tuple(packet.ProtoTCP, "198.51.100.1:20", "203.0.113.1:6500")
	e := flowtable.Expectation{Tuple: orig, MasterOrig: master, Dir: flowtable.DirOriginal,
		SavedAddr: packet.AddrOf(addr("10.0.0.5")), SavedPort: 6400}
	checkReply(t, g.n.Expected(g.table, &orig, &e, nil, nil, 0), "10.0.0.5:6400", "198.51.100.1:20", flowtable.StatusDNAT)

	// Passive: the client connects to the server, with its master's address.
	orig = tuple(packet.ProtoTCP, "10.0.0.5:40001", "198.51.100.1:30000")
	e = flowtable.Expectation{Tuple: orig, MasterOrig: master, Dir: flowtable.DirReply,
		SavedAddr: orig.Dst, SavedPort: 30000}
	checkReply(t, g.n.Expected(g.table, &orig, &e, nil, &masterReply, 0), "198.51.100.1:30000", "203.0.113.1:40001", flowtable.StatusSNAT)
	if c := g.n.Expected(g.table, &orig, &e, nil, nil, 0); c.Reason != nat.ReasonNoMaster {
		t.Errorf("without master: %v", c.Reason)
	}

	// A server behind DNAT connects to an external client: it leaves with
	// the address that the client asked, port kept.
	master = tuple(packet.ProtoTCP, "198.51.100.9:5000", "203.0.113.1:21")
	orig = tuple(packet.ProtoTCP, "10.0.0.7:20", "198.51.100.9:6000")
	e = flowtable.Expectation{Tuple: orig, MasterOrig: master, Dir: flowtable.DirOriginal,
		SavedAddr: orig.Dst, SavedPort: 6000}
	checkReply(t, g.n.Expected(g.table, &orig, &e, nil, nil, 0), "198.51.100.9:6000", "203.0.113.1:20", flowtable.StatusSNAT)
}

func TestExpectedPort(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1", "203.0.113.2:2048-4095")
	cfg.Workers = 4
	r, err := nat.ParseDNAT("tcp:203.0.113.1:6400=10.0.0.5:80")
	mustDo(t, err)
	cfg.DNAT = []nat.DNATRule{r}
	g := newGateway(t, cfg, 1, nil)
	a, b := packet.AddrOf(addr("203.0.113.1")), packet.AddrOf(addr("203.0.113.2"))
	if p, ok := g.n.ExpectedPort(packet.IPv4, packet.ProtoTCP, a, 6401, 0); !ok || p != 6401 {
		t.Errorf("try 0: %d %v, want the announced port", p, ok)
	}
	if _, ok := g.n.ExpectedPort(packet.IPv4, packet.ProtoTCP, a, 6400, 0); ok {
		t.Error("offered the port of a DNAT rule")
	}
	if _, ok := g.n.ExpectedPort(packet.IPv4, packet.ProtoTCP, b, 6401, 0); ok {
		t.Error("offered a port outside the pool's range")
	}
	for try := 1; try < nat.MaxExpectTries; try++ {
		p, ok := g.n.ExpectedPort(packet.IPv4, packet.ProtoTCP, b, 6401, try)
		if !ok || p < 2048 || p > 4095 || nat.PortOwner(p, 4) != nat.PortOwner(6401, 4) {
			t.Fatalf("try %d: port %d %v", try, p, ok)
		}
	}
}

// A pair keeps its parity and its owners, and no port of it is a rule's or out of range.
func TestExpectedPair(t *testing.T) {
	cfg := snatConfig(t, "203.0.113.1", "203.0.113.2:2048-4095")
	cfg.Workers = 4
	r, err := nat.ParseDNAT("udp:203.0.113.1:6401=10.0.0.5:80")
	mustDo(t, err)
	cfg.DNAT = []nat.DNATRule{r}
	g := newGateway(t, cfg, 1, nil)
	a, b := packet.AddrOf(addr("203.0.113.1")), packet.AddrOf(addr("203.0.113.2"))
	if p, ok := g.n.ExpectedPair(packet.IPv4, packet.ProtoUDP, a, 6402, 0); !ok || p != 6402 {
		t.Errorf("try 0: %d %v, want the announced port", p, ok)
	}
	if _, ok := g.n.ExpectedPair(packet.IPv4, packet.ProtoUDP, a, 6400, 0); ok {
		t.Error("offered with the port of a DNAT rule beside it")
	}
	if _, ok := g.n.ExpectedPair(packet.IPv4, packet.ProtoUDP, b, 4095, 0); ok {
		t.Error("offered with a port outside the pool's range beside it")
	}
	for _, announced := range []uint16{6402, 6403, 6463, 65535} { // 6463 and 6464 have two owners
		found := 0
		for try := 1; try < nat.MaxExpectTries; try++ {
			p, ok := g.n.ExpectedPair(packet.IPv4, packet.ProtoUDP, b, announced, try)
			if !ok {
				continue
			}
			found++
			for i := range uint16(2) {
				if q := p + i; q < 2048 || q > 4095 || nat.PortOwner(q, 4) != nat.PortOwner(announced+i, 4) || p%2 != announced%2 {
					t.Fatalf("announced %d, try %d: port %d", announced, try, p)
				}
			}
		}
		if most := found > nat.MaxExpectTries/2; most != (announced != 65535) {
			t.Errorf("announced %d: %d tries of %d offer a pair", announced, found, nat.MaxExpectTries-1)
		}
	}
}

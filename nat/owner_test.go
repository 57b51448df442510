package nat

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// newSteering mirrors NICs with a random key and an even table of 128 entries.
func newSteering(t testing.TB, workers int) Steering {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 8))
	key := make([]byte, packet.ToeplitzKeyLen)
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	table := make([]uint8, 128)
	for i := range table {
		table[i] = uint8(i % workers)
	}
	r := mustRSS(t, key, table)
	return Steering{Internal: r, External: r, ByRSS: AllProtocols}
}

func mustRSS(t testing.TB, key []byte, table []uint8) *RSS {
	t.Helper()
	hash, err := packet.NewToeplitz(key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRSS(hash, table)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// replyTo is the reply tuple of a flow to a host's port 80.
func replyTo(f packet.Family, host uint64) flowtable.Tuple {
	return flowtable.Tuple{Src: packet.Addr{Hi: uint64(f) / 10 << 63, Lo: 0xcb007100 + host}, Dst: packet.Addr{Lo: 0xc6336420}, SrcPort: 80,
		Proto: packet.ProtoTCP, Family: f}
}

func TestRSSTableIsAPowerOfTwo(t *testing.T) {
	for _, n := range []int{0, 3, 100} {
		if _, err := NewRSS(&packet.Toeplitz{}, make([]uint8, n)); err == nil {
			t.Errorf("a table of %d entries was taken", n)
		}
	}
}

func TestProtocols(t *testing.T) {
	s := Steering{ByRSS: TCP4 | UDP6}
	for _, c := range []struct {
		f     packet.Family
		proto uint8
		want  bool
	}{
		{packet.IPv4, packet.ProtoTCP, true}, {packet.IPv4, packet.ProtoUDP, false}, {packet.IPv4, packet.ProtoICMP, false},
		{packet.IPv6, packet.ProtoTCP, false}, {packet.IPv6, packet.ProtoUDP, true}, {packet.IPv6, 132, false},
	} {
		if got := s.Mirrors(&flowtable.Tuple{Proto: c.proto, Family: c.f}); got != c.want {
			t.Errorf("%v protocol %d: %v, want %v", c.f, c.proto, got, c.want)
		}
	}
	for want, s := range map[string]Steering{"rss:tcp4,udp6": s, "ports": {}, "rss": {ByRSS: AllProtocols}} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A lap over a range shows each port whose answers come to the worker once, and
// no other.
func TestCandidatesByRSS(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 16} {
		for _, f := range []packet.Family{packet.IPv4, packet.IPv6} {
			s := newSteering(t, workers)
			o := owner{worker: workers - 1, workers: workers, steering: s}
			reply := replyTo(f, 9)
			c := o.candidates(&reply, true, RealmExternal)
			c.among(2000, 9000)
			c.start(5000, 1<<16)
			seen := make(map[uint16]bool)
			for {
				port, ok := c.next()
				if !ok {
					break
				}
				if seen[port] || port < 2000 || port > 9000 {
					t.Errorf("port %d is seen twice or out of range", port)
				}
				seen[port] = true
			}
			for port := range 1 << 16 {
				reply.DstPort = uint16(port)
				want := port >= 2000 && port <= 9000 && s.External.Worker(&reply) == o.worker
				if seen[uint16(port)] != want {
					t.Fatalf("%d workers, %v: port %d: %v, want %v", workers, f, port, !want, want)
				}
				if o.answered(&reply, RealmExternal) != (s.External.Worker(&reply) == o.worker) {
					t.Fatalf("port %d: answered is wrong", port)
				}
			}
		}
	}
}

// A round ends after a bounded number of ports, also where none fits.
func TestRoundsAreBounded(t *testing.T) {
	s := newSteering(t, 4)
	o := owner{worker: 5, workers: 6, steering: s} // the table leads nothing there
	reply := replyTo(packet.IPv4, 1)
	c := o.candidates(&reply, true, RealmExternal)
	c.among(1024, 65535)
	c.start(0, 128)
	if port, ok := c.next(); ok || c.left != 0 || !c.none || c.at != 128*scanFactor {
		t.Errorf("port %d, %v after %d ports", port, ok, c.at)
	}
}

// topBitRSS leads ports from 32768 to worker 1 and others to worker 0: bit 0 of
// the hash is the highest bit of the destination port.
func topBitRSS(t testing.TB) Steering {
	t.Helper()
	key := make([]byte, packet.ToeplitzKeyLen)
	bit := 8*10 + 31 // the last bit of the window of the port's first bit
	key[bit/8] = 0x80 >> (bit % 8)
	r := mustRSS(t, key, []uint8{0, 1})
	return Steering{Internal: r, External: r, ByRSS: AllProtocols}
}

// choose makes the choice of a worker for a flow from a port.
func chooseWith(t *testing.T, cfg *Config, worker int, port uint16) Choice {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1024, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	}()
	reply := replyTo(packet.IPv4, 1)
	orig := reply.Invert()
	orig.Src, orig.SrcPort = packet.Addr{Lo: 0x0a010203}, port
	return choose(NewTranslator(cfg, worker, 1, 1024, nil), table, &orig)
}

// choose proposes and settles the translation of a flow to outside.
func choose(n *Translator, table *flowtable.Table, orig *flowtable.Tuple) (c Choice) {
	n.Propose(&c, table, orig, RealmInternal, RealmExternal, packet.Addr{})
	n.Choose(&c, table, orig, 0)
	return c
}

// A worker whom no low port leads to takes an unprivileged one; but an explicit
// range is never left.
func TestWorkerWithoutPortsOfTheClass(t *testing.T) {
	pool, err := ParseSNAT("198.51.100.32")
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{SNAT: []Pool{pool}, Workers: 2, Steering: topBitRSS(t)}
	if c := chooseWith(t, cfg, 1, 500); c.Reason != ReasonNone || c.Reply.DstPort < 32768 {
		t.Errorf("port 500 became %d (%v), want one of the worker's", c.Reply.DstPort, c.Reason)
	}
	if c := chooseWith(t, cfg, 0, 500); c.Reply.DstPort != 500 {
		t.Errorf("port 500 became %d, want kept", c.Reply.DstPort)
	}
	cfg.SNAT[0].FirstPort, cfg.SNAT[0].LastPort = 1024, 5000
	if c := chooseWith(t, cfg, 1, 500); c.Reason != ReasonPortsExhausted {
		t.Errorf("got port %d (%v), want none", c.Reply.DstPort, c.Reason)
	}
}

// By RSS an announced port may be known outside by any other.
func TestPartnersByRSS(t *testing.T) {
	o := owner{worker: 1, workers: 4, steering: newSteering(t, 4)}
	if s := o.partners(packet.IPv4, packet.ProtoTCP, 6400, 1024, 65535); s.size() != 64512 {
		t.Errorf("%d ports, want all", s.size())
	}
	o.steering.ByRSS = UDP4
	if s := o.partners(packet.IPv4, packet.ProtoTCP, 6400, 1024, 65535); s.size() != 16128 || PortOwner(s.port(s.from), 4) != PortOwner(6400, 4) {
		t.Errorf("%d ports from %d, want those of the owner of 6400", s.size(), s.port(s.from))
	}
}

// BenchmarkChoosePort is the choice of a translation towards one server, with
// a share of the worker's ports for it in use. refused is the share of flows
// that find no port in the bounded search.
func BenchmarkChoosePort(b *testing.B) {
	for _, workers := range []int{1, 4, 16} {
		for _, used := range []int{0, 50, 90, 99} {
			for _, mode := range []string{"ports", "rss"} {
				b.Run(fmt.Sprintf("queues=%d/used=%d/%s", workers, used, mode), func(b *testing.B) {
					s := Steering{}
					if mode == "rss" {
						s = newSteering(b, workers)
					}
					benchmarkChoose(b, &Config{Workers: workers, Steering: s}, used)
				})
			}
		}
	}
}

func benchmarkChoose(b *testing.B, cfg *Config, used int) {
	pool, err := ParseSNAT("198.51.100.32")
	if err != nil {
		b.Fatal(err)
	}
	cfg.SNAT = []Pool{pool}
	n := NewTranslator(cfg, 0, 1, 1<<17, nil)
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1 << 17, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := table.Close(); err != nil {
			b.Error(err)
		}
	}()
	reply := replyTo(packet.IPv4, 1)
	orig := reply.Invert()
	rng := rand.New(rand.NewPCG(1, 2))
	for port := 1024; port < 1<<16; port++ {
		reply.DstPort = uint16(port)
		if !n.owner.answered(&reply, RealmExternal) || rng.IntN(100) >= used {
			continue
		}
		orig.Src, orig.SrcPort = packet.Addr{Lo: 0x0b000000 + uint64(port)}, 9
		if _, r := table.Insert(&orig, &reply, 0); r != flowtable.InsertOK {
			b.Fatal(r)
		}
	}
	orig.Src = packet.Addr{Lo: 0x0a000001}
	refused := 0
	b.ReportAllocs()
	for b.Loop() {
		orig.SrcPort = 1024 + uint16(rng.Uint32()>>16)%64512
		if c := choose(n, table, &orig); c.Reason != ReasonNone {
			refused++
		}
	}
	b.ReportMetric(100*float64(refused)/float64(b.N), "%refused")
}

// The proposal is what is chosen if nothing is in its way, so that what it asks
// memory for is what is looked at.
func TestProposalByRSSIsTheChoice(t *testing.T) {
	pool, err := ParseSNAT("198.51.100.32:2000-9999")
	if err != nil {
		t.Fatal(err)
	}
	n := NewTranslator(&Config{SNAT: []Pool{pool}, Workers: 4, Steering: newSteering(t, 4)}, 1, 1, 1024, nil)
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1024, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	}()
	reply := replyTo(packet.IPv4, 1)
	orig := reply.Invert()
	orig.Src = packet.Addr{Lo: 0x0a010203}
	for port := uint16(1000); port < 1500; port++ {
		orig.SrcPort = port * 20
		var c Choice
		n.Propose(&c, table, &orig, RealmInternal, RealmExternal, packet.Addr{})
		proposed := c.Reply
		n.Choose(&c, table, &orig, 0)
		if c.Reason != ReasonNone || c.Reply != proposed || c.Hash != table.Hash(&proposed) {
			t.Fatalf("port %d: proposed %v, chosen %v (%v)", orig.SrcPort, &proposed, &c.Reply, c.Reason)
		}
		if !n.owner.answered(&c.Reply, RealmExternal) || c.Reply.DstPort < 2000 || c.Reply.DstPort > 9999 {
			t.Fatalf("port %d became %d, which is not the worker's or out of the range", orig.SrcPort, c.Reply.DstPort)
		}
	}
}

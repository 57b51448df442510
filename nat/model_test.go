package nat

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// allMappings is a translator with the slow model beside it: all live flows,
// from which it derives every mapping that a source holds.
type allMappings struct {
	cfg   Config
	table *flowtable.Table
	n     *Translator
	use   *PortUse
	mem   []uint32
	masq  packet.Addr
	live  []liveFlow
}

// liveFlow is a flow of the model.
type liveFlow struct {
	idx         uint32
	orig, reply flowtable.Tuple
	in, ext     side
	counted     bool // by PortUse
}

// modelConfigs are the policies that the model is tried with.
func modelConfigs() []Config {
	pool := func(first, last string, ports ...uint16) Pool {
		p := Pool{First: netip.MustParseAddr(first), Last: netip.MustParseAddr(last)}
		if len(ports) > 0 {
			p.FirstPort, p.LastPort = ports[0], ports[1]
		}
		return p
	}
	one, three := pool("203.0.113.1", "203.0.113.1"), pool("203.0.113.1", "203.0.113.3")
	narrow := pool("203.0.113.9", "203.0.113.9", 2000, 2067)
	return []Config{
		{SNAT: []Pool{one}, Workers: 1},
		{SNAT: []Pool{three}, Workers: 1},
		{SNAT: []Pool{three, narrow}, Workers: 2},
		{SNAT: []Pool{narrow}, Workers: 1},
		{Masquerade: true, Workers: 1},
	}
}

// TestChoiceAgainstAllMappings: that only exceptions are recorded makes no
// difference to what a source gets. It keeps a mapping that it holds wherever
// that is possible (RFC 4787 REQ-1), else it gets its default, else another port.
func TestChoiceAgainstAllMappings(t *testing.T) {
	configs := modelConfigs()
	rapid.Check(t, func(rt *rapid.T) {
		m := newAllMappings(rt, configs[rapid.IntRange(0, len(configs)-1).Draw(rt, "config")])
		defer m.table.Close()
		rt.Repeat(map[string]func(*rapid.T){
			"open":     m.open,
			"announce": m.announce,
			"close":    m.close,
			"address":  m.changeAddress,
			"":         m.check,
		})
		for len(m.live) > 0 {
			m.end(0)
		}
		m.check(rt)
	})
}

func newAllMappings(rt *rapid.T, cfg Config) *allMappings {
	if err := cfg.Validate(); err != nil {
		rt.Fatal(err)
	}
	table, err := flowtable.New(flowtable.Options{MaxFlows: 256, Seed: 1})
	if err != nil {
		rt.Fatal(err)
	}
	m := &allMappings{cfg: cfg, table: table, use: new(PortUse), mem: make([]uint32, PortUseSlots), masq: hostAddr("203.0.113.1")}
	m.n = NewTranslator(&cfg, 0, 1, 256, m.use)
	if err := m.use.Register(packet.IPv4, hostAddr("203.0.113.1"), m.mem); err != nil {
		rt.Fatal(err)
	}
	return m
}

func hostAddr(s string) packet.Addr { return packet.AddrOf(netip.MustParseAddr(s)) }

// drawTuple draws from a world small enough for clashes.
func drawTuple(rt *rapid.T) flowtable.Tuple {
	tu := flowtable.Tuple{
		Src:     packet.Addr{Lo: 0x0a000001 + rapid.Uint64Range(0, 2).Draw(rt, "host")},
		Dst:     packet.Addr{Lo: 0xc6336401 + rapid.Uint64Range(0, 3).Draw(rt, "server")},
		SrcPort: rapid.SampledFrom([]uint16{80, 2000, 40000}).Draw(rt, "port"),
		DstPort: 80, Family: packet.IPv4,
		Proto: rapid.SampledFrom([]uint8{packet.ProtoTCP, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP, packet.ProtoGRE}).Draw(rt, "proto"),
	}
	if rapid.IntRange(0, 9).Draw(rt, "inside") == 0 {
		tu.Src = hostAddr("203.0.113.1") // a source that is in the pool itself
	}
	switch tu.Proto {
	case packet.ProtoICMP:
		tu.DstPort = 8 << 8
	case packet.ProtoGRE:
		tu.SrcPort, tu.DstPort = 0, 0
	}
	return tu
}

// open begins a flow to outside.
func (m *allMappings) open(rt *rapid.T) {
	orig := drawTuple(rt)
	if m.taken(&orig) {
		return
	}
	var c Choice
	m.n.Propose(&c, m.table, &orig, RealmInternal, RealmExternal, m.masq)
	m.n.Choose(&c, m.table, &orig, 0)
	m.judge(rt, &orig, &c, sourceOf(&orig), m.rangeOf(&orig))
	m.begin(rt, &orig, &c)
}

// announce begins a flow that a helper announced, whose master has an address
// that need not be the source's own.
func (m *allMappings) announce(rt *rapid.T) {
	orig := drawTuple(rt)
	orig.Proto = packet.ProtoTCP
	if m.taken(&orig) {
		return
	}
	source := m.masq
	if len(m.cfg.SNAT) > 0 {
		source = packet.AddrOf(m.cfg.SNAT[0].Last)
	}
	e := flowtable.Expectation{Tuple: orig, MasterOrig: flowtable.Tuple{Dst: source}, SavedAddr: orig.Dst, SavedPort: orig.DstPort, Follows: true}
	e.Master.Worker = uint8(rapid.IntRange(0, 1).Draw(rt, "master's worker"))
	c := m.n.Expected(m.table, &orig, &e, nil, nil, 0)
	if source == orig.Src {
		return // a null binding: not of interest here
	}
	r := modelRange{addr: source, followed: e.Master.Worker == 0}
	for _, p := range m.cfg.SNAT {
		if packet.AddrOf(p.First).Lo <= source.Lo && source.Lo <= packet.AddrOf(p.Last).Lo {
			r.first, r.last = p.FirstPort, p.LastPort
		}
	}
	m.judge(rt, &orig, &c, sourceOf(&orig), r)
	m.begin(rt, &orig, &c)
}

func sourceOf(orig *flowtable.Tuple) side {
	return side{orig.Src, orig.SrcPort, orig.Proto, orig.Family}
}

// modelRange is where a source may go.
type modelRange struct {
	addr        packet.Addr // of the default
	pools       []Pool      // that a mapping of the source may be in; nil = addr only
	first, last uint16      // explicit ports of addr
	followed    bool        // its own port may be another worker's
}

func (m *allMappings) rangeOf(orig *flowtable.Tuple) modelRange {
	if m.cfg.Masquerade {
		return modelRange{addr: m.masq}
	}
	addr, p := m.n.pairedAddr(orig.Family, orig.Src)
	return modelRange{addr: addr, pools: m.cfg.SNAT, first: p.firstPort, last: p.lastPort}
}

// fits tells whether addr and port are in the range.
func (r *modelRange) fits(proto uint8, addr packet.Addr, port uint16) bool {
	if r.pools == nil {
		return addr == r.addr && (r.first == 0 || !portsChange(proto) || r.first <= port && port <= r.last)
	}
	for _, p := range r.pools {
		if packet.AddrOf(p.First).Lo <= addr.Lo && addr.Lo <= packet.AddrOf(p.Last).Lo {
			return p.FirstPort == 0 || !portsChange(proto) || p.FirstPort <= port && port <= p.LastPort
		}
	}
	return false
}

// taken tells whether a live flow has the tuple.
func (m *allMappings) taken(tu *flowtable.Tuple) bool {
	for i := range m.live {
		if m.live[i].orig == *tu || m.live[i].reply == *tu {
			return true
		}
	}
	return false
}

// free tells whether a source may be mapped to addr and port.
func (m *allMappings) free(orig *flowtable.Tuple, r *modelRange, addr packet.Addr, port uint16) bool {
	reply := orig.Invert()
	reply.Dst = addr
	if isICMP(orig.Proto) {
		reply.SrcPort = port
	} else {
		reply.DstPort = port
	}
	owned := !portsChange(orig.Proto) || PortOwner(port, m.cfg.Workers) == 0 || r.followed && port == orig.SrcPort
	return owned && r.fits(orig.Proto, addr, port) && !m.taken(&reply)
}

// judge compares a choice with what it may be.
func (m *allMappings) judge(rt *rapid.T, orig *flowtable.Tuple, c *Choice, in side, r modelRange) {
	ext := side{c.Reply.Dst, externalPort(&c.Reply), orig.Proto, orig.Family}
	is := func(addr packet.Addr, port uint16) bool {
		return c.Reason == ReasonNone && ext == (side{addr, port, orig.Proto, orig.Family})
	}
	if m.free(orig, &r, orig.Src, orig.SrcPort) {
		if !is(orig.Src, orig.SrcPort) {
			rt.Fatalf("%v could stay as it is, got %v %v", orig, c.Reason, &c.Reply)
		}
		return
	}
	held, usable := 0, map[side]bool{}
	for i := range m.live {
		if f := &m.live[i]; f.in == in && f.ext != in {
			held++
			if m.free(orig, &r, f.ext.addr, f.ext.port) {
				usable[f.ext] = true
			}
		}
	}
	switch {
	case held > maxReuse:
	case len(usable) > 0:
		if c.Reason != ReasonNone || !usable[ext] {
			rt.Fatalf("%v holds %v, got %v %v", orig, usable, c.Reason, &c.Reply)
		}
	case m.free(orig, &r, r.addr, orig.SrcPort):
		if !is(r.addr, orig.SrcPort) {
			rt.Fatalf("%v could have its default %v, got %v %v", orig, r.addr, c.Reason, &c.Reply)
		}
	case !portsChange(orig.Proto):
		if c.Reason != ReasonClash {
			rt.Fatalf("%v has to clash, got %v %v", orig, c.Reason, &c.Reply)
		}
	case c.Reason == ReasonNone:
		if ext.addr != r.addr || !m.free(orig, &r, ext.addr, ext.port) {
			rt.Fatalf("%v was moved to %v", orig, &c.Reply)
		}
	case c.Reason == ReasonPortsExhausted:
		for port := int(r.first); port <= int(r.last); port++ {
			if r.first == 0 || m.free(orig, &r, r.addr, uint16(port)) {
				rt.Fatalf("%v found no port, but %d is free", orig, port)
			}
		}
	default:
		rt.Fatalf("%v: %v", orig, c.Reason)
	}
}

// begin inserts a flow.
func (m *allMappings) begin(rt *rapid.T, orig *flowtable.Tuple, c *Choice) {
	if c.Reason != ReasonNone {
		return
	}
	idx, r := m.table.Add(&flowtable.NewFlow{Orig: orig, Reply: &c.Reply,
		Keys: flowtable.Keys{m.table.Hash(orig), c.Hash}, Status: c.Status}, 0)
	if r != flowtable.InsertOK {
		rt.Fatalf("%v / %v: %v", orig, &c.Reply, r)
	}
	m.n.Bind(m.table, idx, orig, c)
	in, ext := sourceSides(orig, &c.Reply)
	m.live = append(m.live, liveFlow{idx: idx, orig: *orig, reply: c.Reply, in: in, ext: ext,
		counted: in != ext && ext.addr == hostAddr("203.0.113.1")})
}

func (m *allMappings) close(rt *rapid.T) {
	if len(m.live) > 0 {
		m.end(rapid.IntRange(0, len(m.live)-1).Draw(rt, "flow"))
	}
}

func (m *allMappings) end(i int) {
	m.n.Release(m.table, m.live[i].idx)
	m.table.Remove(m.live[i].idx)
	m.live[i] = m.live[len(m.live)-1]
	m.live = m.live[:len(m.live)-1]
}

// changeAddress gives the egress interface another address.
func (m *allMappings) changeAddress(rt *rapid.T) {
	m.masq = rapid.SampledFrom([]packet.Addr{hostAddr("203.0.113.1"), hostAddr("203.0.113.2")}).Draw(rt, "masquerade")
}

// check compares what is recorded and counted with what should be.
func (m *allMappings) check(rt *rapid.T) {
	type pair struct{ in, ext side }
	recorded, uses := map[pair]bool{}, map[side]uint32{}
	for i := range m.live {
		f := &m.live[i]
		if f.counted {
			uses[f.ext]++
		}
		if f.in == f.ext {
			continue
		}
		own := f.in.port == f.ext.port
		if len(m.cfg.SNAT) > 0 {
			paired, _ := m.n.pairedAddr(f.in.family, f.in.addr)
			own = own && f.ext.addr == paired
		}
		if !own {
			recorded[pair{f.in, f.ext}] = true
		}
	}
	if err := m.n.Check(m.table); err != nil {
		rt.Fatal(err)
	}
	if got := m.n.m.inUse(); got != len(recorded) {
		rt.Fatalf("%d mappings are recorded, want %d: %v", got, len(recorded), recorded)
	}
	for s, n := range uses {
		if got := m.use.Count(s.proto, s.family, s.addr, s.port); got != n {
			rt.Fatalf("%v counts %d, want %d", s, got, n)
		}
	}
	if len(m.live) == 0 {
		for i, n := range m.mem {
			if n != 0 {
				rt.Fatalf("slot %#x still counts %d", i, n)
			}
		}
	}
}

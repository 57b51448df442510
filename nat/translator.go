package nat

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"

	"github.com/dgryski/go-metro"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Translator chooses translations for the flows of one worker and counts what
// they use. Owner: worker; only Stats and MemoryBytes may be called from
// elsewhere.
type Translator struct {
	rules
	owner   owner
	rng     rand.PCG
	m       *mappings
	use     *PortUse                   // nil = nothing is counted
	refused [reasonCount]atomic.Uint64 // flows refused, by reason
}

// rules are a Config in the form of the hot path. What is behind its pointers is
// immutable.
type rules struct {
	pools      []pool
	addrs4     uint64 // IPv4 addresses in the pools
	addrs6     uint64 // IPv6 addresses in the pools
	dnat       *dnatTable
	masquerade bool
}

// pool is a Pool in the form of the hot path.
type pool struct {
	first     packet.Addr
	count     uint64 // addresses
	family    packet.Family
	firstPort uint16 // 0 = no explicit range
	lastPort  uint16
	offset    uint64 // of its first address among the pools of its family
}

// contains tells whether addr, of the pool's family, is one of its addresses.
func (p *pool) contains(addr packet.Addr) bool {
	return addr.Hi == p.first.Hi && addr.Lo-p.first.Lo < p.count
}

// NewTranslator makes the translator of worker (0 to cfg.Workers-1). cfg must
// be valid. seed feeds the random starts of port searches; maxMappings is the
// number of mappings that may be recorded, normally the flows of the worker's
// table: then a flow is never refused for want of a mapping. use may be nil.
func NewTranslator(cfg *Config, worker int, seed uint64, maxMappings int, use *PortUse) *Translator {
	n := &Translator{
		rules: newRules(cfg),
		owner: owner{worker, cfg.Workers, cfg.Steering},
		use:   use,
	}
	n.rng.Seed(seed, seed^0x9e3779b97f4a7c15)
	n.m = newMappings(maxMappings, cfg.wide(), n.rng.Uint64())
	return n
}

// newRules makes the rules of a configuration.
func newRules(cfg *Config) rules {
	r := rules{dnat: newDNATTable(cfg.DNAT), masquerade: cfg.Masquerade}
	for _, p := range cfg.SNAT {
		q := pool{
			first: packet.AddrOf(p.First), count: uint64(p.Count()), family: packet.FamilyOf(p.First),
			firstPort: p.FirstPort, lastPort: p.LastPort,
		}
		q.offset = r.poolSize(q.family)
		if q.family == packet.IPv6 {
			r.addrs6 += q.count
		} else {
			r.addrs4 += q.count
		}
		r.pools = append(r.pools, q)
	}
	return r
}

// wide tells whether flows of IPv6 may be translated. Behind a DNAT rule the
// answers to expected flows of an IPv6 master may.
func (c *Config) wide() bool {
	for _, p := range c.SNAT {
		if p.First.Is6() {
			return true
		}
	}
	for _, r := range c.DNAT {
		if r.Addr.Is6() {
			return true
		}
	}
	return false
}

// Rules are what SetRules takes. Immutable.
type Rules struct {
	rules
	wide bool
}

// NewRules makes the rules of a configuration, which must be valid.
func NewRules(cfg *Config) *Rules { return &Rules{newRules(cfg), cfg.wide()} }

// SetRules makes all flows from here on be translated by other rules. Workers and
// steering stay what they were. Flows that exist stay as they are, and give back
// what they hold when they end. Owner: worker, between two bursts.
func (n *Translator) SetRules(r *Rules) {
	n.rules = r.rules
	if r.wide {
		n.m.widen()
	}
}

// Worker returns the number of the worker that owns n.
func (n *Translator) Worker() int { return n.owner.worker }

// Workers returns the number of workers that share the ports.
func (n *Translator) Workers() int { return n.owner.workers }

// MemoryBytes returns the memory that mappings have touched so far; safe from
// any goroutine.
func (n *Translator) MemoryBytes() uint64 { return n.m.memoryBytes() }

// poolSize returns the number of pool addresses of a family.
func (n *rules) poolSize(f packet.Family) uint64 {
	if f == packet.IPv6 {
		return n.addrs6
	}
	return n.addrs4
}

// poolOf returns the pool that holds addr, or nil.
func (n *rules) poolOf(f packet.Family, addr packet.Addr) *pool {
	for i := range n.pools {
		if p := &n.pools[i]; p.family == f && p.contains(addr) {
			return p
		}
	}
	return nil
}

// pairedAddr returns the pool address of an internal host, of a family that has
// one. It depends on the host alone, so all flows of a host leave with one
// address (RFC 4787 REQ-2), on every worker and after a restart.
func (n *rules) pairedAddr(f packet.Family, host packet.Addr) (packet.Addr, *pool) {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], host.Lo)
	binary.LittleEndian.PutUint64(b[8:], host.Hi)
	k := metro.Hash64(b[:], 0) % n.poolSize(f)
	for i := range n.pools {
		p := &n.pools[i]
		if p.family == f && k-p.offset < p.count {
			return packet.Addr{Hi: p.first.Hi, Lo: p.first.Lo + k - p.offset}, p
		}
	}
	return packet.Addr{}, nil
}

// MatchDNAT returns where a rule sends a packet with tuple tu that starts a flow.
func (n *rules) MatchDNAT(tu *flowtable.Tuple) (addr packet.Addr, port uint16, ok bool) {
	s := side{tu.Dst, tu.DstPort, tu.Proto, tu.Family}
	r := n.dnat.find(n.dnat.byFrom, n.dnat.from, &s)
	if r < 0 {
		return packet.Addr{}, 0, false
	}
	return n.dnat.to[r].addr, n.dnat.to[r].port, true
}

// MatchDNATReply returns the external side of the rule whose target is the
// source of tu, a packet from the internal side. Steering uses it: the answer
// belongs to the owner of the external port, not of the target's port.
func (n *rules) MatchDNATReply(tu *flowtable.Tuple) (addr packet.Addr, port uint16, ok bool) {
	s := side{tu.Src, tu.SrcPort, tu.Proto, tu.Family}
	r := n.dnat.find(n.dnat.byTo, n.dnat.to, &s)
	if r < 0 {
		return packet.Addr{}, 0, false
	}
	return n.dnat.from[r].addr, n.dnat.from[r].port, true
}

// MatchDNATTarget tells whether the destination of tu, a packet from the
// external side, is the target of a rule. Steering uses it where sources are
// not translated: there a server that opened a connection from such a port is
// answered at its own address, and its packets, which MatchDNATReply finds,
// belong to the owner of the remote port.
func (n *rules) MatchDNATTarget(tu *flowtable.Tuple) bool {
	s := side{tu.Dst, tu.DstPort, tu.Proto, tu.Family}
	return n.dnat.find(n.dnat.byTo, n.dnat.to, &s) >= 0
}

// Translates tells whether flows are translated to addr: an address of a pool,
// or the external address of a DNAT rule. Addresses to masquerade with are not
// known here.
func (n *rules) Translates(f packet.Family, addr packet.Addr) bool {
	s := side{addr: addr, family: f}
	return n.poolOf(f, addr) != nil || n.dnat.find(n.dnat.byAddr, n.dnat.addr, &s) >= 0
}

// Stats are the figures of one translator.
type Stats struct {
	Mappings    uint64 // mappings recorded now
	MaxMappings uint64 // mappings that can be recorded
	Exhausted   uint64 // flows refused: no free port found
	Clashes     uint64 // flows refused: reply tuple taken, no port to change
	NoAddress   uint64 // flows refused: no address to masquerade with
	Full        uint64 // flows refused: no room for a mapping
	NoMaster    uint64 // expected flows refused: master gone
}

// Stats returns the figures; safe from any goroutine.
func (n *Translator) Stats() Stats {
	return Stats{
		Mappings:    uint64(n.m.inUse()),
		MaxMappings: uint64(len(n.m.rec) - 1),
		Exhausted:   n.refused[ReasonPortsExhausted].Load(),
		Clashes:     n.refused[ReasonClash].Load(),
		NoAddress:   n.refused[ReasonNoAddress].Load(),
		Full:        n.refused[ReasonMappingsFull].Load(),
		NoMaster:    n.refused[ReasonNoMaster].Load(),
	}
}

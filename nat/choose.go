package nat

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// maxReuse bounds how many mappings of one internal address and port are
// tried for a new destination.
const maxReuse = 8

// Attempts of a port search: each round starts at a new random port and is
// half as long as the one before (nf_nat_l4proto_unique_tuple, v6.12), in
// all 128+64+32+16 = 240 lookups. A range with fewer ports is searched whole.
const (
	firstAttempts = 128
	lastAttempts  = 16
)

// Choice is the translation of a new flow.
type Choice struct {
	Reply  flowtable.Tuple  // the reply tuple to insert; valid iff Reason is ReasonNone
	Status flowtable.Status // StatusSNAT and StatusDNAT as they apply
	Reason Reason           // why there is no choice
}

// request is one choice in the making.
type request struct {
	table *flowtable.Table
	orig  *flowtable.Tuple
	reply *flowtable.Tuple
	now   flowtable.Tick
	// owned tells that the chosen source port steers the answers, so also a
	// kept port must be the worker's own, unless it is a DNAT rule's.
	owned bool
}

// sourceRange is where a source may be mapped to: the addresses of one pool
// or of all pools of a family, or one single address.
type sourceRange struct {
	addr  packet.Addr // the address for a new mapping
	total uint64      // > 0: all pools of the family, addr is not valid yet
	first uint16      // explicit ports; 0 = the class of the source port
	last  uint16
}

// Choose decides how the flow that a packet with tuple orig starts is
// translated: by DNAT rules if it comes from the external realm, by pool or
// masquerade if it goes from the internal to the external realm, else only
// so that its reply tuple is unique (null binding). masq is the address of
// the egress interface in orig's family, read only with Masquerade; zero = it
// has none.
//
// Hot: once per new flow. 0 allocs; one lookup in t if the port is kept.
func (n *Translator) Choose(t *flowtable.Table, orig *flowtable.Tuple, in, out Realm,
	masq packet.Addr, now flowtable.Tick) Choice {
	var c Choice
	c.Reply = orig.Invert()
	if in == RealmExternal {
		if addr, port, ok := n.MatchDNAT(orig); ok {
			c.Reply.Src, c.Reply.SrcPort = addr, port
		}
	}
	q := request{t, orig, &c.Reply, now, in == RealmInternal}
	if in == RealmInternal && out == RealmExternal && n.translates(orig.Family) && !orig.Src.IsZero() {
		r := sourceRange{addr: masq, total: n.poolSize(orig.Family)}
		if n.masquerade && masq.IsZero() {
			c.Reason = ReasonNoAddress
		} else {
			c.Reason = n.chooseSource(&q, &r)
		}
	} else {
		c.Reason = n.bindNull(&q)
	}
	return n.finish(&q, c)
}

// Expected is Choose for a flow that expectation e announced: destination and
// source are translated as the master's are (nf_nat_follow_master,
// net/netfilter/nf_nat_helper.c). masterReply is the reply tuple of the
// master, read only if e.Dir is DirReply; nil = the master is gone.
func (n *Translator) Expected(t *flowtable.Table, orig *flowtable.Tuple, e *flowtable.Expectation,
	masterReply *flowtable.Tuple, now flowtable.Tick) Choice {
	var c Choice
	c.Reply = orig.Invert()
	if e.SavedPort != 0 {
		c.Reply.Src, c.Reply.SrcPort = e.SavedAddr, e.SavedPort
	}
	source := e.MasterOrig.Dst
	if e.Dir == flowtable.DirReply {
		if masterReply == nil {
			c.Reason = ReasonNoMaster
			return n.finish(nil, c)
		}
		source = masterReply.Dst
	}
	q := request{t, orig, &c.Reply, now, source != orig.Src}
	if source == orig.Src {
		c.Reason = n.bindNull(&q)
	} else {
		r := sourceRange{addr: source}
		if p := n.poolOf(orig.Family, source); p != nil {
			r.first, r.last = p.firstPort, p.lastPort
		}
		c.Reason = n.chooseSource(&q, &r)
	}
	return n.finish(&q, c)
}

// finish counts a refusal, or sets the status bits of a choice.
func (n *Translator) finish(q *request, c Choice) Choice {
	if c.Reason != ReasonNone {
		n.refused[c.Reason].Store(n.refused[c.Reason].Load() + 1)
		return c
	}
	if c.Reply.Dst != q.orig.Src || externalPort(&c.Reply) != q.orig.SrcPort {
		c.Status |= flowtable.StatusSNAT
		if !n.m.room(q.orig.Family) {
			c.Reason = ReasonMappingsFull
			n.refused[c.Reason].Store(n.refused[c.Reason].Load() + 1)
			return c
		}
	}
	if isDNAT(q.orig, &c.Reply) {
		c.Status |= flowtable.StatusDNAT
	}
	return c
}

// translates tells whether sources of this family are translated at all.
// Masquerading is for IPv4; IPv6 needs pools of its own.
func (n *Translator) translates(f packet.Family) bool {
	return n.masquerade && f == packet.IPv4 || n.poolSize(f) > 0
}

// bindNull keeps the source unless the reply tuple is taken: then, where
// source translation is configured, the port changes but not the address.
func (n *Translator) bindNull(q *request) Reason {
	if q.free() {
		return ReasonNone
	}
	if !n.translates(q.orig.Family) || !portsChange(q.orig.Proto) {
		return ReasonClash
	}
	r := sourceRange{addr: q.orig.Src}
	return n.searchPort(q, &r)
}

// chooseSource maps the source into r (get_unique_tuple,
// net/netfilter/nf_nat_core.c).
func (n *Translator) chooseSource(q *request, r *sourceRange) Reason {
	port := q.orig.SrcPort
	if n.fits(q, r, q.orig.Src, port) && n.take(q, q.orig.Src, port) {
		return ReasonNone
	}
	if n.reuse(q, r) {
		return ReasonNone
	}
	if r.total > 0 {
		addr, p := n.pairedAddr(q.orig.Family, q.orig.Src, r.total)
		*r = sourceRange{addr: addr, first: p.firstPort, last: p.lastPort}
	}
	if !portsChange(q.orig.Proto) {
		if n.take(q, r.addr, port) {
			return ReasonNone
		}
		return ReasonClash
	}
	if n.fits(q, r, r.addr, port) && n.take(q, r.addr, port) {
		return ReasonNone
	}
	return n.searchPort(q, r)
}

// fits tells whether a source may stay addr:port in range r.
func (n *Translator) fits(q *request, r *sourceRange, addr packet.Addr, port uint16) bool {
	first, last := r.first, r.last
	if r.total > 0 {
		p := n.poolOf(q.orig.Family, addr)
		if p == nil {
			return false
		}
		first, last = p.firstPort, p.lastPort
	} else if addr != r.addr {
		return false
	}
	return first == 0 || !portsChange(q.orig.Proto) || port >= first && port <= last
}

// reuse takes a mapping that the same source already holds, if one is free
// for this destination (find_appropriate_src, nf_nat_core.c): to other hosts
// a client keeps one external address and port (RFC 4787 REQ-1).
func (n *Translator) reuse(q *request, r *sourceRange) bool {
	s := side{q.orig.Src, q.orig.SrcPort, q.orig.Proto, q.orig.Family}
	i := n.m.first(&s, 0)
	for tries := 0; i != 0 && tries < maxReuse; tries++ {
		ext := n.m.external(i)
		if n.fits(q, r, ext.addr, ext.port) && n.take(q, ext.addr, ext.port) {
			return true
		}
		i = n.m.first(&s, i)
	}
	return false
}

// searchPort looks for a free port of r.addr among those that the worker may
// give out: in the explicit range, else in the class of the source port, else
// (some workers own no low ports) among the unprivileged ones.
func (n *Translator) searchPort(q *request, r *sourceRange) Reason {
	first, last := r.first, r.last
	if first == 0 {
		if first, last = portClass(q.orig.SrcPort); isICMP(q.orig.Proto) {
			first, last = 0, 65535
		}
	}
	q.reply.Dst = r.addr
	c := n.owner.candidates(q.reply, q.owned)
	q.owned = false // every candidate is
	c.among(first, last)
	if n.search(q, r.addr, &c) {
		return ReasonNone
	}
	if c.none && r.first == 0 {
		if c.among(1024, 65535); n.search(q, r.addr, &c) {
			return ReasonNone
		}
	}
	return ReasonPortsExhausted
}

// search takes the first candidate that is free.
func (n *Translator) search(q *request, addr packet.Addr, c *candidates) bool {
	for attempts := uint32(firstAttempts); c.size > 0 && attempts >= lastAttempts; attempts /= 2 {
		c.start(n.below(c.size), attempts)
		for range attempts {
			port, ok := c.next()
			if !ok {
				break
			}
			if n.take(q, addr, port) {
				return true
			}
		}
		if attempts >= c.size {
			break
		}
	}
	return false
}

// below returns a random number less than size.
func (n *Translator) below(size uint32) uint32 {
	return uint32(n.rng.Uint64() >> 32 * uint64(size) >> 32)
}

// take makes addr:port the translated source if no flow has the resulting
// reply tuple. On false the reply tuple is left changed.
//
// The external side of a DNAT rule is taken for the rule's target only: what
// comes to it from outside is the rule's, and belongs to the owner of the
// remote port. So do the packets of the target, whatever owns its own port.
func (n *Translator) take(q *request, addr packet.Addr, port uint16) bool {
	q.reply.Dst = addr
	if isICMP(q.reply.Proto) {
		q.reply.SrcPort = port
	} else {
		q.reply.DstPort = port
	}
	ext := side{addr, port, q.orig.Proto, q.orig.Family}
	if r := n.dnat.find(n.dnat.byFrom, n.dnat.from, &ext); r >= 0 {
		if n.dnat.to[r] != (side{q.orig.Src, q.orig.SrcPort, q.orig.Proto, q.orig.Family}) {
			return false
		}
	} else if q.owned && portsChange(q.orig.Proto) && !n.owner.answered(q.reply) {
		return false
	}
	return q.free()
}

// free tells whether no flow has the reply tuple.
func (q *request) free() bool {
	return q.table.Lookup(q.reply, q.table.Hash(q.reply), q.now) == 0
}

// isICMP tells whether the port of a tuple's source is an ICMP id.
func isICMP(proto uint8) bool {
	return proto == packet.ProtoICMP || proto == packet.ProtoICMPv6
}

// portsChange tells whether the source port of a protocol can be translated.
func portsChange(proto uint8) bool {
	return proto == packet.ProtoTCP || proto == packet.ProtoUDP || isICMP(proto)
}

// externalPort returns the translated source port that reply is addressed to.
func externalPort(reply *flowtable.Tuple) uint16 {
	if isICMP(reply.Proto) {
		return reply.SrcPort
	}
	return reply.DstPort
}

// isDNAT tells whether the destination of orig is translated.
func isDNAT(orig, reply *flowtable.Tuple) bool {
	return reply.Src != orig.Dst || !isICMP(orig.Proto) && reply.SrcPort != orig.DstPort
}

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

// Choice is the translation of a new flow: a proposal until Choose has settled
// it.
type Choice struct {
	Reply  flowtable.Tuple  // the reply tuple to insert; valid iff Reason is ReasonNone
	Hash   uint64           // Table.Hash of Reply
	Status flowtable.Status // StatusSNAT and StatusDNAT as they apply; set by Choose
	Reason Reason           // why there is no choice

	// source tells that the source is mapped into sources; else the flow is only
	// to have a reply tuple of its own.
	source  bool
	sources sourceRange
	// owned tells that the chosen source port steers the answers, so also a
	// kept port must be the worker's own, unless it is a DNAT rule's.
	owned bool
	// answers is the side that answers come from. Read only if owned.
	answers Realm
	// mapped tells that the translation needs a record; see follows.
	mapped bool
}

// request is one choice in the making.
type request struct {
	*Choice
	table *flowtable.Table
	orig  *flowtable.Tuple
	now   flowtable.Tick
}

// sourceRange is where a source may be mapped to: one address or, for what is
// not new, all pools of a family.
type sourceRange struct {
	addr  packet.Addr // the address for a new mapping
	pools bool        // any pool of the family will do, addr is the host's own
	first uint16      // explicit ports of addr; 0 = the class of the source port
	last  uint16
}

// ports returns the ports that a source may be given if its own will not do.
func (r *sourceRange) ports(orig *flowtable.Tuple) (first, last uint16) {
	switch {
	case r.first != 0:
		return r.first, r.last
	case isICMP(orig.Proto):
		return 0, 65535
	}
	return portClass(orig.SrcPort)
}

// Propose sets c to the translation that a flow with tuple orig gets if nothing
// is in its way. It goes by rules and addresses alone and looks at no flow:
// Choose does. So a worker can ask for the memory that Choose will touch.
//
// The destination is translated by DNAT rules, wherever the flow comes from. The
// source is translated by pool or masquerade if the flow goes from the internal to the
// external realm, and if a rule turns it back to the internal one (hairpin); else
// only so that the reply tuple is unique (null binding). masq is the address of
// the egress interface in orig's family, read only with Masquerade; zero = it has
// none.
//
// Hot: once per new flow. 0 allocs.
func (n *Translator) Propose(c *Choice, t *flowtable.Table, orig *flowtable.Tuple, in, out Realm, masq packet.Addr) {
	*c = Choice{Reply: orig.Invert(), owned: in == RealmInternal, answers: out}
	addr, port, ruled := n.MatchDNAT(orig)
	if ruled {
		c.Reply.Src, c.Reply.SrcPort = addr, port
	}
	switch {
	case in == RealmExternal || orig.Src.IsZero():
	case out == RealmExternal && n.translates(orig.Family):
		n.proposeSource(c, orig, masq)
	case out == RealmInternal && ruled:
		n.proposeSource(c, orig, orig.Dst)
	}
	c.Hash = t.Hash(&c.Reply)
}

// proposeSource proposes a source: an address of the pools or, if there are none for the
// family, other.
//
// Of a hairpinned flow other is the very address that was asked: one of the gateway's,
// so that the answer comes back to it. And it is how the host is known outside, if that
// address is the one that is masqueraded with (RFC 4787 REQ-9).
func (n *Translator) proposeSource(c *Choice, orig *flowtable.Tuple, other packet.Addr) {
	c.source = true
	if n.poolSize(orig.Family) > 0 {
		addr, p := n.pairedAddr(orig.Family, orig.Src)
		c.sources = sourceRange{addr: addr, pools: true, first: p.firstPort, last: p.lastPort}
	} else {
		c.sources.addr = other
		if other.IsZero() {
			c.Reason = ReasonNoAddress
		}
	}
	c.Reply.Dst = c.sources.addr
	n.suggest(c, orig)
}

// suggest proposes the port to try first: the source's own, but steered by RSS
// only if answers to it come to this worker, else a random one of those that do.
// The target of a DNAT rule may have the rule's.
func (n *Translator) suggest(c *Choice, orig *flowtable.Tuple) {
	if _, _, served := n.MatchDNATReply(orig); served || !n.owner.steering.Mirrors(orig) {
		return
	}
	first, last := c.sources.ports(orig)
	k := n.owner.candidates(&c.Reply, true, c.answers)
	if k.has(orig.SrcPort) && (c.sources.first == 0 || orig.SrcPort >= first && orig.SrcPort <= last) {
		return
	}
	k.among(first, last)
	k.start(n.below(k.size), 1)
	if port, ok := k.next(); ok {
		c.Reply.DstPort = port
	}
}

// Choose settles a proposal for orig: it looks for a reply tuple that no flow
// has. On a refusal c.Reason is set, and counted.
//
// Hot: once per new flow. 0 allocs; one lookup in t if the port is kept.
func (n *Translator) Choose(c *Choice, t *flowtable.Table, orig *flowtable.Tuple, now flowtable.Tick) {
	q := request{c, t, orig, now}
	switch {
	case c.Reason != ReasonNone:
	case c.source:
		c.Reason = n.chooseSource(&q)
	default:
		c.Reason = n.bindNull(&q)
	}
	n.finish(&q)
}

// Expected is Propose and Choose for a flow that expectation e announced:
// destination and source are translated as the master's are
// (nf_nat_follow_master, net/netfilter/nf_nat_helper.c). masterReply is the
// reply tuple of the master, read only if e.Dir is DirReply; nil = the master is
// gone. own is the expectation by which the flow's own source is announced to the
// other side, under another port perhaps, which it then keeps; nil = none.
func (n *Translator) Expected(t *flowtable.Table, orig *flowtable.Tuple, e, own *flowtable.Expectation,
	masterReply *flowtable.Tuple, now flowtable.Tick) (c Choice) {
	c.Reply = orig.Invert()
	if e.SavedPort != 0 {
		c.Reply.Src, c.Reply.SrcPort = e.SavedAddr, e.SavedPort
	}
	c.sources.addr = e.MasterOrig.Dst
	if e.Dir == flowtable.DirReply {
		if masterReply == nil {
			c.Reason = ReasonNoMaster
			n.refuse(&c)
			return c
		}
		c.sources.addr = masterReply.Dst
	}
	c.source = c.sources.addr != orig.Src
	// One that follows its master has been brought to that one's worker from the owner
	// of its port, which found that free.
	followed := e.Follows && int(e.Master.Worker) == n.owner.worker && !n.owner.steering.Mirrors(orig)
	c.owned, c.answers = c.source && !followed, RealmExternal
	if p := n.poolOf(orig.Family, c.sources.addr); p != nil {
		c.sources.first, c.sources.last = p.firstPort, p.lastPort
	}
	if own != nil && c.source {
		c.sources = sourceRange{addr: own.Tuple.Dst, first: own.Tuple.DstPort, last: own.Tuple.DstPort}
		c.owned = false // by RSS its answers may come elsewhere: then they are strays
		c.source = own.Tuple.Dst != orig.Src
	}
	c.Hash = t.Hash(&c.Reply)
	n.Choose(&c, t, orig, now)
	return c
}

// ExpectedStranger is Expected for a flow that comes from another host than the other end
// of the master, which a loose announcement is for, too: the source is not that end's. It
// stays as it is from outside (nf_nat_sip_expected, net/netfilter/nf_nat_sip.c); one inside
// is translated as if a rule led to where the announcement does.
func (n *Translator) ExpectedStranger(t *flowtable.Table, orig *flowtable.Tuple, e *flowtable.Expectation, in Realm, now flowtable.Tick) (c Choice) {
	c.Reply = orig.Invert()
	c.Reply.Src, c.Reply.SrcPort = e.SavedAddr, e.SavedPort
	if in == RealmInternal {
		c.owned, c.answers = true, RealmInternal
		n.proposeSource(&c, orig, orig.Dst)
	}
	c.Hash = t.Hash(&c.Reply)
	n.Choose(&c, t, orig, now)
	return c
}

// finish counts a refusal, or sets what a choice entails.
func (n *Translator) finish(q *request) {
	if q.Reason == ReasonNone && (q.Reply.Dst != q.orig.Src || externalPort(&q.Reply) != q.orig.SrcPort) {
		q.Status |= flowtable.StatusSNAT
		if q.mapped = !n.follows(q); q.mapped && !n.m.room(q.orig.Family) {
			q.Reason = ReasonMappingsFull
		}
	}
	if q.Reason != ReasonNone {
		n.refuse(q.Choice)
		return
	}
	if isDNAT(q.orig, &q.Reply) {
		q.Status |= flowtable.StatusDNAT
	}
}

// refuse counts a flow without a translation.
func (n *Translator) refuse(c *Choice) {
	n.refused[c.Reason].Store(n.refused[c.Reason].Load() + 1)
}

// follows tells whether the translation of a source follows from the source
// alone: its port is kept, and its address is the one that the host has in the
// pools or, without pools, the only one that is possible. The next flow of that
// source finds such a translation without a record of it.
//
// Steered by RSS, a port fits one destination and the next one needs another:
// there is nothing to be found again.
func (n *Translator) follows(q *request) bool {
	if n.owner.steering.Mirrors(q.orig) {
		return true
	}
	if externalPort(&q.Reply) != q.orig.SrcPort {
		return false
	}
	if n.poolSize(q.orig.Family) == 0 {
		return true
	}
	if q.sources.pools {
		return q.Reply.Dst == q.sources.addr
	}
	paired, _ := n.pairedAddr(q.orig.Family, q.orig.Src)
	return q.Reply.Dst == paired
}

// translates tells whether sources of this family are translated at all.
// Masquerading is for IPv4; IPv6 needs pools of its own.
func (n *rules) translates(f packet.Family) bool {
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
	q.sources = sourceRange{addr: q.orig.Src}
	return n.searchPort(q)
}

// chooseSource maps the source (get_unique_tuple,
// net/netfilter/nf_nat_core.c).
func (n *Translator) chooseSource(q *request) Reason {
	addr, port, proposed := q.sources.addr, q.orig.SrcPort, externalPort(&q.Reply)
	if n.fits(q, q.orig.Src, port) && n.take(q, q.orig.Src, port) {
		return ReasonNone
	}
	if n.m.inUse() > 0 && n.reuse(q) {
		return ReasonNone
	}
	if !portsChange(q.orig.Proto) {
		if n.take(q, addr, port) {
			return ReasonNone
		}
		return ReasonClash
	}
	if n.fits(q, addr, proposed) && n.take(q, addr, proposed) {
		return ReasonNone
	}
	return n.searchPort(q)
}

// fits tells whether a source may be mapped to addr:port.
func (n *Translator) fits(q *request, addr packet.Addr, port uint16) bool {
	first, last := q.sources.first, q.sources.last
	if addr != q.sources.addr {
		if !q.sources.pools {
			return false
		}
		p := n.poolOf(q.orig.Family, addr)
		if p == nil {
			return false
		}
		first, last = p.firstPort, p.lastPort
	}
	return first == 0 || !portsChange(q.orig.Proto) || port >= first && port <= last
}

// reuse takes a mapping that the same source already holds, if one is free
// for this destination (find_appropriate_src, nf_nat_core.c): to other hosts
// a client keeps one external address and port (RFC 4787 REQ-1). The one that
// follows from the source alone is not among them: it is what comes next.
func (n *Translator) reuse(q *request) bool {
	s := side{q.orig.Src, q.orig.SrcPort, q.orig.Proto, q.orig.Family}
	i := n.m.first(&s, 0)
	for tries := 0; i != 0 && tries < maxReuse; tries++ {
		ext := n.m.external(i)
		if n.fits(q, ext.addr, ext.port) && n.take(q, ext.addr, ext.port) {
			return true
		}
		i = n.m.first(&s, i)
	}
	return false
}

// searchPort looks for a free port of the address among those that the worker
// may give out: in the explicit range, else in the class of the source port,
// else (some workers own no low ports) among the unprivileged ones.
func (n *Translator) searchPort(q *request) Reason {
	q.Reply.Dst = q.sources.addr
	c := n.owner.candidates(&q.Reply, q.owned, q.answers)
	q.owned = false // every candidate is
	c.among(q.sources.ports(q.orig))
	if n.search(q, &c) {
		return ReasonNone
	}
	if c.none && q.sources.first == 0 {
		if c.among(1024, 65535); n.search(q, &c) {
			return ReasonNone
		}
	}
	return ReasonPortsExhausted
}

// search takes the first candidate that is free.
func (n *Translator) search(q *request, c *candidates) bool {
	for attempts := uint32(firstAttempts); c.size > 0 && attempts >= lastAttempts; attempts /= 2 {
		c.start(n.below(c.size), attempts)
		for range attempts {
			port, ok := c.next()
			if !ok {
				break
			}
			if n.take(q, q.sources.addr, port) {
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
	q.Reply.Dst = addr
	if isICMP(q.Reply.Proto) {
		q.Reply.SrcPort = port
	} else {
		q.Reply.DstPort = port
	}
	ext := side{addr, port, q.orig.Proto, q.orig.Family}
	if r := n.dnat.find(n.dnat.byFrom, n.dnat.from, &ext); r >= 0 {
		if n.dnat.to[r] != (side{q.orig.Src, q.orig.SrcPort, q.orig.Proto, q.orig.Family}) {
			return false
		}
	} else if q.owned && portsChange(q.orig.Proto) && !n.owner.answered(&q.Reply, q.answers) {
		return false
	}
	q.Hash = q.table.Hash(&q.Reply)
	return q.free()
}

// free tells whether no flow has the reply tuple.
func (q *request) free() bool {
	return q.table.Lookup(&q.Reply, q.Hash, q.now) == 0
}

// isICMP tells whether the port of a tuple's source is an ICMP id.
func isICMP(proto uint8) bool {
	return proto == packet.ProtoICMP || proto == packet.ProtoICMPv6
}

// portsChange tells whether the source port of a protocol can be translated.
func portsChange(proto uint8) bool {
	return proto == packet.ProtoTCP || proto == packet.ProtoUDP || proto == packet.ProtoSCTP || isICMP(proto)
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

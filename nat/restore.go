package nat

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Former is the translation of a flow that was made before a restart. The rules,
// the routes and the number of workers may have been others then.
type Former struct {
	Orig, Reply *flowtable.Tuple
	Expected    bool // an expectation announced the flow
	// MasqOut and MasqIn are the addresses to masquerade with on the way to
	// Reply.Src and to Orig.Src; zero = none. Read only with Masquerade.
	MasqOut, MasqIn packet.Addr
}

// Status tells how the flow is translated: StatusSNAT, StatusDNAT.
func (f *Former) Status() flowtable.Status {
	s := flowtable.Status(0)
	if f.Reply.Dst != f.Orig.Src || externalPort(f.Reply) != f.Orig.SrcPort {
		s |= flowtable.StatusSNAT
	}
	if isDNAT(f.Orig, f.Reply) {
		s |= flowtable.StatusDNAT
	}
	return s
}

// turned tells whether a rule has led the flow back inside (hairpin) with the address that
// was asked as its source.
func (f *Former) turned() bool { return f.Reply.Dst == f.Orig.Dst && !f.Expected }

// Restore makes a choice of a former translation, for Bind. It reports false if
// the rules would not lead to it any more: the address is in no pool or not the one
// to masquerade with, the port is out of the pool's range or a DNAT rule's, the rule
// is gone; or if there is no room for its mapping, in c.Reason. Whether another
// flow has the reply tuple, the table tells.
func (n *Translator) Restore(c *Choice, f *Former) bool {
	*c = Choice{Reply: *f.Reply, Status: f.Status()}
	if c.Status&flowtable.StatusSNAT != 0 && !n.keepsSource(f) ||
		c.Status&flowtable.StatusDNAT != 0 && !n.keepsDestination(f) {
		return false
	}
	c.mapped = c.Status&flowtable.StatusSNAT != 0 && !n.follows(&request{Choice: c, orig: f.Orig})
	if c.mapped && !n.m.room(f.Orig.Family) {
		c.Reason = ReasonMappingsFull
		return false
	}
	return true
}

// keepsSource tells whether a source may still be translated as it was.
func (n *Translator) keepsSource(f *Former) bool {
	ext := side{f.Reply.Dst, externalPort(f.Reply), f.Orig.Proto, f.Orig.Family}
	if r := n.dnat.find(n.dnat.byFrom, n.dnat.from, &ext); r >= 0 {
		return n.dnat.to[r] == side{f.Orig.Src, f.Orig.SrcPort, f.Orig.Proto, f.Orig.Family}
	}
	switch {
	case f.turned() && n.poolSize(f.Orig.Family) == 0:
		return true
	case f.Reply.Dst == f.Orig.Src: // so that the reply tuple is unique
		return n.translates(f.Orig.Family) && portsChange(f.Orig.Proto)
	case n.masquerade && f.Orig.Family == packet.IPv4:
		return f.Reply.Dst == f.MasqOut || f.Expected && n.Translates(f.Orig.Family, f.Reply.Dst)
	}
	p := n.poolOf(f.Orig.Family, f.Reply.Dst)
	if p == nil {
		return f.Expected && n.Translates(f.Orig.Family, f.Reply.Dst)
	}
	return p.firstPort == 0 || !portsChange(f.Orig.Proto) || ext.port >= p.firstPort && ext.port <= p.lastPort
}

// keepsDestination tells whether a destination may still be translated as it was:
// by a rule, or by an expectation about an address of the gateway.
func (n *Translator) keepsDestination(f *Former) bool {
	if f.Expected {
		return n.Translates(f.Orig.Family, f.Orig.Dst) || n.masquerade && f.Orig.Dst == f.MasqIn
	}
	to, port, ok := n.MatchDNAT(f.Orig)
	return ok && to == f.Reply.Src && port == f.Reply.SrcPort
}

package nat

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// What a flow has to give back when it ends, in flowtable.Holds: whether it
// uses a mapping, and the registration under which PortUse counts its external
// port, 0 = not counted.
const (
	holdsMapping  = flowtable.Holds(1)
	holdsUseShift = 1
)

// Bind makes the flow that was inserted with choice c hold what its translation
// uses: its mapping, if it needs one, and its external port, if that is counted.
// It holds neither in the usual case, and then nothing is touched.
//
// Hot: once per new flow. 0 allocs.
func (n *Translator) Bind(t *flowtable.Table, idx uint32, orig *flowtable.Tuple, c *Choice) {
	var h flowtable.Holds
	if c.Status&flowtable.StatusSNAT != 0 {
		in, ext := sourceSides(orig, &c.Reply)
		if c.mapped && n.m.ref(&in, &ext) {
			h = holdsMapping
		}
		h |= flowtable.Holds(n.use.claim(&ext)) << holdsUseShift
	}
	f := t.Flow(idx)
	if h != 0 {
		f.SetHolds(h)
	}
	if isAnnounced(f) {
		n.use.add(&side{orig.Dst, orig.DstPort, orig.Proto, orig.Family})
	}
}

// Release gives back what Bind took. Call it once, before the flow is removed
// from t; its status must tell how it is translated.
//
// Hot: once per flow that ends. 0 allocs; the record alone in the usual case.
func (n *Translator) Release(t *flowtable.Table, idx uint32) {
	f := t.Flow(idx)
	h, announced := f.Holds(), isAnnounced(f)
	if h == 0 && !announced {
		return
	}
	var orig, reply flowtable.Tuple
	t.Tuple(idx, flowtable.DirOriginal, &orig)
	t.Tuple(idx, flowtable.DirReply, &reply)
	in, ext := sourceSides(&orig, &reply)
	if h&holdsMapping != 0 {
		n.m.unref(&in, &ext)
	}
	n.use.disclaim(&ext, uint8(h>>holdsUseShift))
	if announced {
		n.use.sub(&side{orig.Dst, orig.DstPort, orig.Proto, orig.Family})
	}
}

// isAnnounced tells whether the destination of a flow is translated as an
// expectation said: then the flow counts as a use of its port. The port of a rule is
// held for as long as its address is registered.
func isAnnounced(f *flowtable.Flow) bool {
	const announced = flowtable.StatusExpected | flowtable.StatusDNAT
	return f.Status()&announced == announced
}

// sourceSides returns both sides of a flow's source translation.
func sourceSides(orig, reply *flowtable.Tuple) (in, ext side) {
	in = side{orig.Src, orig.SrcPort, orig.Proto, orig.Family}
	ext = side{reply.Dst, externalPort(reply), orig.Proto, orig.Family}
	return in, ext
}

// MaxExpectTries bounds the ports that a helper tries for one expectation
// (nf_nat_ftp, net/netfilter/nf_nat_ftp.c).
const MaxExpectTries = 128

// ExpectedPort offers an external port of addr under which the announced
// port of an internal host may be reached. A helper asks with try = 0, 1, ...
// MaxExpectTries-1 until it could register an expectation; ok = false means
// that this try yields nothing, not that the next will not. Try 0 is the
// announced port itself, the others are random.
//
// Each port offered has the owner of the announced port, so that both
// directions of the expected flow are steered to one worker by their port
// numbers (steered by RSS they are not, whatever the port); lies in the
// explicit range of the address's pool, if it has one, else in 1024-65535;
// and is not a DNAT rule's. Flows that use the port already do not matter, of
// this worker or another: such a flow could only get in the way if it leads to
// the very peer and port that the expected flow comes from, and then the flow
// that exists is found before the expectation.
func (n *Translator) ExpectedPort(f packet.Family, proto uint8, addr packet.Addr, announced uint16, try int) (port uint16, ok bool) {
	first, last := uint16(1024), uint16(65535)
	if p := n.poolOf(f, addr); p != nil && p.firstPort != 0 {
		first, last = p.firstPort, p.lastPort
	}
	port = announced
	if try > 0 {
		s := n.owner.partners(f, proto, announced, first, last)
		if !s.any() {
			return 0, false
		}
		port = s.port(s.from + n.below(s.size()))
	}
	ext := side{addr, port, proto, f}
	if port < first || port > last || n.dnat.find(n.dnat.byFrom, n.dnat.from, &ext) >= 0 {
		return 0, false
	}
	return port, true
}

// ExpectedPair is ExpectedPort for an announced port and the next one, as RTP and
// RTCP have them: it offers a port, and with it the next one, that is even or odd as
// the announced one (RFC 4787 REQ-4; RFC 3550 section 11).
func (n *Translator) ExpectedPair(f packet.Family, proto uint8, addr packet.Addr, announced uint16, try int) (port uint16, ok bool) {
	port, ok = n.ExpectedPort(f, proto, addr, announced, try)
	if try > 0 {
		keep := uint16(1)
		if !n.owner.together(f, proto, announced, announced+1) {
			keep = portBlock - 1 // only the last port of a block has another owner's beside it
		}
		port = port&^keep | announced&keep
	}
	ok = ok && port != 65535 && announced != 65535 && n.MayExpect(f, proto, addr, port, announced) &&
		n.MayExpect(f, proto, addr, port+1, announced+1)
	return port, ok
}

// MayExpect tells whether an announced port of an internal host may be known as port of
// addr, as far as ExpectedPort looks.
func (n *Translator) MayExpect(f packet.Family, proto uint8, addr packet.Addr, port, announced uint16) bool {
	_, ok := n.ExpectedPort(f, proto, addr, port, 0)
	return ok && n.owner.together(f, proto, port, announced)
}

// ReserveExpected counts the port that expectation e waits on as used, so
// that the first packet of the expected flow reaches the gateway.
func (n *Translator) ReserveExpected(e *flowtable.Expectation) {
	n.use.add(&side{e.Tuple.Dst, e.Tuple.DstPort, e.Tuple.Proto, e.Tuple.Family})
}

// ReleaseExpected takes ReserveExpected back: call it when e was removed or
// expired, or when it was consumed and the expected flow is bound.
func (n *Translator) ReleaseExpected(e *flowtable.Expectation) {
	n.use.sub(&side{e.Tuple.Dst, e.Tuple.DstPort, e.Tuple.Proto, e.Tuple.Family})
}

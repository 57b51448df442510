package nat

import (
	"sync/atomic"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Bind makes the flow hold what its translation uses: its mapping and its
// external ports. It reads the tuples only, so it may be called as soon as
// the flow is inserted. It returns false, and holds nothing, if there is no
// room for the mapping, which cannot happen right after a choice.
//
// Hot: once per new flow. 0 allocs.
func (n *Translator) Bind(t *flowtable.Table, idx uint32) bool {
	var orig, reply flowtable.Tuple
	t.Tuple(idx, flowtable.DirOriginal, &orig)
	t.Tuple(idx, flowtable.DirReply, &reply)
	if in, ext, ok := sourceSides(&orig, &reply); ok {
		i, fresh := n.m.ref(&in, &ext)
		if i == 0 {
			return false
		}
		if fresh {
			n.countPort(&ext, 1)
		}
		n.mapped.Store(uint64(n.m.used))
		r := &n.m.rec[i]
		r.counted = n.use.claim(&ext, r.counted)
	}
	if n.isAnnounced(&orig, &reply) {
		n.use.add(&side{orig.Dst, orig.DstPort, orig.Proto, orig.Family})
	}
	return true
}

// Release gives back what Bind took. Call it once, before the flow is
// removed from t.
func (n *Translator) Release(t *flowtable.Table, idx uint32) {
	var orig, reply flowtable.Tuple
	t.Tuple(idx, flowtable.DirOriginal, &orig)
	t.Tuple(idx, flowtable.DirReply, &reply)
	if in, ext, ok := sourceSides(&orig, &reply); ok {
		counted, gone := n.m.unref(&in, &ext)
		if gone {
			n.countPort(&ext, ^uint32(0))
		}
		n.mapped.Store(uint64(n.m.used))
		n.use.disclaim(&ext, counted)
	}
	if n.isAnnounced(&orig, &reply) {
		n.use.sub(&side{orig.Dst, orig.DstPort, orig.Proto, orig.Family})
	}
}

// isAnnounced tells whether the destination is translated, but by no rule:
// then an expectation did it, and the flow counts as a use of its port. The
// port of a rule is held for as long as its address is registered.
func (n *Translator) isAnnounced(orig, reply *flowtable.Tuple) bool {
	if !isDNAT(orig, reply) {
		return false
	}
	_, _, ruled := n.MatchDNAT(orig)
	return !ruled
}

// sourceSides returns both sides of a flow's source translation; ok is false
// if the source is not translated.
func sourceSides(orig, reply *flowtable.Tuple) (in, ext side, ok bool) {
	in = side{orig.Src, orig.SrcPort, orig.Proto, orig.Family}
	ext = side{reply.Dst, externalPort(reply), orig.Proto, orig.Family}
	return in, ext, in != ext
}

// countPort changes the number of used ports of a pool address by delta.
func (n *Translator) countPort(ext *side, delta uint32) {
	k := portSlot(ext.proto)
	p := n.poolOf(ext.family, ext.addr)
	if k < 0 || p == nil {
		return
	}
	c := &n.usedPorts[3*(p.index+int(ext.addr.Lo-p.first.Lo))+k]
	atomic.StoreUint32(c, *c+delta)
}

// MaxExpectTries bounds the ports that a helper tries for one expectation
// (nf_nat_ftp, net/netfilter/nf_nat_ftp.c).
const MaxExpectTries = 128

// ExpectedPort offers an external TCP port of addr under which the announced
// port of an internal host may be reached. A helper asks with try = 0, 1, ...
// MaxExpectTries-1 until it could register an expectation; ok = false means
// that this try yields nothing, not that the next will not. Try 0 is the
// announced port itself, the others are random.
//
// Each port offered has the owner of the announced port, so that both
// directions of the expected flow are steered to one worker by their port
// numbers (steered by RSS they are not, whatever the port); lies in the
// explicit range of the address's pool, if it has one, else in 1024-65535;
// and is used neither by a DNAT rule nor by a mapping of this worker.
// Mappings of other workers are not seen: such a mapping could only get in
// the way if it leads to the very peer and port that the expected flow comes
// from, and then the flow that exists is found before the expectation.
func (n *Translator) ExpectedPort(f packet.Family, addr packet.Addr, announced uint16, try int) (port uint16, ok bool) {
	first, last := uint16(1024), uint16(65535)
	if p := n.poolOf(f, addr); p != nil && p.firstPort != 0 {
		first, last = p.firstPort, p.lastPort
	}
	port = announced
	if try > 0 {
		s := n.owner.partners(f, packet.ProtoTCP, announced, first, last)
		if !s.any() {
			return 0, false
		}
		port = s.port(s.from + n.below(s.size()))
	}
	ext := side{addr, port, packet.ProtoTCP, f}
	if port < first || port > last || n.m.externalUsed(&ext) ||
		n.dnat.find(n.dnat.byFrom, n.dnat.from, &ext) >= 0 {
		return 0, false
	}
	return port, true
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

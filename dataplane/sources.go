package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// ReversePath is what the routes must say of a packet's source (RFC 3704).
type ReversePath uint8

// The checks of --rp-filter. Whatever it is, a packet that comes from outside with a
// source that is routed inside is dropped.
const (
	ReversePathOff    ReversePath = iota
	ReversePathLoose              // there is a route to it (§2.3); a default route is one
	ReversePathStrict             // the best route to it leaves by the port it came by (§2.2)
)

// sourceChecks is what is asked of the sources of packets.
type sourceChecks struct {
	reversePath ReversePath
	bogons      bool // addresses that are not the Internet's start no flow from or to outside
	each        [maxPorts]eachPacket
}

// eachPacket is what is asked of each packet that comes by a port, not only of one that
// starts a flow.
type eachPacket uint8

const (
	askNothing eachPacket = iota
	askSide               // its source must not be inside
	askPort               // its source must be routed by this port
)

// newSourceChecks makes them for the ports of a gateway.
func newSourceChecks(o *Options) sourceChecks {
	c := sourceChecks{reversePath: o.ReversePath, bogons: o.DropBogons}
	for in, p := range o.Ports {
		switch {
		case o.ReversePath == ReversePathStrict:
			c.each[in] = askPort
		case p.Realm == nat.RealmExternal:
			c.each[in] = askSide
		}
	}
	return c
}

// insides returns the status of a flow with these next hops: whose source is inside.
func (w *Worker) insides(hops [2]uint16) flowtable.Status {
	s := flowtable.Status(0)
	if w.inside(hops[flowtable.DirReply]) {
		s |= flowtable.StatusOriginalInside
	}
	if w.inside(hops[flowtable.DirOriginal]) {
		s |= flowtable.StatusReplyInside
	}
	return s
}

// inside reports whether a next hop leads to an internal port.
func (w *Worker) inside(hop uint16) bool {
	port := w.routes.now.Hop(hop).Port
	return port != fib.NoPort && w.cfg.realm[port] == nat.RealmInternal
}

// isInside reports whether an address is routed to the inside.
func (w *Worker) isInside(a packet.Addr, f packet.Family) bool {
	return w.inside(w.routes.lookup(a, f))
}

// askSources drops the packets of flows that do not come from where their source is.
//
// Hot: for bursts from outside. It reads the records that lookup has compared.
func (w *Worker) askSources(b *burst) {
	t, strict := w.flows.table, w.cfg.sources.reversePath == ReversePathStrict
	for i := range b.n {
		p := &b.pkts[i]
		if p.ref != 0 && (strict || t.Flow(p.ref.Index()).Inside(p.ref.Dir())) && p.verdict == VerdictForward {
			w.dishonest(p)
		}
	}
}

// dishonest drops a packet of a flow that does not come from where its source is, if
// the routes of today say so, too.
func (w *Worker) dishonest(p *pkt) bool {
	ask := w.cfg.sources.each[p.in&(maxPorts-1)]
	if p.ref == 0 || ask == askNothing {
		return false
	}
	f := w.flows.table.Flow(p.ref.Index())
	if ask == askSide && !f.Inside(p.ref.Dir()) ||
		ask == askPort && w.routes.now.Hop(f.NextHop[p.ref.Dir().Opposite()]).Port == uint16(p.in) {
		return false
	}
	var tu flowtable.Tuple
	w.flows.table.Tuple(p.ref.Index(), p.ref.Dir(), &tu)
	return w.spoofed(p, w.routes.lookup(tu.Src, tu.Family))
}

// spoofed drops a packet that did not come from where its source is: src is the next
// hop towards that.
func (w *Worker) spoofed(p *pkt, src uint16) bool {
	ask := w.cfg.sources.each[p.in]
	switch {
	case ask == askNothing || src < fib.FirstHop:
		return false
	case w.cfg.realm[p.in] == nat.RealmExternal && w.inside(src):
		p.drop(DropSpoofed)
	case ask == askPort && w.routes.now.Hop(src).Port != uint16(p.in):
		p.drop(DropReversePath)
	default:
		return false
	}
	return true
}

// falseSource drops a packet that starts no flow, an ICMP error or an INVALID one, if
// its source is none that a packet from there can have.
func (w *Worker) falseSource(p *pkt) bool {
	src := w.routes.lookup(w.outerSrc(p), p.hdr.Family)
	if martian(p, src) {
		p.drop(DropMartianSource)
		return true
	}
	return w.spoofed(p, src)
}

// martian reports a source address that no packet to be forwarded can have: not a
// single host's, of the link only, or the gateway's own. src is the next hop towards it.
func martian(p *pkt, src uint16) bool {
	return src == fib.HopLocal || src == fib.HopLinkScope || !singleHost(p)
}

// admitSource decides whether a packet's source may start a flow, or drops the packet.
func (w *Worker) admitSource(p *pkt, o *outlook) bool {
	switch c := &w.cfg.sources; {
	case martian(p, o.src):
		p.drop(DropMartianSource)
	case toItself(&p.tuple):
		p.drop(DropLand)
	case w.spoofed(p, o.src):
	case c.reversePath == ReversePathLoose && o.src < fib.HopNotPort,
		c.reversePath == ReversePathStrict && o.src < fib.FirstHop:
		p.drop(DropReversePath)
	case c.bogons && w.bogon(p, o):
		p.drop(DropBogon)
	default:
		return true
	}
	return false
}

// toItself reports whether a packet seems to come from where it goes: a land attack,
// with which a host that answers talks to itself (RFC 4987 is about its SYNs).
func toItself(t *flowtable.Tuple) bool {
	if t.Src != t.Dst {
		return false
	}
	switch t.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
		return t.SrcPort == t.DstPort
	}
	return true
}

// bogon reports whether a packet that starts a flow has an address outside that is not
// the Internet's: as its source, if it comes from there, or as its destination.
func (w *Worker) bogon(p *pkt, o *outlook) bool {
	if w.cfg.realm[p.in] == nat.RealmExternal {
		return isBogon(p.tuple.Src, p.tuple.Family)
	}
	return !o.ruled && o.dst >= fib.FirstHop && w.cfg.realm[w.routes.now.Hop(o.dst).Port] == nat.RealmExternal &&
		isBogon(p.tuple.Dst, p.tuple.Family)
}

// block is a range of addresses: those with the same bits above shift.
type block struct {
	bits  uint64
	shift uint8
}

// Addresses that are not globally reachable (RFC 6890 and the IANA registries of
// special-purpose addresses), without those that singleHost refuses; and IPv6 that is
// not global unicast, 2000::/3, nor of NAT64.
var (
	bogon4Table = [...]block{
		{10, 24},                         // private (RFC 1918)
		{172<<4 | 1, 20},                 // 172.16/12
		{192<<8 | 168, 16},               // 192.168/16
		{100<<2 | 1, 22},                 // shared by carriers: 100.64/10 (RFC 6598)
		{192 << 16, 8},                   // protocol assignments: 192.0.0/24
		{192<<16 | 2, 8},                 // documentation: 192.0.2/24 (RFC 5737)
		{198<<16 | 51<<8 | 100, 8},       // 198.51.100/24
		{203<<16 | 113, 8},               // 203.0.113/24
		{198<<7 | 18>>1, 17},             // benchmarks: 198.18/15 (RFC 2544)
		{192<<16 | 88<<8 | 99, 8},        // the end of 6to4: 192.88.99/24 (RFC 7526)
		{169<<8 | 254, 16},               // link-local (RFC 3927)
		{0xf, 28},                        // reserved: 240/4
		{0, 24}, {127, 24}, {0b1110, 28}, // this network, loopback, multicast
	}
	bogon6Table = [...]block{ // of the upper half of the address
		{0x20010db8, 32},     // documentation (RFC 3849)
		{0x3fff0, 44},        // documentation: 3fff::/20 (RFC 9637)
		{0x200100020000, 16}, // benchmarks: 2001:2::/48 (RFC 5180)
		{0x2001001, 36},      // ORCHID: 2001:10::/28 (RFC 4843)
	}
)

const (
	globalUnicast6 = 0b001            // 2000::/3
	nat64          = 0x0064ff9b << 32 // 64:ff9b::/96, of the upper half
)

// isBogon reports whether an address is none of the Internet.
func isBogon(a packet.Addr, f packet.Family) bool {
	if f == packet.IPv4 {
		return inBlocks(a.Lo, bogon4Table[:])
	}
	if a.Hi == nat64 && a.Lo>>32 == 0 {
		return isBogon(packet.Addr{Lo: a.Lo}, packet.IPv4)
	}
	return a.Hi>>61 != globalUnicast6 || inBlocks(a.Hi, bogon6Table[:])
}

func inBlocks(a uint64, blocks []block) bool {
	for _, b := range blocks {
		if a>>b.shift == b.bits {
			return true
		}
	}
	return false
}

package nat

import (
	"fmt"
	"strings"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// RSS is what the NICs of one side do with a packet: hash its addresses and
// ports, and look up the queue, and so the worker, by the low bits of the hash.
// All ports of a side must do the same, for an answer may come in by another
// port than the question left by. Immutable.
type RSS struct {
	hash    *packet.Toeplitz
	workers []uint8 // by the low bits of the hash
	mask    uint32
}

// NewRSS makes the mirror of a side. workers is the NIC's indirection table
// with workers in place of queues; its length must be a power of two.
func NewRSS(hash *packet.Toeplitz, workers []uint8) (*RSS, error) {
	n := len(workers)
	if n == 0 || n&(n-1) != 0 {
		return nil, fmt.Errorf("RSS indirection table of %d entries, expected a power of two", n)
	}
	return &RSS{hash: hash, workers: workers, mask: uint32(n - 1)}, nil
}

// Worker returns the worker that a TCP or UDP packet with this tuple comes to.
//
// Hot: once per new flow.
func (r *RSS) Worker(tu *flowtable.Tuple) int {
	return r.of(r.hash.Hash(tu.Family, tu.Src, tu.Dst, tu.SrcPort, tu.DstPort))
}

// of returns the worker of a hash.
func (r *RSS) of(hash uint32) int { return int(r.workers[hash&r.mask]) }

// Protocols is a set of protocols whose ports a NIC may hash.
type Protocols uint8

// The members of Protocols.
const (
	TCP4 Protocols = 1 << iota
	UDP4
	TCP6
	UDP6
	AllProtocols = TCP4 | UDP4 | TCP6 | UDP6
)

// protocolOf returns the set of one protocol, empty for one without ports.
func protocolOf(f packet.Family, proto uint8) Protocols {
	set := Protocols(0)
	switch proto {
	case packet.ProtoTCP:
		set = TCP4
	case packet.ProtoUDP:
		set = UDP4
	}
	if f == packet.IPv6 {
		set <<= 2
	}
	return set
}

// String lists the members, as ethtool names them.
func (p Protocols) String() string {
	var names []string
	for i, name := range [...]string{"tcp4", "udp4", "tcp6", "udp6"} {
		if p>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Steering says how packets are dealt out to workers. With the zero value, and
// for protocols that are not in ByRSS, the port number decides (PortOwner).
type Steering struct {
	Internal, External *RSS      // of the ports of either side; set if ByRSS is
	ByRSS              Protocols // protocols that the NICs of both sides spread as RSS says
}

// String returns "rss", "ports", or "rss:" and the protocols steered so.
func (s *Steering) String() string {
	switch s.ByRSS {
	case 0:
		return "ports"
	case AllProtocols:
		return "rss"
	default:
		return "rss:" + s.ByRSS.String()
	}
}

// Mirrors tells whether the NICs' spreading of packets like tu is known.
//
// Hot: once per packet if some protocols are mirrored and others not.
func (s *Steering) Mirrors(tu *flowtable.Tuple) bool {
	return s.ByRSS&protocolOf(tu.Family, tu.Proto) != 0
}

// Side returns the spreading of the NICs of a side.
func (s *Steering) Side(r Realm) *RSS {
	if r == RealmInternal {
		return s.Internal
	}
	return s.External
}

// owner says which external ports a worker may give to a source that it
// translates: those whose answers come to it. Steered by port number they are
// blocks of all ports; by RSS they are others for each remote host and port,
// those with which the reply tuple hashes to a queue of the worker.
type owner struct {
	worker, workers int
	steering        Steering
}

// answered tells whether the answers to a translated source, with this tuple and from
// this side, come to the worker.
func (o *owner) answered(reply *flowtable.Tuple, from Realm) bool {
	if o.steering.Mirrors(reply) {
		return o.steering.Side(from).Worker(reply) == o.worker
	}
	return PortOwner(externalPort(reply), o.workers) == o.worker
}

// partners returns the ports of [first, last] under which a port that an
// internal host announced may be known outside. By port number it has the owner
// of the announced one; by RSS any will do, and one direction is a stray.
func (o *owner) partners(f packet.Family, proto uint8, announced, first, last uint16) portSpan {
	if o.steering.ByRSS&protocolOf(f, proto) != 0 {
		return ownedPorts(first, last, 0, 1)
	}
	return ownedPorts(first, last, PortOwner(announced, o.workers), o.workers)
}

// together tells whether two ports may be known as each other: see partners.
func (o *owner) together(f packet.Family, proto uint8, a, b uint16) bool {
	return o.steering.ByRSS&protocolOf(f, proto) != 0 || PortOwner(a, o.workers) == PortOwner(b, o.workers)
}

// scanFactor bounds the ports that are hashed for each one that is looked up: as
// many as there may be workers, so that a worker with its even share of the
// hashes finds all that the bound on lookups allows.
const scanFactor = 64

// candidates walks the ports of a range that may be given to a flow, in rounds
// that start anywhere. It is on the stack of one search.
type candidates struct {
	span portSpan // by port number: the worker's share of the range; by RSS: all
	rss  *RSS     // of the side that answers; nil = by port number
	part packet.ToeplitzPort
	base uint32 // hash of the reply tuple with port 0

	worker int
	size   uint32 // ports to walk over
	at     uint32 // the next one
	left   uint32 // ports that this round may still look at
	none   bool   // no candidate in the range so far
}

// candidates returns the ports that may be given to a reply tuple whose address
// has been chosen; among says of which range. translated tells that the answers
// come to a translated source, from this side: else, by RSS, any port will do.
func (o *owner) candidates(reply *flowtable.Tuple, translated bool, from Realm) candidates {
	c := candidates{worker: o.worker}
	c.span.worker, c.span.workers = uint32(o.worker), uint32(o.workers)
	if !o.steering.Mirrors(reply) {
		return c
	}
	c.span.worker, c.span.workers = 0, 1
	if translated {
		c.rss = o.steering.Side(from)
		c.part = c.rss.hash.DstPort(reply.Family)
		c.base = c.rss.hash.Hash(reply.Family, reply.Src, reply.Dst, reply.SrcPort, 0)
	}
	return c
}

// has tells whether a port would be a candidate. By RSS only.
func (c *candidates) has(port uint16) bool { return c.rss.of(c.base^c.part.Of(port)) == c.worker }

// among sets the range.
func (c *candidates) among(first, last uint16) {
	c.span = ownedPorts(first, last, int(c.span.worker), int(c.span.workers))
	c.size, c.none = c.span.size(), true
}

// start begins a round of at most attempts candidates at the k-th port of the
// range.
func (c *candidates) start(k, attempts uint32) {
	if c.rss != nil {
		attempts *= scanFactor
	}
	c.at, c.left = k, min(c.size, attempts)
}

// next returns the next candidate; false ends the round.
//
// Hot: 1-3 ns for each port that it looks at.
func (c *candidates) next() (port uint16, ok bool) {
	if c.rss != nil {
		return c.nextByRSS()
	}
	if c.left == 0 {
		return 0, false
	}
	port = c.span.port(c.span.from + c.at)
	c.left--
	if c.at++; c.at == c.size {
		c.at = 0
	}
	c.none = false
	return port, true
}

// nextByRSS is next where ports are hashed: the span holds all ports then, so
// that a rank is a port.
func (c *candidates) nextByRSS() (port uint16, ok bool) {
	at, left := c.at, c.left
	for left > 0 && !ok {
		port = uint16(c.span.from + at)
		left--
		if at++; at == c.size {
			at = 0
		}
		ok = c.has(port)
	}
	c.at, c.left, c.none = at, left, c.none && !ok
	return port, ok
}

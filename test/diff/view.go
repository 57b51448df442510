package diff

import (
	"net/netip"
)

// view is what one script has learnt of one gateway: how NAT shows its inside
// hosts outside.
type view struct {
	n      int // the script's number
	family int
	nat    natAddresses
	seen   map[conversation]natted
}

// conversation is one inside endpoint talking with one outside. The port of an ICMP
// query is its id, on the inside.
type conversation struct {
	proto           uint8
	inside, outside Endpoint
}

// natted is what the outside sees in place of the inside endpoint.
type natted struct {
	addr netip.Addr
	port uint16
}

func newView(n, family int, nat natAddresses) *view {
	return &view{n: n, family: family, nat: nat, seen: make(map[conversation]natted)}
}

func (v *view) address(host string) netip.Addr { return address(host, v.family, v.n, v.nat) }

// shown is the address and port that a packet from end from carries for the
// endpoint, if the other endpoint is peer: an inside endpoint is known outside by
// its translation, the one that was seen, or the expected one.
func (v *view) shown(proto uint8, e, peer Endpoint, from Side, direct bool) natted {
	plain := natted{v.address(e.Host), e.Port}
	if from == Inside || direct || sideOf(e.Host) != Inside {
		return plain
	}
	if known, ok := v.seen[conversation{proto, e, peer}]; ok {
		return known
	}
	if source, ok := v.nat.source[v.family]; ok {
		return natted{source, e.Port}
	}
	return plain
}

// learn notes how the packet that was sent from inside arrived outside.
func (v *view) learn(sent *Packet, arrived []byte) {
	if sideOf(sent.Src.Host) != Inside || sideOf(sent.Dst.Host) != Outside || sent.Quoted != nil {
		return
	}
	d, ok := dissect(arrived)
	if !ok || d.fragmentOffset != 0 || d.proto != protocolOf(sent, v.family) || d.dst != v.address(sent.Dst.Host) {
		return
	}
	src := conversationEnd(sent)
	port := d.sport
	if sent.Proto == "icmp" {
		port = d.id
	}
	v.seen[conversation{d.proto, src, sent.Dst}] = natted{d.src, port}
}

// conversationEnd is the source of a packet, the id being the port of ICMP queries.
func conversationEnd(p *Packet) Endpoint {
	e := p.Src
	if p.Proto == "icmp" {
		e.Port = uint16(p.Num("id", 0))
	}
	return e
}

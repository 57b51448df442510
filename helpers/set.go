package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Set says which flows get which helper. Immutable, shared by all workers. The zero
// Set and a nil *Set have none.
type Set struct {
	// Bitmaps of the destination ports that have a helper, of TCP and UDP.
	tcp, udp portSet
	attached map[endpoint]ID
	loose    [idCount]bool
}

// portSet is a set of ports.
type portSet [65536 / 64]uint64

func (s *portSet) has(port uint16) bool { return s[port>>6]>>(port&63)&1 != 0 }

func (s *portSet) add(port uint16) { s[port>>6] |= 1 << (port & 63) }

// endpoint is what a helper is attached to.
type endpoint struct {
	proto uint8
	port  uint16
}

// NewSet makes a set of specs that CheckSpecs has passed; those of one helper add up.
func NewSet(specs ...Spec) *Set {
	s := &Set{attached: make(map[endpoint]ID)}
	for _, spec := range specs {
		proto := helperTable[spec.ID].proto
		for _, port := range spec.Ports {
			s.attached[endpoint{proto, port}] = spec.ID
			s.ports(proto).add(port)
		}
		s.loose[spec.ID] = s.loose[spec.ID] || spec.Loose
	}
	return s
}

// ports returns the ports of a protocol, nil if helpers have none.
func (s *Set) ports(proto uint8) *portSet {
	switch proto {
	case packet.ProtoTCP:
		return &s.tcp
	case packet.ProtoUDP:
		return &s.udp
	}
	return nil
}

// For returns the helper of a new flow with original tuple tu.
//
// Hot: once per new flow; one bit unless it has one.
func (s *Set) For(tu *flowtable.Tuple) ID {
	if s == nil {
		return None
	}
	ports := s.ports(tu.Proto)
	if ports == nil || !ports.has(tu.DstPort) {
		return None
	}
	return s.attached[endpoint{tu.Proto, tu.DstPort}]
}

// Attach gives a new flow its helper, or None, and the flow that announced it,
// Index 0 = none. It returns false if the table has no extension record left; the
// flow then goes without.
func Attach(t *flowtable.Table, idx uint32, id ID, master flowtable.FlowID) bool {
	if !t.Extend(idx, uint8(id), master) {
		return false
	}
	if id != None {
		t.Flow(idx).AddStatus(flowtable.StatusHelper)
	}
	return true
}

// Packet lets helper id see one packet of a flow that has it.
//
// Hot: once per packet of a flow with a helper. 0 allocs unless it announces.
func (s *Set) Packet(id ID, c *Context) Verdict {
	c.Cause = CauseNone
	if !id.known() {
		return VerdictAccept
	}
	c.id, c.self, c.loose = id, &helperTable[id], s != nil && s.loose[id]
	return c.self.packet(c)
}

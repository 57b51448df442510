package memory

import (
	"fmt"
	"maps"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/packet"
)

// The translations that are measured.
const (
	natNone        = "none"
	natSource      = "snat" // clients inside, a pool of 1024 addresses
	natDestination = "dnat" // clients outside, 64 rules
)

// Set is one combination of what the path is measured with.
type Set struct {
	Flows int    // in the table
	Proto string // udp or tcp
	NAT   string // none, snat or dnat
	Burst int    // packets in a burst of each queue; 0 = 64
	Size  int    // bytes of a frame; 0 = 60

	Trusted bool // checksums are not verified (run --checksum off)

	Counted bool // packets and bytes of each flow are counted (run --accounting)
}

// String names the set as its parameters do.
func (s Set) String() string {
	name := fmt.Sprintf("flows=%d proto=%s nat=%s", s.Flows, s.Proto, s.NAT)
	if s.Burst != 0 {
		name += fmt.Sprintf(" burst=%d", s.Burst)
	}
	if s.Size != 0 {
		name += fmt.Sprintf(" size=%d", s.Size)
	}
	if s.Trusted {
		name += " checksum=off"
	}
	if s.Counted {
		name += " accounting"
	}
	return name
}

// params are the parameters of the set's records, and more.
func (s Set) params(more map[string]any) map[string]any {
	p := map[string]any{"flows": s.Flows, "proto": s.Proto, "nat": s.NAT}
	if s.Burst != 0 {
		p["burst"] = s.Burst
	}
	if s.Size != 0 {
		p["size"] = s.Size
	}
	if s.Trusted {
		p["checksum"] = "off"
	}
	if s.Counted {
		p["accounting"] = true
	}
	maps.Copy(p, more)
	return p
}

// size is the length of a frame.
func (s Set) size() int {
	if s.Size == 0 {
		return minSize
	}
	return s.Size
}

// burst is the number of packets in a burst.
func (s Set) burst() int {
	if s.Burst == 0 {
		return dataplane.BurstSize
	}
	return s.Burst
}

// protocol is the number of the protocol.
func (s Set) protocol() uint8 {
	if s.Proto == "tcp" {
		return packet.ProtoTCP
	}
	return packet.ProtoUDP
}

// memory is what a gateway with these flows and their generator take, in bytes:
// 140 a flow for the table and the mappings, 32 if it is counted, 24 for the generator, and the
// frames.
func (s Set) memory() uint64 { return uint64(s.Flows)*196 + 32<<20 }

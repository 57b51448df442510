package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpct/xdpct/flowtable"
)

// Numbers that records carry, as IANA and the kernel assign them.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoDCCP   = 33
	protoGRE    = 47
	protoICMPv6 = 58
	protoSCTP   = 132
	protoLite   = 136 // UDP-Lite

	familyIPv4 = 2
	familyIPv6 = 10
)

// protoName returns the name that conntrack prints for a protocol.
func protoName(proto uint8) string {
	switch proto {
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoDCCP:
		return "dccp"
	case protoGRE:
		return "gre"
	case protoICMPv6:
		return "icmpv6"
	case protoSCTP:
		return "sctp"
	case protoLite:
		return "udplite"
	}
	return "unknown"
}

// hasPorts reports whether tuples of proto hold two transport ports.
func hasPorts(proto uint8) bool {
	switch proto {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoLite:
		return true
	}
	return false
}

// stateName returns the state of a flow as conntrack prints it; "" for protocols
// without one.
func stateName(s *flowtable.Snapshot) string {
	switch s.Orig.Proto {
	case protoTCP:
		return flowtable.TCPState(s.State).String()
	case protoSCTP:
		return flowtable.SCTPState(s.State).String()
	}
	return ""
}

// hasState reports whether flows of proto have a state.
func hasState(proto uint8) bool { return proto == protoTCP || proto == protoSCTP }

// StateNames lists the states of all protocols, as conntrack prints them.
func StateNames() []string {
	var names []string
	for st := flowtable.TCPSynSent; st <= flowtable.TCPSynSent2; st++ {
		names = append(names, st.String())
	}
	for st := flowtable.SCTPClosed; st <= flowtable.SCTPHeartbeatSent; st++ {
		if name := st.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// isICMP reports whether tuples of proto hold type, code and id.
func isICMP(proto uint8) bool { return proto == protoICMP || proto == protoICMPv6 }

// parseProto reads a protocol name or number.
func parseProto(s string) (uint8, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return uint8(n), nil
	}
	name := strings.ToLower(s)
	for _, p := range []uint8{protoICMP, protoTCP, protoUDP, protoDCCP, protoGRE, protoICMPv6, protoSCTP, protoLite} {
		if name == protoName(p) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("protocol %q is not known: give tcp, udp, icmp, icmpv6, gre, sctp, dccp, udplite or a number 0-255", s)
}

package xsk

// Decision is what the XDP program did with a frame. Each frame that arrives at
// a port has exactly one.
type Decision uint8

// Decisions, in the order of enum decision in program.c.
const (
	PassMalformed       Decision = iota // too short for its headers, wrong IP version or IHL
	PassNotIP                           // ARP, LLDP, PPPoE, ...
	PassVLAN                            // 802.1Q or 802.1ad tag of a VLAN other than 0
	PassGroupMAC                        // Ethernet broadcast or multicast
	PassForeignMAC                      // unicast to another station
	PassUnforwardable                   // destination multicast, loopback, unspecified, IPv6 link-local
	PassLocal                           // to the box
	PassLocalPort                       // to a shared address, L4 port not in use by NAT
	RedirectForward                     // to an address that is not ours
	RedirectNAT                         // to an address that only NAT uses
	RedirectNATPort                     // to a shared address, L4 port in use by NAT
	RedirectNATFragment                 // any fragment to a shared address
	DropNoSocket                        // for user space, but the queue has no socket
	DropTags                            // tags of VLAN 0 that user space does not take off
	Decisions                           // their number
)

// decisionTexts holds name and help of every decision. Immutable.
var decisionTexts = [Decisions]struct{ name, help string }{
	PassMalformed:       {"xdp_pass_malformed", "Frames too short for their headers or with a wrong IP version or header length, left to the kernel."},
	PassNotIP:           {"xdp_pass_not_ip", "Frames that are neither IPv4 nor IPv6 (ARP, LLDP, ...), left to the kernel."},
	PassVLAN:            {"xdp_pass_vlan", "Frames of a VLAN, left to the kernel. Tags of VLAN 0 carry a priority only: such frames are treated as untagged."},
	PassGroupMAC:        {"xdp_pass_group_mac", "Ethernet broadcast and multicast frames, left to the kernel."},
	PassForeignMAC:      {"xdp_pass_foreign_mac", "Frames to another station's MAC address, left to the kernel, which drops them."},
	PassUnforwardable:   {"xdp_pass_unforwardable", "Packets to multicast, loopback, unspecified or IPv6 link-local addresses, left to the kernel."},
	PassLocal:           {"xdp_pass_local", "Packets to the box's own addresses, left to the kernel."},
	PassLocalPort:       {"xdp_pass_local_port", "Packets to an own address that NAT shares, on an L4 port or of a protocol that NAT does not use, left to the kernel."},
	RedirectForward:     {"xdp_redirect_forward", "Packets to be forwarded, given to user space."},
	RedirectNAT:         {"xdp_redirect_nat", "Packets to an address that only NAT uses, given to user space."},
	RedirectNATPort:     {"xdp_redirect_nat_port", "Packets to an own address that NAT shares, on an L4 port or of a protocol that NAT uses, given to user space."},
	RedirectNATFragment: {"xdp_redirect_nat_fragment", "Fragments to an own address that NAT shares, given to user space, which gives the kernel what is the box's."},
	DropNoSocket:        {"xdp_drop_no_socket", "Packets for user space that came to a queue without a socket, dropped."},
	DropTags:            {"xdp_drop_tags", "Frames with a tag of VLAN 0 that is of 802.1ad or followed by another tag, dropped."},
}

// String returns the counter's name.
func (d Decision) String() string {
	if d >= Decisions {
		return "invalid"
	}
	return decisionTexts[d].name
}

// Help returns one sentence for operators.
func (d Decision) Help() string {
	if d >= Decisions {
		return ""
	}
	return decisionTexts[d].help
}

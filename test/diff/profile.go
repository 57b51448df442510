package diff

import (
	"net/netip"
)

// Profile is one configuration of the gateways.
type Profile struct {
	// Name is what scripts call it.
	Name string
	// flags are those of xdpct run; test/lab makes the kernel do the same.
	flags []string
	nat   natAddresses
}

// The translated ports of vip.
const (
	vipPort      = 8080 // leads to targetPort
	vipSamePort  = 80   // leads to itself
	targetPort   = 8000
	portOfDNAT53 = 53
)

func addrs(v4, v6 string) map[int]netip.Addr {
	m := make(map[int]netip.Addr)
	if v4 != "" {
		m[4] = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		m[6] = netip.MustParseAddr(v6)
	}
	return m
}

const (
	snat4, snat6 = "198.51.100.32", "2001:db8:100::32"
	vip4, vip6   = "198.51.100.40", "2001:db8:100::40"
)

var (
	dnat4 = []string{
		"--dnat", "tcp:198.51.100.40:8080=10.127.0.1:8000", "--dnat", "tcp:198.51.100.40:80=10.127.0.1:80",
		"--dnat", "udp:198.51.100.40:8080=10.127.0.1:8000", "--dnat", "udp:198.51.100.40:53=10.127.0.1:53",
	}
	dnat6 = []string{
		"--dnat", "tcp:[2001:db8:100::40]:8080=[fd64::3f00:1]:8000", "--dnat", "tcp:[2001:db8:100::40]:80=[fd64::3f00:1]:80",
		"--dnat", "udp:[2001:db8:100::40]:8080=[fd64::3f00:1]:8000", "--dnat", "udp:[2001:db8:100::40]:53=[fd64::3f00:1]:53",
	}
	// short are time-outs that end while a test waits. Those of a protocol's states
	// are far enough apart to be told from each other.
	short = []string{
		"--timeout", "udp=2s", "--timeout", "udp.stream=6s", "--timeout", "icmp=2s", "--timeout", "icmpv6=2s",
		"--timeout", "generic=2s", "--timeout", "gre=2s", "--timeout", "gre.stream=6s",
		"--timeout", "tcp.syn_sent=2s", "--timeout", "tcp.syn_recv=6s", "--timeout", "tcp.established=4s",
		"--timeout", "tcp.fin_wait=4s", "--timeout", "tcp.close_wait=8s", "--timeout", "tcp.last_ack=6s",
		"--timeout", "tcp.time_wait=2s", "--timeout", "tcp.close=4s",
	}
)

func join(lists ...[]string) (all []string) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// Profiles are all configurations. IPv4 and IPv6 are each translated in one of the
// first two and not in the other.
var Profiles = []Profile{
	{"snat", join([]string{"--accounting", "--snat", snat4, "--helper", "ftp"}, dnat4), natAddresses{addrs(snat4, ""), addrs(vip4, "")}},
	{"snat6", join([]string{"--accounting", "--snat", snat6}, dnat6), natAddresses{addrs("", snat6), addrs("", vip6)}},
	{"masquerade", []string{"--masquerade"}, natAddresses{addrs("203.0.113.1", ""), addrs("", "")}},
	{"strict", []string{"--snat", snat4, "--tcp-loose=false", "--tcp-max-retrans=1"}, natAddresses{addrs(snat4, ""), addrs("", "")}},
	{"liberal", []string{"--accounting", "--snat", snat4, "--tcp-liberal", "--tcp-ignore-invalid-rst", "--checksum=off"},
		natAddresses{addrs(snat4, ""), addrs("", "")}},
	{"short", join([]string{"--snat", snat4}, short), natAddresses{addrs(snat4, ""), addrs("", "")}},
}

// profile finds a configuration by its name.
func profile(name string) (Profile, bool) {
	for _, p := range Profiles {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

// has tells whether all hosts of the script have an address in the profile: vip only
// has one of the IP version that is translated, and so has nat.
func (p Profile) has(s *Script) bool {
	for _, step := range s.Steps {
		for packet := step.Packet; packet != nil; packet = packet.Quoted {
			for _, e := range []Endpoint{packet.Src, packet.Dst} {
				_, isNAT := p.nat.source[s.Family]
				_, isVIP := p.nat.vip[s.Family]
				if e.Host == "nat" && !isNAT || e.Host == "vip" && !isVIP {
					return false
				}
			}
		}
	}
	return true
}

// gatewayHosts are the addresses of the gateway itself, by name.
func (p Profile) gatewayHosts() map[netip.Addr]string {
	return map[netip.Addr]string{
		netip.MustParseAddr("10.1.2.1"): "gateway-in", netip.MustParseAddr("203.0.113.1"): "gateway-out",
		netip.MustParseAddr("fd00:1:2::1"): "gateway-in", netip.MustParseAddr("2001:db8:113::1"): "gateway-out",
	}
}

// fixedPorts are the ports that rules name.
func (p Profile) fixedPorts() []uint16 {
	return []uint16{vipPort, vipSamePort, targetPort, portOfDNAT53}
}

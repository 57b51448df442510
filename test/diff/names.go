package diff

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// names gives what one gateway shows of one script names that are the same on all
// gateways: hosts by their name, and ports that NAT chose by the order in which they
// show up, with the range that they had to be from.
type names struct {
	hosts   map[netip.Addr]string
	own     map[netip.Addr]bool // addresses that only the gateway sends from
	known   map[uint16]bool     // numbers that stand in the script
	renamed map[uint16]string
}

// newNames prepares for a script with number n behind a gateway.
func newNames(s *Script, v *view, gateway map[netip.Addr]string, fixed []uint16) *names {
	out := &names{hosts: make(map[netip.Addr]string), own: make(map[netip.Addr]bool), known: map[uint16]bool{0: true},
		renamed: make(map[uint16]string)}
	for a, name := range gateway {
		out.hosts[a], out.own[a] = name, true
	}
	for _, host := range hostNames {
		if _, isNAT := v.nat.source[v.family]; !isNAT && host == "nat" {
			continue
		}
		if _, isVIP := v.nat.vip[v.family]; !isVIP && host == "vip" {
			continue
		}
		out.hosts[v.address(host)] = host
	}
	for _, port := range fixed {
		out.known[port] = true
	}
	for _, step := range s.Steps {
		for p := step.Packet; p != nil; p = p.Quoted {
			out.known[p.Src.Port], out.known[p.Dst.Port] = true, true
			out.known[uint16(p.Num("id", 0))] = true
		}
	}
	return out
}

func (n *names) addr(a netip.Addr) string {
	if name, ok := n.hosts[a]; ok {
		return name
	}
	return a.String()
}

// gateways tells whether the gateway made the packet from this address itself.
func (n *names) gateways(a netip.Addr) bool { return n.own[a] }

// chosen tells whether NAT chose the port or id.
func (n *names) chosen(port uint16) bool { return !n.known[port] }

// port is the port itself if the script knows it, else a name and the range.
func (n *names) port(port uint16) string {
	if n.known[port] {
		return strconv.Itoa(int(port))
	}
	name, ok := n.renamed[port]
	if !ok {
		name = fmt.Sprintf("N%d(%s)", len(n.renamed)+1, portRange(port))
		n.renamed[port] = name
	}
	return name
}

// portRange is the range that NAT stays in when it changes a port (see nf_nat_core.c).
func portRange(port uint16) string {
	switch {
	case port < 512:
		return "1-511"
	case port < 600:
		return "512-599"
	case port < 1024:
		return "600-1023"
	}
	return "1024-65535"
}

// lineField is one KEY=VALUE of a listing or an event that names a host or a number.
var lineField = regexp.MustCompile(`\b(src|dst|sport|dport|id)=(\S+)`)

// line puts names into a line of a listing or of events.
func (n *names) line(text string) string {
	return lineField.ReplaceAllStringFunc(text, func(field string) string {
		key, value, _ := strings.Cut(field, "=")
		if key == "src" || key == "dst" {
			if a, err := netip.ParseAddr(value); err == nil {
				return key + "=" + n.addr(a)
			}
			return field
		}
		if number, err := strconv.ParseUint(value, 10, 16); err == nil {
			return key + "=" + n.port(uint16(number))
		}
		return field
	})
}

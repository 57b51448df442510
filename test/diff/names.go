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
	nat     map[netip.Addr]bool // addresses whose ports NAT may have chosen
	known   map[uint16]bool     // ports and ids that stand in the script
	kept    map[uint16]bool     // those of inside hosts, which NAT may have kept
	renamed map[string]string
}

// newNames prepares for a script behind a gateway.
func newNames(s *Script, v *view, gateway map[netip.Addr]string, fixed []uint16) *names {
	out := &names{hosts: make(map[netip.Addr]string), own: make(map[netip.Addr]bool), nat: make(map[netip.Addr]bool),
		known: make(map[uint16]bool), kept: make(map[uint16]bool), renamed: make(map[string]string)}
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
		if host == "nat" {
			out.nat[v.address(host)] = true
		}
	}
	for _, port := range fixed {
		out.known[port] = true
	}
	for _, step := range s.Steps {
		if d, ok := dissect(step.Recorded); ok {
			for _, port := range []uint16{d.sport, d.dport, d.id} {
				out.known[port], out.kept[port] = true, true
			}
		}
		for p := step.Packet; p != nil; p = p.Quoted {
			for _, e := range []Endpoint{p.Src, p.Dst, {p.Src.Host, uint16(p.Num("id", 0))}, {p.Dst.Host, uint16(p.Num("id", 0))}} {
				out.known[e.Port] = true
				if sideOf(e.Host) == Inside || e.Host == "nat" {
					out.kept[e.Port] = true
				}
			}
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

// chosen tells whether NAT chose the port of an address.
func (n *names) chosen(a netip.Addr, port uint16) bool {
	if n.nat[a] {
		return !n.kept[port]
	}
	return !n.known[port]
}

// port is the port of an address itself if the script knows it, else a name and the
// range.
func (n *names) port(a netip.Addr, port uint16) string {
	if !n.chosen(a, port) {
		return strconv.Itoa(int(port))
	}
	return n.rename(fmt.Sprintf("port%d", port), "("+portRange(port)+")")
}

// id is the id of a query between two addresses. NAT takes it from the whole range.
func (n *names) id(a, b netip.Addr, id uint16) string {
	if !n.chosen(a, id) && !n.chosen(b, id) {
		return strconv.Itoa(int(id))
	}
	return n.rename(fmt.Sprintf("id%d", id), "")
}

func (n *names) rename(key, note string) string {
	if n.renamed == nil { // nothing to compare with
		return key
	}
	name, ok := n.renamed[key]
	if !ok {
		name = fmt.Sprintf("N%d%s", len(n.renamed)+1, note)
		n.renamed[key] = name
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

// line puts names into a line of a listing or of events. In each of its tuples the
// addresses come first.
func (n *names) line(text string) string {
	var src, dst netip.Addr
	return lineField.ReplaceAllStringFunc(text, func(field string) string {
		key, value, _ := strings.Cut(field, "=")
		if a, err := netip.ParseAddr(value); err == nil {
			if key == "src" {
				src = a
			} else {
				dst = a
			}
			return key + "=" + n.addr(a)
		}
		number, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return field
		}
		switch key {
		case "sport":
			return "sport=" + n.port(src, uint16(number))
		case "dport":
			return "dport=" + n.port(dst, uint16(number))
		}
		return "id=" + n.id(src, dst, uint16(number))
	})
}

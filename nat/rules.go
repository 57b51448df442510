package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/xdpct/xdpct/packet"
)

// maxPoolAddrs bounds the addresses of all pools of one configuration: each
// of them is an entry of the XDP program's address map.
const maxPoolAddrs = 65536

// maxDNATRules bounds the DNAT rules of one configuration.
const maxDNATRules = 32768

// maxWorkers bounds Config.Workers: with more workers than blocks of 64
// ports, some worker would own no port at all.
const maxWorkers = 256

// Realm is the side of the gateway an interface belongs to (RFC 2663).
type Realm uint8

// The two realms. The zero value is the protected side.
const (
	RealmInternal Realm = iota // hosts that are translated
	RealmExternal              // hosts that see translated addresses
)

// String returns "internal" or "external".
func (r Realm) String() string {
	switch r {
	case RealmInternal:
		return "internal"
	case RealmExternal:
		return "external"
	}
	return "realm(" + strconv.Itoa(int(r)) + ")"
}

// Pool is a range of external addresses for source translation (SNAT).
type Pool struct {
	First, Last         netip.Addr // both inclusive, same family, not 4in6
	FirstPort, LastPort uint16     // both inclusive; 0,0 = no explicit range
}

// ParseSNAT parses "ADDR[-ADDR][:PORT-PORT]"; an IPv6 range with ports is
// written in brackets: "[ADDR-ADDR]:PORT-PORT".
func ParseSNAT(s string) (Pool, error) {
	addrs, ports, err := splitPorts(s)
	if err != nil {
		return Pool{}, fmt.Errorf("snat %q: %w", s, err)
	}
	var p Pool
	first, last, isRange := strings.Cut(addrs, "-")
	if p.First, err = parseAddr(first); err != nil {
		return Pool{}, fmt.Errorf("snat %q: %w", s, err)
	}
	p.Last = p.First
	if isRange {
		if p.Last, err = parseAddr(last); err != nil {
			return Pool{}, fmt.Errorf("snat %q: %w", s, err)
		}
	}
	if ports != "" {
		if p.FirstPort, p.LastPort, err = parsePortRange(ports); err != nil {
			return Pool{}, fmt.Errorf("snat %q: %w", s, err)
		}
	}
	if err := p.validate(); err != nil {
		return Pool{}, fmt.Errorf("snat %q: %w", s, err)
	}
	return p, nil
}

// splitPorts separates the address part of a pool from its port part.
func splitPorts(s string) (addrs, ports string, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		addrs, tail, closed := strings.Cut(rest, "]")
		if !closed {
			return "", "", errors.New(`missing "]", expected [ADDR-ADDR]:PORT-PORT`)
		}
		if tail == "" {
			return addrs, "", nil
		}
		ports, ok := strings.CutPrefix(tail, ":")
		if !ok || ports == "" {
			return "", "", fmt.Errorf("unexpected %q after %q, expected :PORT-PORT", tail, "]")
		}
		return addrs, ports, nil
	}
	if strings.Count(s, ":") > 1 { // an IPv6 address without brackets
		return s, "", nil
	}
	addrs, ports, found := strings.Cut(s, ":")
	if found && ports == "" {
		return "", "", errors.New(`nothing after ":", expected PORT-PORT`)
	}
	return addrs, ports, nil
}

// parseAddr parses one address without zone and unmaps 4in6.
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an address, expected for example 203.0.113.1", s)
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("address %s has a zone, expected a global address", a)
	}
	return a.Unmap(), nil
}

// parsePort parses a port number from 1 to 65535.
func parsePort(s string) (uint16, error) {
	v, err := strconv.ParseUint(s, 10, 16)
	if err != nil || v == 0 || s[0] == '+' {
		return 0, fmt.Errorf("%q is not a port, expected 1-65535", s)
	}
	return uint16(v), nil
}

// parsePortRange parses "PORT-PORT" or a single "PORT".
func parsePortRange(s string) (first, last uint16, err error) {
	lo, hi, isRange := strings.Cut(s, "-")
	if first, err = parsePort(lo); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = parsePort(hi); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("port range %s is reversed, expected %d-%d", s, last, first)
	}
	return first, last, nil
}

// validate checks one pool on its own.
func (p Pool) validate() error {
	switch {
	case !p.First.IsValid() || !p.Last.IsValid():
		return errors.New("pool has no address")
	case p.First.Is4() != p.Last.Is4():
		return fmt.Errorf("range mixes IPv4 and IPv6: %s-%s", p.First, p.Last)
	case p.Last.Less(p.First):
		return fmt.Errorf("address range is reversed, expected %s-%s", p.Last, p.First)
	case !isUnicast(p.First) || !isUnicast(p.Last):
		return fmt.Errorf("%s-%s holds an address that is not a host's, expected unicast addresses", p.First, p.Last)
	case (p.FirstPort == 0) != (p.LastPort == 0) || p.LastPort < p.FirstPort:
		return fmt.Errorf("port range %d-%d is wrong, expected 1-65535 in rising order", p.FirstPort, p.LastPort)
	}
	if p.Count() > maxPoolAddrs {
		return fmt.Errorf("range %s-%s is too large, expected at most %d addresses", p.First, p.Last, maxPoolAddrs)
	}
	return nil
}

// isUnicast tells whether a host may have address a on a network.
func isUnicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// Count returns the number of addresses, at most maxPoolAddrs+1.
func (p Pool) Count() int {
	first, last := packet.AddrOf(p.First), packet.AddrOf(p.Last)
	if first.Hi != last.Hi || last.Lo-first.Lo >= maxPoolAddrs {
		return maxPoolAddrs + 1
	}
	return int(last.Lo-first.Lo) + 1
}

// DNATRule sends what arrives at an external address and port to an internal
// host.
type DNATRule struct {
	Proto  uint8      // packet.ProtoTCP or packet.ProtoUDP
	Addr   netip.Addr // external destination address
	Port   uint16     // external destination port, 1-65535, host order
	ToAddr netip.Addr // internal host, same family
	ToPort uint16     // port on that host, 1-65535, host order
}

// ParseDNAT parses "tcp|udp:ADDR:PORT=ADDR:PORT"; IPv6 addresses are written
// in brackets.
func ParseDNAT(s string) (DNATRule, error) {
	var r DNATRule
	proto, rest, ok := strings.Cut(s, ":")
	if !ok {
		return r, fmt.Errorf("dnat %q: no protocol, expected tcp|udp:ADDR:PORT=ADDR:PORT", s)
	}
	switch strings.ToLower(proto) {
	case "tcp":
		r.Proto = packet.ProtoTCP
	case "udp":
		r.Proto = packet.ProtoUDP
	default:
		return DNATRule{}, fmt.Errorf("dnat %q: protocol %q is not supported, expected tcp or udp", s, proto)
	}
	from, to, ok := strings.Cut(rest, "=")
	if !ok {
		return DNATRule{}, fmt.Errorf("dnat %q: no target, expected %s:ADDR:PORT=ADDR:PORT", s, proto)
	}
	var err error
	if r.Addr, r.Port, err = parseAddrPort(from); err != nil {
		return DNATRule{}, fmt.Errorf("dnat %q: external side: %w", s, err)
	}
	if r.ToAddr, r.ToPort, err = parseAddrPort(to); err != nil {
		return DNATRule{}, fmt.Errorf("dnat %q: target: %w", s, err)
	}
	if err := r.validate(); err != nil {
		return DNATRule{}, fmt.Errorf("dnat %q: %w", s, err)
	}
	return r, nil
}

// parseAddrPort parses "ADDR:PORT" or "[ADDR]:PORT".
func parseAddrPort(s string) (netip.Addr, uint16, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return netip.Addr{}, 0, fmt.Errorf("%q has no port, expected ADDR:PORT", s)
	}
	host := s[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return netip.Addr{}, 0, fmt.Errorf("%q is not clear, expected an IPv6 address in brackets: [ADDR]:PORT", s)
	}
	a, err := parseAddr(host)
	if err != nil {
		return netip.Addr{}, 0, err
	}
	port, err := parsePort(s[i+1:])
	return a, port, err
}

// validate checks one rule on its own.
func (r DNATRule) validate() error {
	switch {
	case r.Proto != packet.ProtoTCP && r.Proto != packet.ProtoUDP:
		return fmt.Errorf("protocol %d is not supported, expected tcp or udp", r.Proto)
	case !r.Addr.IsValid() || !r.ToAddr.IsValid():
		return errors.New("an address is missing")
	case r.Addr.Is4() != r.ToAddr.Is4():
		return fmt.Errorf("%s and %s differ in family, expected both IPv4 or both IPv6", r.Addr, r.ToAddr)
	case !isUnicast(r.Addr) || !isUnicast(r.ToAddr):
		return fmt.Errorf("%s or %s is not a host's address, expected unicast addresses", r.Addr, r.ToAddr)
	case r.Port == 0 || r.ToPort == 0:
		return errors.New("port 0 cannot be translated, expected 1-65535")
	}
	return nil
}

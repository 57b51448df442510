package control

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/xdpct/xdpct/flowtable"
)

// Filter selects flows with the words of conntrack(8). All conditions that are
// set must hold. The zero value matches every flow. A Filter is immutable and
// may be used from several goroutines.
type Filter struct {
	family   uint8 // 0 = both
	proto    uint8 // valid iff hasProto
	hasProto bool

	addrs [4]netip.Prefix // original src, original dst, reply src, reply dst; zero = any
	masks [2]int          // 1 + bits of the masks of the first two; 0 = as given with the address
	ports [4]portRange    // source and destination port, original and reply; zero = any
	icmp  [3]optional16   // type, code, id of the original direction
	id    uint32          // valid iff hasID
	hasID bool
	never bool   // a mark that no flow has
	state string // as conntrack prints it; "" = any

	all  flowtable.Status // status bits that must be set
	none flowtable.Status // status bits that must be clear
	any  flowtable.Status // one of these bits must be set; 0 = no condition
}

// optional16 is a number that may be left open.
type optional16 struct {
	set   bool
	value uint16
}

// portRange is a closed range of transport ports, host order. Last 0 = any.
type portRange struct{ first, last uint16 }

// filterKeys names the conditions, in the order in which they are documented.
// Immutable.
var filterKeys = []string{
	"family", "proto", "src", "dst", "reply-src", "reply-dst", "mask-src", "mask-dst",
	"sport", "dport", "reply-port-src", "reply-port-dst", "icmp-type", "icmp-code", "icmp-id",
	"state", "status", "mark", "id", "src-nat", "dst-nat", "any-nat",
}

// FilterKeys returns the names of all conditions: the keys of the URL query,
// which are also the long flags of the commands.
func FilterKeys() []string { return slices.Clone(filterKeys) }

// ParseFilter reads a filter from a URL query. Keys that are no condition are
// left alone; a condition that cannot be read is an error that names it.
func ParseFilter(q url.Values) (*Filter, error) {
	f := new(Filter)
	for _, key := range filterKeys {
		if !q.Has(key) {
			continue
		}
		if err := f.set(key, q.Get(key)); err != nil {
			return nil, fmt.Errorf("filter %s: %w", key, err)
		}
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// HasFilter reports whether the query holds a condition.
func HasFilter(q url.Values) bool {
	return slices.ContainsFunc(filterKeys, q.Has)
}

// set adds the condition key.
func (f *Filter) set(key, value string) (err error) {
	switch key {
	case "family":
		f.family, err = parseFamily(value)
	case "proto":
		f.proto, err = parseProto(value)
		f.hasProto = true
	case "src":
		f.addrs[0], err = parsePrefix(value)
	case "dst":
		f.addrs[1], err = parsePrefix(value)
	case "reply-src":
		f.addrs[2], err = parsePrefix(value)
	case "reply-dst":
		f.addrs[3], err = parsePrefix(value)
	case "mask-src":
		f.masks[0], err = parseMask(value)
	case "mask-dst":
		f.masks[1], err = parseMask(value)
	case "sport":
		f.ports[0], err = parsePorts(value)
	case "dport":
		f.ports[1], err = parsePorts(value)
	case "reply-port-src":
		f.ports[2], err = parsePorts(value)
	case "reply-port-dst":
		f.ports[3], err = parsePorts(value)
	default:
		return f.setWhat(key, value)
	}
	return err
}

// setWhat adds a condition that is neither address nor port.
func (f *Filter) setWhat(key, value string) (err error) {
	switch key {
	case "icmp-type":
		f.icmp[0], err = parseNumber(value, 8)
	case "icmp-code":
		f.icmp[1], err = parseNumber(value, 8)
	case "icmp-id":
		f.icmp[2], err = parseNumber(value, 16)
	case "mark":
		f.never, err = parseMark(value)
	case "id":
		f.id, err = parseID(value)
		f.hasID = true
	case "state":
		f.state, err = parseState(value)
	case "status":
		err = f.setStatus(value)
	case "src-nat":
		err = f.setNAT(flowtable.StatusSNAT, 3, value)
	case "dst-nat":
		err = f.setNAT(flowtable.StatusDNAT, 2, value)
	case "any-nat":
		f.any |= flowtable.StatusSNAT | flowtable.StatusDNAT
		if value != "" {
			err = fmt.Errorf("%q: takes no value", value)
		}
	}
	return err
}

// setNAT asks for a kind of translation, optionally to an address: the one at
// place i of addrs, since the reply tuple holds the translated address.
func (f *Filter) setNAT(bit flowtable.Status, i int, value string) error {
	f.all |= bit
	if value == "" {
		return nil
	}
	p, err := parsePrefix(value)
	if err != nil {
		return err
	}
	if f.addrs[i].IsValid() && f.addrs[i] != p {
		return fmt.Errorf("%q contradicts the reply address %s: give one of them", value, f.addrs[i])
	}
	f.addrs[i] = p
	return nil
}

// setStatus reads a comma-separated list of status words; all must hold.
func (f *Filter) setStatus(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		switch strings.ToUpper(word) {
		case "SEEN_REPLY":
			f.all |= flowtable.StatusSeenReply
		case "ASSURED":
			f.all |= flowtable.StatusAssured
		case "EXPECTED":
			f.all |= flowtable.StatusExpected
		case "FIXED_TIMEOUT":
			f.all |= flowtable.StatusFixedTimeout
		case "SRC_NAT":
			f.all |= flowtable.StatusSNAT
		case "DST_NAT":
			f.all |= flowtable.StatusDNAT
		case "UNREPLIED":
			f.none |= flowtable.StatusSeenReply
		case "UNSET":
			f.none |= flowtable.StatusSeenReply | flowtable.StatusAssured
		default:
			return fmt.Errorf("%q is not known: give SEEN_REPLY, ASSURED, EXPECTED, FIXED_TIMEOUT, SRC_NAT, DST_NAT, UNREPLIED or UNSET", word)
		}
	}
	return nil
}

// check refuses conditions that can never hold together, since a filter that
// matches nothing is a mistake that looks like an empty table.
func (f *Filter) check() error {
	if f.state != "" && f.hasProto && !hasState(f.proto) {
		return fmt.Errorf("filter state: flows of %s have no state: give proto tcp or sctp, or leave it out", protoName(f.proto))
	}
	if f.ports != [4]portRange{} && f.hasProto && !hasPorts(f.proto) {
		return fmt.Errorf("filter sport/dport: %s has no ports", protoName(f.proto))
	}
	if f.icmp != [3]optional16{} && f.hasProto && !isICMP(f.proto) {
		return fmt.Errorf("filter icmp-type/icmp-code/icmp-id: %s has none of them", protoName(f.proto))
	}
	if f.icmp != [3]optional16{} && f.ports != [4]portRange{} {
		return fmt.Errorf("filter: no flow has ports and an ICMP type")
	}
	if err := f.applyMasks(); err != nil {
		return err
	}
	return f.checkAddrs()
}

// applyMasks widens the addresses that have a mask of their own.
func (f *Filter) applyMasks() error {
	for i, m := range f.masks {
		if m == 0 {
			continue
		}
		p := f.addrs[i]
		if !p.IsValid() {
			return fmt.Errorf("filter %s: needs an address to go with: give %s", filterKeys[6+i], filterKeys[2+i])
		}
		if !p.IsSingleIP() || m-1 > p.Addr().BitLen() {
			return fmt.Errorf("filter %s: does not fit %s", filterKeys[6+i], p)
		}
		f.addrs[i] = netip.PrefixFrom(p.Addr(), m-1).Masked()
	}
	return nil
}

// checkAddrs refuses addresses of different families and statuses that exclude
// each other.
func (f *Filter) checkAddrs() error {
	for i, p := range f.addrs {
		if !p.IsValid() {
			continue
		}
		family := uint8(familyIPv6)
		if p.Addr().Is4() {
			family = familyIPv4
		}
		if f.family != 0 && f.family != family {
			return fmt.Errorf("filter %s: %s is not of the family asked for", filterKeys[2+i], p)
		}
		f.family = family
	}
	if f.all&f.none != 0 {
		return fmt.Errorf("filter status: the words contradict each other")
	}
	return nil
}

// Match reports whether the flow meets all conditions. It does not allocate.
func (f *Filter) Match(s *flowtable.Snapshot) bool {
	if f.never || f.hasID && s.ID != f.id {
		return false
	}
	if f.hasProto && s.Orig.Proto != f.proto || f.family != 0 && uint8(s.Orig.Family) != f.family {
		return false
	}
	return f.matchState(s) && f.matchPorts(&s.Orig, &s.Reply) && f.matchICMP(&s.Orig) && f.matchAddrs(&s.Orig, &s.Reply)
}

// matchState compares status bits and the protocol's state.
func (f *Filter) matchState(s *flowtable.Snapshot) bool {
	if s.Status&f.all != f.all || s.Status&f.none != 0 || f.any != 0 && s.Status&f.any == 0 {
		return false
	}
	return f.state == "" || stateName(s) == f.state
}

func (f *Filter) matchPorts(orig, reply *flowtable.Tuple) bool {
	if f.ports == [4]portRange{} {
		return true
	}
	return hasPorts(orig.Proto) && f.ports[0].contains(orig.SrcPort) && f.ports[1].contains(orig.DstPort) &&
		f.ports[2].contains(reply.SrcPort) && f.ports[3].contains(reply.DstPort)
}

func (f *Filter) matchICMP(tu *flowtable.Tuple) bool {
	if f.icmp == [3]optional16{} {
		return true
	}
	return isICMP(tu.Proto) && f.icmp[0].matches(tu.DstPort>>8) && f.icmp[1].matches(tu.DstPort&0xff) && f.icmp[2].matches(tu.SrcPort)
}

// matches reports whether v is the number, if there is one.
func (o optional16) matches(v uint16) bool { return !o.set || o.value == v }

func (f *Filter) matchAddrs(orig, reply *flowtable.Tuple) bool {
	tuples := [4]*flowtable.Tuple{orig, orig, reply, reply}
	for i, p := range f.addrs {
		if !p.IsValid() {
			continue
		}
		a := tuples[i].Src
		if i&1 == 1 {
			a = tuples[i].Dst
		}
		if !p.Contains(a.Netip(tuples[i].Family)) {
			return false
		}
	}
	return true
}

// contains reports whether port is in the range; an unset range holds all.
func (r portRange) contains(port uint16) bool {
	return r.last == 0 || port >= r.first && port <= r.last
}

package control

import (
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// flowSave appends the options with which conntrack makes the flow again, as
// conntrack -o save prints them, for conntrack -R to read. command is -A in a
// listing. left is in seconds; 0 = it is over.
func (p *printer) flowSave(b []byte, command string, s *flowtable.Snapshot, left uint32) []byte {
	b = append(b, command...)
	if left != 0 {
		b = append(b, " -t "...)
		b = strconv.AppendUint(b, uint64(left), 10)
	}
	b = append(b, " -u "...)
	b = statusSave(b, s.Status)
	b = addressSave(b, " -s ", &s.Orig, false)
	b = addressSave(b, " -d ", &s.Orig, true)
	from, to := " -r ", " -q "
	if s.Status&flowtable.StatusDNAT != 0 {
		from = " -g "
	}
	if s.Status&flowtable.StatusSNAT != 0 {
		to = " -n "
	}
	b = addressSave(b, from, &s.Reply, false)
	b = addressSave(b, to, &s.Reply, true)
	b = protoSave(b, s)
	if state := stateName(s); state != "" && !s.SameState {
		b = append(b, " --state "...)
		b = append(b, state...)
	}
	return b
}

// saveCommand returns the command that does what an event tells.
func saveCommand(k flowtable.EventKind) string {
	switch k {
	case flowtable.EventNew:
	case flowtable.EventUpdate:
		return "-U"
	case flowtable.EventDestroy:
		return "-D"
	}
	return "-A"
}

// statusSave appends the status bits that conntrack -u sets.
func statusSave(b []byte, st flowtable.Status) []byte {
	start := len(b)
	for _, s := range [...]struct {
		bit  flowtable.Status
		name string
	}{
		{flowtable.StatusSeenReply, "SEEN_REPLY"}, {flowtable.StatusAssured, "ASSURED"},
		{flowtable.StatusFixedTimeout, "FIXED_TIMEOUT"}, {flowtable.StatusExpected, "EXPECTED"},
	} {
		if st&s.bit == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, s.name...)
	}
	if len(b) == start {
		return append(b, "UNSET"...)
	}
	return b
}

// addressSave appends an option with the source or destination of a tuple.
func addressSave(b []byte, option string, tu *flowtable.Tuple, dst bool) []byte {
	b = append(b, option...)
	if dst {
		return tu.Dst.Netip(tu.Family).AppendTo(b)
	}
	return tu.Src.Netip(tu.Family).AppendTo(b)
}

// protoSave appends the protocol and what its tuples have beside addresses. A
// protocol that conntrack has no options for is named by its number.
func protoSave(b []byte, s *flowtable.Snapshot) []byte {
	b = append(b, " -p "...)
	name, o, r := protoName(s.Orig.Proto), &s.Orig, &s.Reply
	if name == "unknown" {
		return strconv.AppendUint(b, uint64(o.Proto), 10)
	}
	b = append(b, name...)
	switch {
	case hasPorts(o.Proto):
		b = appendField(b, " --sport ", o.SrcPort)
		b = appendField(b, " --dport ", o.DstPort)
		b = appendField(b, " --reply-port-src ", r.SrcPort)
		b = appendField(b, " --reply-port-dst ", r.DstPort)
	case o.Proto == protoICMP:
		b = appendField(b, " --icmp-type ", o.DstPort>>8)
		b = appendField(b, " --icmp-code ", o.DstPort&0xff)
		b = appendField(b, " --icmp-id ", o.SrcPort)
	case o.Proto == protoICMPv6:
		b = appendField(b, " --icmpv6-type ", o.DstPort>>8)
		b = appendField(b, " --icmpv6-code ", o.DstPort&0xff)
		b = appendField(b, " --icmpv6-id ", o.SrcPort)
	case o.Proto == protoGRE:
		b = appendField(b, " --srckey ", o.SrcPort)
		b = appendField(b, " --dstkey ", o.DstPort)
		b = appendField(b, " --reply-key-src ", r.SrcPort)
		b = appendField(b, " --reply-key-dst ", r.DstPort)
	}
	return b
}

package control

import (
	"net/netip"
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// flowProc appends the line of a flow as /proc/net/nf_conntrack shows it
// (net/netfilter/nf_conntrack_standalone.c, ct_seq_show). It differs from
// conntrack -L: the network protocol is always there, IPv6 addresses are
// written out, zone=0 is printed, helper and id are not, and the reader itself
// holds one more reference.
//
// Deviates: the kernel adds "timeout=, stream_timeout=" to GRE flows; they are
// settings, not state of the flow, and are left out.
func (p *printer) flowProc(b []byte, s *flowtable.Snapshot, use int) []byte {
	b = appendName(b, s.Orig.Family.String(), uint8(s.Orig.Family))
	b = appendName(b, protoName(s.Orig.Proto), s.Orig.Proto)
	b = appendSeconds(b, uint64(s.Timeout))
	b = appendState(b, s)
	b = appendTupleProc(b, &s.Orig)
	b = appendCounts(b, s, flowtable.DirOriginal, s.Counted)
	if s.Status&flowtable.StatusSeenReply == 0 {
		b = append(b, " [UNREPLIED]"...)
	}
	b = append(b, ' ')
	b = appendTupleProc(b, &s.Reply)
	b = appendCounts(b, s, flowtable.DirReply, s.Counted)
	if s.Status&flowtable.StatusAssured != 0 {
		b = append(b, " [ASSURED]"...)
	}
	b = append(b, " mark=0 zone=0"...)
	if s.Start != 0 {
		b = append(b, " delta-time="...)
		b = strconv.AppendInt(b, max(p.wall.UnixNano()-s.Start, 0)/1e9, 10)
	}
	b = append(b, " use="...)
	b = strconv.AppendInt(b, int64(use)+1, 10)
	return append(b, '\n')
}

func appendTupleProc(b []byte, tu *flowtable.Tuple) []byte {
	b = append(b, "src="...)
	b = appendAddrProc(b, tu.Src.Netip(tu.Family))
	b = append(b, " dst="...)
	b = appendAddrProc(b, tu.Dst.Netip(tu.Family))
	return appendKeys(b, tu)
}

// appendAddrProc appends an address as printk's %pI4 and %pI6 do: IPv6 with all
// eight groups of four digits.
func appendAddrProc(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		return a.AppendTo(b)
	}
	const digits = "0123456789abcdef"
	for i, v := range a.As16() {
		if i > 0 && i&1 == 0 {
			b = append(b, ':')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}

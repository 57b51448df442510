package control

import (
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// expectation appends one line for a listed expectation.
func (p *printer) expectation(b []byte, e *flowtable.Expectation) []byte {
	left := p.secondsUntil(e.Deadline)
	switch p.format.Encoding {
	case EncodingJSON:
		return p.expectationJSON(b, e)
	case EncodingProc:
		return p.expectationProc(b, e, left)
	case EncodingXML:
		return p.expectationXML(b, e, left, nil)
	default:
		return p.expectationText(p.appendStamp(b, p.wall.UnixNano()), e, left)
	}
}

// expectationEvent appends one line for an expectation event, as conntrack
// -E expect prints it.
func (p *printer) expectationEvent(b []byte, e *flowtable.Event) []byte {
	switch p.format.Encoding {
	case EncodingJSON:
		return p.expectationEventJSON(b, e)
	case EncodingXML:
		return p.expectationXML(b, &e.Expectation, uint64(e.Left), e)
	default:
	}
	b = p.appendStamp(b, e.Time)
	b = append(b, eventTag(e.Kind)...)
	return p.expectationText(b, &e.Expectation, uint64(e.Left))
}

// expectationText appends the line of conntrack -L expect, which "extended" does
// not change. Deviates: -o id has no effect there.
func (p *printer) expectationText(b []byte, e *flowtable.Expectation, left uint64) []byte {
	b = appendSeconds(b, left)
	b = append(b, "proto="...)
	b = appendSeconds(b, uint64(e.Tuple.Proto))
	b = appendTuple(b, &e.Tuple)
	b = append(b, " mask-src="...)
	b = append(b, hostMask(e.Tuple.Family, e.Tuple.Src.IsZero())...)
	b = append(b, " mask-dst="...)
	b = append(b, hostMask(e.Tuple.Family, false)...)
	b = appendField(b, " sport=", portMask(e.Tuple.SrcPort))
	b = appendField(b, " dport=", portMask(e.Tuple.DstPort))
	m := &e.MasterOrig
	b = append(b, " master-src="...)
	b = m.Src.Netip(m.Family).AppendTo(b)
	b = append(b, " master-dst="...)
	b = m.Dst.Netip(m.Family).AppendTo(b)
	b = appendKeys(b, m)
	if e.Flags != 0 {
		b = appendExpectFlags(append(b, ' '), e.Flags)
	}
	b = append(b, " class="...)
	b = strconv.AppendUint(b, uint64(e.Class), 10)
	b = append(b, " helper="...)
	b = append(b, p.helper(e.Helper)...)
	if p.format.ID {
		b = append(b, " id="...)
		b = strconv.AppendUint(b, uint64(e.ID), 10)
	}
	return append(b, '\n')
}

// expectationProc appends the line of /proc/net/nf_conntrack_expect
// (net/netfilter/nf_conntrack_expect.c, exp_seq_show).
func (p *printer) expectationProc(b []byte, e *flowtable.Expectation, left uint64) []byte {
	b = appendSeconds(b, left)
	b = append(b, "l3proto = "...)
	b = appendSeconds(b, uint64(e.Tuple.Family))
	b = append(b, "proto="...)
	b = appendSeconds(b, uint64(e.Tuple.Proto))
	b = appendTupleProc(b, &e.Tuple)
	b = append(b, ' ')
	if e.Flags != 0 {
		b = append(appendExpectFlags(b, e.Flags), ' ')
	}
	b = append(b, p.helper(e.Helper)...)
	if class := p.class(e.Helper, e.Class); class != "" {
		b = append(b, '/')
		b = append(b, class...)
	}
	return append(b, '\n')
}

// expectFlagNames are the words for flags of expectations. Immutable.
var expectFlagNames = []struct {
	bit           flowtable.ExpectFlags
	name, element string // in text and in XML
}{
	{flowtable.ExpectPermanent, "PERMANENT", "permanent"},
	{flowtable.ExpectInactive, "INACTIVE", "inactive"},
	{flowtable.ExpectUserspace, "USERSPACE", "userspace"},
}

// appendExpectFlags appends the flags that are set, with commas between them.
func appendExpectFlags(b []byte, flags flowtable.ExpectFlags) []byte {
	first := true
	for _, f := range expectFlagNames {
		if flags&f.bit == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b, first = append(b, f.name...), false
	}
	return b
}

// hostMask returns the mask of an expected address: all bits count, or none.
func hostMask[family ~uint8](f family, whichever bool) string {
	switch {
	case uint8(f) == familyIPv6 && whichever:
		return "::"
	case uint8(f) == familyIPv6:
		return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	case whichever:
		return "0.0.0.0"
	}
	return "255.255.255.255"
}

// portMask returns the mask of an expected port: 0 matches any.
func portMask(port uint16) uint16 {
	if port == 0 {
		return 0
	}
	return 0xffff
}

// secondsUntil returns the whole seconds left to a deadline, 0 when it passed.
func (p *printer) secondsUntil(deadline flowtable.Tick) uint64 {
	left := int32(deadline - p.now)
	if left <= 0 {
		return 0
	}
	return uint64(left) / flowtable.TicksPerSecond
}

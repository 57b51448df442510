package control

import (
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// XML is what conntrack -o xml prints: one document, with an element on a line
// of its own for each record.

// What is around the records of a document; nothing is printed without a record.
const (
	xmlLine     = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
	flowsLine   = "<conntrack>\n"
	expectLine  = "<expect>\n"
	flowsOpen   = xmlLine + flowsLine
	expectOpen  = xmlLine + expectLine
	flowsClose  = "</conntrack>\n"
	expectClose = "</expect>\n"
)

// flowXML appends one flow: of a listing, or of the event e if that is not nil.
func (p *printer) flowXML(b []byte, s *flowtable.Snapshot, e *flowtable.Event, use int) []byte {
	b = append(b, "<flow"...)
	counted := s.Counted
	if e != nil {
		b = append(b, eventXML(e.Kind)...)
		counted = counted && e.Kind == flowtable.EventDestroy
	}
	b = append(b, '>')
	b = metaXML(b, "original", s, flowtable.DirOriginal, counted)
	b = metaXML(b, "reply", s, flowtable.DirReply, counted)
	b = append(b, `<meta direction="independent">`...)
	if state := stateName(s); state != "" && !s.SameState {
		b = append(b, "<state>"...)
		b = append(b, state...)
		b = append(b, "</state>"...)
	}
	if e == nil {
		b = elementXML(b, "timeout", uint64(s.Timeout))
		b = append(b, "<mark>0</mark>"...)
		b = elementXML(b, "use", uint64(use))
	} else if e.Left != 0 {
		b = elementXML(b, "timeout", uint64(e.Left))
	}
	b = elementXML(b, "id", uint64(s.ID)) // with or without -o id
	b = statusXML(b, s.Status)
	if e == nil || e.Kind == flowtable.EventDestroy {
		b = p.lifeXML(b, s)
	}
	b = append(b, "</meta>"...)
	if e != nil && p.format.Timestamp {
		b = p.whenXML(b, e.Time)
	}
	if name := p.helper(s.Helper); name != "" && (e == nil || e.Kind != flowtable.EventDestroy) {
		b = append(b, "<helper>"...)
		b = append(b, name...)
		b = append(b, "</helper>"...)
	}
	b = append(b, "</flow>"...)
	if e != nil {
		b = appendProcess(b, e)
	}
	return append(b, '\n')
}

// eventXML returns the attribute that names an event.
func eventXML(k flowtable.EventKind) string {
	switch k {
	case flowtable.EventNew:
		return ` type="new"`
	case flowtable.EventUpdate:
		return ` type="update"`
	case flowtable.EventDestroy:
		return ` type="destroy"`
	}
	return ""
}

// metaXML appends one direction.
func metaXML(b []byte, direction string, s *flowtable.Snapshot, d flowtable.Dir, counted bool) []byte {
	b = append(b, `<meta direction="`...)
	b = append(b, direction...)
	b = append(b, `">`...)
	if d == flowtable.DirOriginal {
		b = tupleXML(b, &s.Orig)
	} else {
		b = tupleXML(b, &s.Reply)
	}
	if counted {
		b = append(b, "<counters>"...)
		b = elementXML(b, "packets", s.Packets[d])
		b = elementXML(b, "bytes", s.Bytes[d])
		b = append(b, "</counters>"...)
	}
	return append(b, "</meta>"...)
}

// tupleXML appends both layers of a tuple. Of ICMP conntrack tells the name alone.
func tupleXML(b []byte, tu *flowtable.Tuple) []byte {
	b = layerXML(b, `<layer3 protonum="`, uint8(tu.Family), tu.Family.String())
	b = append(b, "<src>"...)
	b = tu.Src.Netip(tu.Family).AppendTo(b)
	b = append(b, "</src><dst>"...)
	b = tu.Dst.Netip(tu.Family).AppendTo(b)
	b = append(b, "</dst></layer3>"...)
	b = layerXML(b, `<layer4 protonum="`, tu.Proto, protoName(tu.Proto))
	if hasPorts(tu.Proto) {
		b = elementXML(b, "sport", uint64(tu.SrcPort))
		b = elementXML(b, "dport", uint64(tu.DstPort))
	}
	if tu.Proto == protoGRE {
		b = append(b, "<srckey>0x"...)
		b = strconv.AppendUint(b, uint64(tu.SrcPort), 16)
		b = append(b, "</srckey><dstkey>0x"...)
		b = strconv.AppendUint(b, uint64(tu.DstPort), 16)
		b = append(b, "</dstkey>"...)
	}
	return append(b, "</layer4>"...)
}

func layerXML(b []byte, open string, number uint8, name string) []byte {
	b = append(b, open...)
	b = strconv.AppendUint(b, uint64(number), 10)
	b = append(b, `" protoname="`...)
	b = append(b, name...)
	return append(b, `">`...)
}

func statusXML(b []byte, st flowtable.Status) []byte {
	switch {
	case st&flowtable.StatusAssured != 0:
		return append(b, "<assured/>"...)
	case st&flowtable.StatusSeenReply == 0:
		return append(b, "<unreplied/>"...)
	}
	return b
}

// lifeXML appends how long the flow has lived, if that is kept.
func (p *printer) lifeXML(b []byte, s *flowtable.Snapshot) []byte {
	if s.Start == 0 {
		return b
	}
	if p.format.KTimestamp {
		b = append(b, "<timestamp>"...)
		b = elementXML(b, "start", uint64(s.Start))
		if s.Stop != 0 {
			b = elementXML(b, "stop", uint64(s.Stop))
		}
		b = append(b, "</timestamp>"...)
	}
	return elementXML(b, "deltatime", uint64(p.lifetime(s)))
}

// whenXML appends the local time of an event.
func (p *printer) whenXML(b []byte, unixNano int64) []byte {
	t := p.local(unixNano)
	b = append(b, "<when>"...)
	b = elementXML(b, "hour", uint64(t.Hour()))
	b = t.AppendFormat(b, "<min>04</min><sec>05</sec>")
	b = elementXML(b, "wday", uint64(t.Weekday())+1)
	b = elementXML(b, "day", uint64(t.Day()))
	b = elementXML(b, "month", uint64(t.Month()))
	b = elementXML(b, "year", uint64(t.Year()))
	return append(b, "</when>"...)
}

// elementXML appends <name>value</name>.
func elementXML(b []byte, name string, value uint64) []byte {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, '>')
	b = strconv.AppendUint(b, value, 10)
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

// expectationXML appends one expectation: of a listing, or of the event ev if that
// is not nil. left is in seconds.
func (p *printer) expectationXML(b []byte, x *flowtable.Expectation, left uint64, ev *flowtable.Event) []byte {
	b = append(b, "<flow"...)
	if ev != nil {
		b = append(b, eventXML(ev.Kind)...)
	}
	b = append(b, '>')
	b = layerXML(b, `<layer3 protonum="`, uint8(x.Tuple.Family), x.Tuple.Family.String())
	b = addrsXML(b, "expected", &x.Tuple)
	b = append(b, "<mask><src>"...)
	b = append(b, hostMask(x.Tuple.Family, x.Tuple.Src.IsZero())...)
	b = append(b, "</src><dst>"...)
	b = append(b, hostMask(x.Tuple.Family, false)...)
	b = append(b, "</dst></mask>"...)
	b = addrsXML(b, "master", &x.MasterOrig)
	b = append(b, "</layer3>"...)
	b = layerXML(b, `<layer4 protonum="`, x.Tuple.Proto, protoName(x.Tuple.Proto))
	b = portsXML(b, "expected", x.Tuple.SrcPort, x.Tuple.DstPort)
	b = portsXML(b, "mask", portMask(x.Tuple.SrcPort), portMask(x.Tuple.DstPort))
	b = portsXML(b, "master", x.MasterOrig.SrcPort, x.MasterOrig.DstPort)
	b = append(b, "</layer4><meta><helper-name>"...)
	b = append(b, p.helper(x.Helper)...)
	b = append(b, "</helper-name>"...)
	b = elementXML(b, "timeout", left)
	b = elementXML(b, "class", uint64(x.Class))
	b = expectFlagsXML(b, x.Flags)
	if ev != nil && p.format.Timestamp {
		b = p.whenXML(b, ev.Time)
	}
	return append(b, "</meta></flow>\n"...)
}

// expectFlagsXML appends an element for each flag that is set.
func expectFlagsXML(b []byte, flags flowtable.ExpectFlags) []byte {
	for _, f := range expectFlagNames {
		if flags&f.bit != 0 {
			b = append(b, '<')
			b = append(b, f.element...)
			b = append(b, '/', '>')
		}
	}
	return b
}

// addrsXML appends <name> with the addresses of a tuple.
func addrsXML(b []byte, name string, tu *flowtable.Tuple) []byte {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, "><src>"...)
	b = tu.Src.Netip(tu.Family).AppendTo(b)
	b = append(b, "</src><dst>"...)
	b = tu.Dst.Netip(tu.Family).AppendTo(b)
	b = append(b, "</dst></"...)
	b = append(b, name...)
	return append(b, '>')
}

// portsXML appends <name> with two ports.
func portsXML(b []byte, name string, src, dst uint16) []byte {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, '>')
	b = elementXML(b, "sport", uint64(src))
	b = elementXML(b, "dport", uint64(dst))
	b = append(b, '<', '/')
	b = append(b, name...)
	return append(b, '>')
}

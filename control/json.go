package control

import (
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// JSON records are written field by field: no reflection and no allocation for
// each flow. Strings need no escaping, since all of them are names that this
// program made. The fields are an interface: docs/json.md.

// flowJSON appends one flow as one line.
func (p *printer) flowJSON(b []byte, s *flowtable.Snapshot, worker, use int) []byte {
	b = append(b, '{')
	b = p.flowFields(b, s, s.Counted)
	b = append(b, `,"timeout":`...)
	b = strconv.AppendUint(b, uint64(s.Timeout), 10)
	b = append(b, `,"mark":0,"use":`...)
	b = strconv.AppendInt(b, int64(use), 10)
	b = append(b, `,"worker":`...)
	b = strconv.AppendInt(b, int64(worker), 10)
	b = append(b, `,"start":`...)
	b = appendMicros(b, p.start(s))
	b = append(b, `,"idle":`...)
	b = strconv.AppendUint(b, uint64(p.since(s.LastSeen).Seconds()), 10)
	return append(b, "}\n"...)
}

// eventJSON appends one flow event as one line.
func (p *printer) eventJSON(b []byte, e *flowtable.Event) []byte {
	b = appendEventJSON(b, e)
	b = append(b, ',')
	b = p.flowFields(b, &e.Flow, e.Flow.Counted && e.Kind == flowtable.EventDestroy)
	if e.Left != 0 {
		b = append(b, `,"timeout":`...)
		b = strconv.AppendUint(b, uint64(e.Left), 10)
	}
	if e.Flow.Start != 0 {
		b = append(b, `,"start":`...)
		b = appendMicros(b, e.Flow.Start)
	}
	if e.Flow.Stop != 0 {
		b = append(b, `,"stop":`...)
		b = appendMicros(b, e.Flow.Stop)
	}
	return append(b, "}\n"...)
}

// expectationJSON appends one expectation as one line.
func (p *printer) expectationJSON(b []byte, e *flowtable.Expectation) []byte {
	b = append(b, '{')
	b = p.expectationFields(b, e)
	b = append(b, `,"timeout":`...)
	b = strconv.AppendUint(b, p.secondsUntil(e.Deadline), 10)
	return append(b, "}\n"...)
}

// expectationEventJSON appends one expectation event as one line.
func (p *printer) expectationEventJSON(b []byte, e *flowtable.Event) []byte {
	b = appendEventJSON(b, e)
	b = append(b, ',')
	b = p.expectationFields(b, &e.Expectation)
	b = append(b, `,"timeout":`...)
	b = strconv.AppendUint(b, uint64(e.Left), 10)
	return append(b, "}\n"...)
}

// appendEventJSON opens the object and appends what all events have.
func appendEventJSON(b []byte, e *flowtable.Event) []byte {
	b = append(b, `{"event":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, `","time":`...)
	b = appendMicros(b, e.Time)
	if e.Kind == flowtable.EventDestroy {
		b = append(b, `,"reason":"`...)
		b = append(b, destroyReason(e)...)
		b = append(b, '"')
		b = appendProcessJSON(b, e)
	}
	return b
}

// appendProcessJSON appends who deleted the record.
func appendProcessJSON(b []byte, e *flowtable.Event) []byte {
	if !e.Deleted || e.By.PID == 0 {
		return b
	}
	b = append(b, `,"pid":`...)
	b = strconv.AppendUint(b, uint64(e.By.PID), 10)
	b = append(b, `,"program":"`...)
	b = append(b, e.By.Name()...)
	return append(b, '"')
}

// destroyReason tells why a flow or an expectation is gone.
func destroyReason(e *flowtable.Event) string {
	switch {
	case e.Deleted:
		return "deleted"
	case e.Evicted:
		return "evicted"
	case e.Immediate:
		return "packet"
	case e.Expect && e.Left != 0:
		return "used"
	}
	return "timeout"
}

func (p *printer) flowFields(b []byte, s *flowtable.Snapshot, counted bool) []byte {
	b = append(b, `"id":`...)
	b = strconv.AppendUint(b, uint64(s.ID), 10)
	b = append(b, `,"family":"`...)
	b = append(b, s.Orig.Family.String()...)
	b = append(b, `","proto":"`...)
	b = append(b, protoName(s.Orig.Proto)...)
	b = append(b, `","protonum":`...)
	b = strconv.AppendUint(b, uint64(s.Orig.Proto), 10)
	if state := stateName(s); state != "" {
		b = append(b, `,"state":"`...)
		b = append(b, state...)
		b = append(b, '"')
	}
	b = append(b, `,"original":`...)
	b = appendTupleJSON(b, &s.Orig)
	b = appendCountsJSON(b, s, flowtable.DirOriginal, counted)
	b = append(b, `,"reply":`...)
	b = appendTupleJSON(b, &s.Reply)
	b = appendCountsJSON(b, s, flowtable.DirReply, counted)
	b = append(b, `,"status":`...)
	b = appendStatusJSON(b, s.Status)
	if name := p.helper(s.Helper); name != "" {
		b = append(b, `,"helper":"`...)
		b = append(b, name...)
		b = append(b, '"')
	}
	return p.masterJSON(b, s)
}

// masterJSON appends the flow that announced s: its id and, while it lives, its
// original tuple.
func (p *printer) masterJSON(b []byte, s *flowtable.Snapshot) []byte {
	m := s.Master
	if s.Status&flowtable.StatusExpected == 0 || m.Index == 0 || int(m.Worker) >= len(p.tables) {
		return b
	}
	t := p.tables[m.Worker]
	b = append(b, `,"master_id":`...)
	b = strconv.AppendUint(b, uint64(t.MasterID(m)), 10)
	var master flowtable.Snapshot
	if t.Read(m.Index, p.now, &master) && master.Gen == m.Gen {
		b = append(b, `,"master":`...)
		b = appendTupleJSON(b, &master.Orig)
	}
	return b
}

// appendCountsJSON adds what passed in one direction to its tuple.
func appendCountsJSON(b []byte, s *flowtable.Snapshot, d flowtable.Dir, counted bool) []byte {
	if !counted {
		return b
	}
	b = append(b[:len(b)-1], `,"packets":`...) // before the brace
	b = strconv.AppendUint(b, s.Packets[d], 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendUint(b, s.Bytes[d], 10)
	return append(b, '}')
}

func (p *printer) expectationFields(b []byte, e *flowtable.Expectation) []byte {
	b = append(b, `"id":`...)
	b = strconv.AppendUint(b, uint64(e.ID), 10)
	b = append(b, `,"family":"`...)
	b = append(b, e.Tuple.Family.String()...)
	b = append(b, `","proto":"`...)
	b = append(b, protoName(e.Tuple.Proto)...)
	b = append(b, `","protonum":`...)
	b = strconv.AppendUint(b, uint64(e.Tuple.Proto), 10)
	b = append(b, `,"expected":`...)
	b = appendTupleJSON(b, &e.Tuple)
	b = append(b, `,"master":`...)
	b = appendTupleJSON(b, &e.MasterOrig)
	b = append(b, `,"class":`...)
	b = strconv.AppendUint(b, uint64(e.Class), 10)
	if name := p.class(e.Helper, e.Class); name != "" {
		b = append(b, `,"class_name":"`...)
		b = append(b, name...)
		b = append(b, '"')
	}
	if e.Flags != 0 {
		b = append(b, `,"flags":"`...)
		b = append(appendExpectFlags(b, e.Flags), '"')
	}
	b = append(b, `,"helper":"`...)
	b = append(b, p.helper(e.Helper)...)
	return append(b, '"')
}

func appendTupleJSON(b []byte, tu *flowtable.Tuple) []byte {
	b = append(b, `{"src":"`...)
	b = tu.Src.Netip(tu.Family).AppendTo(b)
	b = append(b, `","dst":"`...)
	b = tu.Dst.Netip(tu.Family).AppendTo(b)
	b = append(b, '"')
	switch {
	case hasPorts(tu.Proto):
		b = appendField(b, `,"sport":`, tu.SrcPort)
		b = appendField(b, `,"dport":`, tu.DstPort)
	case isICMP(tu.Proto):
		b = appendField(b, `,"type":`, tu.DstPort>>8)
		b = appendField(b, `,"code":`, tu.DstPort&0xff)
		b = appendField(b, `,"id":`, tu.SrcPort)
	case tu.Proto == protoGRE:
		b = appendField(b, `,"srckey":`, tu.SrcPort)
		b = appendField(b, `,"dstkey":`, tu.DstPort)
	}
	return append(b, '}')
}

// statusNames maps status bits to the words of conntrack -u. Immutable.
var statusNames = []struct {
	bit  flowtable.Status
	name string
}{
	{flowtable.StatusExpected, "EXPECTED"},
	{flowtable.StatusSeenReply, "SEEN_REPLY"},
	{flowtable.StatusAssured, "ASSURED"},
	{flowtable.StatusConfirmed, "CONFIRMED"},
	{flowtable.StatusSNAT, "SRC_NAT"},
	{flowtable.StatusDNAT, "DST_NAT"},
	{flowtable.StatusSeqAdjust, "SEQ_ADJUST"},
	{flowtable.StatusDying, "DYING"},
	{flowtable.StatusFixedTimeout, "FIXED_TIMEOUT"},
	{flowtable.StatusHelper, "HELPER"},
}

func appendStatusJSON(b []byte, st flowtable.Status) []byte {
	b = append(b, '[')
	first := true
	for _, s := range statusNames {
		if st&s.bit == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, s.name...)
		b = append(b, '"')
	}
	return append(b, ']')
}

package control

import (
	"strconv"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// printer renders records in one format. It holds no buffer and no state that
// changes, and appends to the caller's slice without allocating.
type printer struct {
	format Format
	helper func(uint8) string               // name of a helper, "" for none
	class  func(helper, class uint8) string // name of a class of expectations, "" for none
	tables []*flowtable.Table               // of all workers, by number
	now    flowtable.Tick                   // time of the listing
	wall   time.Time                        // the same moment on the wall clock
}

// flow appends one line for a listed flow. use is the reference count that
// conntrack -L prints: 1 and one more for each live flow that the flow's
// helper expected.
func (p *printer) flow(b []byte, s *flowtable.Snapshot, worker, use int) []byte {
	switch p.format.Encoding {
	case EncodingJSON:
		return p.flowJSON(b, s, worker, use)
	case EncodingProc:
		return p.flowProc(b, s, use)
	case EncodingXML:
		return p.flowXML(b, s, nil, use)
	case EncodingSave:
		return append(p.flowSave(b, "-A", s, s.Timeout), '\n')
	default:
	}
	b = p.flowHead(b, s)
	b = appendSeconds(b, uint64(s.Timeout))
	b = p.flowBody(b, s, s.Counted)
	b = append(b, " mark=0"...)
	b = p.appendLife(b, s)
	b = p.appendHelper(b, s)
	b = append(b, " use="...)
	b = strconv.AppendInt(b, int64(use), 10)
	if p.format.ID {
		b = append(b, " id="...)
		b = strconv.AppendUint(b, uint64(s.ID), 10)
	}
	return append(b, '\n')
}

// event appends one line for a flow event, as conntrack -E prints it.
func (p *printer) event(b []byte, e *flowtable.Event) []byte {
	switch p.format.Encoding {
	case EncodingJSON:
		return p.eventJSON(b, e)
	case EncodingXML:
		return p.flowXML(b, &e.Flow, e, 0)
	case EncodingSave:
		b = p.flowSave(b, saveCommand(e.Kind), &e.Flow, e.Left)
		return append(appendProcess(b, e), '\n')
	default:
	}
	b = p.appendStamp(b, e.Time)
	b = append(b, eventTag(e.Kind)...)
	b = p.flowHead(b, &e.Flow)
	if e.Left != 0 {
		b = appendSeconds(b, uint64(e.Left))
	}
	ended := e.Kind == flowtable.EventDestroy // only then is there anything to sum up
	b = p.flowBody(b, &e.Flow, ended && e.Flow.Counted)
	if ended {
		b = p.appendLife(b, &e.Flow)
	} else {
		b = p.appendHelper(b, &e.Flow)
	}
	if p.format.ID {
		b = append(b, " id="...)
		b = strconv.AppendUint(b, uint64(e.Flow.ID), 10)
	}
	b = appendProcess(b, e)
	return append(b, '\n')
}

// eventTag returns the tag in front of an event, 10 bytes with its blank.
func eventTag(k flowtable.EventKind) string {
	switch k {
	case flowtable.EventNew:
		return "    [NEW] "
	case flowtable.EventUpdate:
		return " [UPDATE] "
	case flowtable.EventDestroy:
		return "[DESTROY] "
	}
	return "[UNKNOWN] "
}

// flowHead appends the protocols: "tcp      6 ".
func (p *printer) flowHead(b []byte, s *flowtable.Snapshot) []byte {
	if p.format.Extended {
		b = appendName(b, s.Orig.Family.String(), uint8(s.Orig.Family))
	}
	return appendName(b, protoName(s.Orig.Proto), s.Orig.Proto)
}

// flowBody appends state, tuples, what passed if counted, and flags, without a
// blank at the end.
func (p *printer) flowBody(b []byte, s *flowtable.Snapshot, counted bool) []byte {
	b = appendState(b, s)
	b = appendTuple(b, &s.Orig)
	b = appendCounts(b, s, flowtable.DirOriginal, counted)
	if s.Status&flowtable.StatusSeenReply == 0 {
		b = append(b, " [UNREPLIED]"...)
	}
	b = append(b, ' ')
	b = appendTuple(b, &s.Reply)
	b = appendCounts(b, s, flowtable.DirReply, counted)
	if s.Status&flowtable.StatusAssured != 0 {
		b = append(b, " [ASSURED]"...)
	}
	return b
}

// appendStamp appends the time of an event: "[1795378611.015737]\t".
func (p *printer) appendStamp(b []byte, unixNano int64) []byte {
	if !p.format.Timestamp {
		return b
	}
	b = append(b, '[')
	b = appendMicros(b, unixNano)
	return append(b, "]\t"...)
}

// appendLife appends how long the flow has lived, in whole seconds of the clock
// as conntrack counts them, and with -o ktimestamp when it began and ended:
// " delta-time=3 [start=Tue Nov 22 21:48:00 2022]". Nothing if that is not kept.
func (p *printer) appendLife(b []byte, s *flowtable.Snapshot) []byte {
	if s.Start == 0 {
		return b
	}
	b = append(b, " delta-time="...)
	b = strconv.AppendInt(b, p.lifetime(s), 10)
	if !p.format.KTimestamp {
		return b
	}
	b = p.appendDate(append(b, " [start="...), s.Start)
	if s.Stop != 0 {
		b = p.appendDate(append(b, "] [stop="...), s.Stop)
	}
	return append(b, ']')
}

// lifetime returns the seconds from start to stop, or to now.
func (p *printer) lifetime(s *flowtable.Snapshot) int64 {
	stop := s.Stop
	if stop == 0 {
		stop = p.wall.UnixNano()
	}
	return max(stop/1e9-s.Start/1e9, 0)
}

// appendDate appends a Unix time in nanoseconds as ctime(3) does.
func (p *printer) appendDate(b []byte, unixNano int64) []byte {
	return p.local(unixNano).AppendFormat(b, time.ANSIC)
}

// local returns a Unix time in nanoseconds as the local clock shows it.
func (p *printer) local(unixNano int64) time.Time {
	return time.Unix(0, unixNano).In(p.wall.Location())
}

// start returns when the flow began, in Unix nanoseconds: as kept, or to 1/16 s.
func (p *printer) start(s *flowtable.Snapshot) int64 {
	if s.Start != 0 {
		return s.Start
	}
	return p.wall.Add(-p.since(s.Created).Duration()).UnixNano()
}

// appendCounts appends what passed in one direction.
func appendCounts(b []byte, s *flowtable.Snapshot, d flowtable.Dir, counted bool) []byte {
	if !counted {
		return b
	}
	b = append(b, " packets="...)
	b = strconv.AppendUint(b, s.Packets[d], 10)
	b = append(b, " bytes="...)
	return strconv.AppendUint(b, s.Bytes[d], 10)
}

// appendProcess appends who deleted a flow, if it was a process: its id where
// the kernel has a netlink port, which mostly is the same.
func appendProcess(b []byte, e *flowtable.Event) []byte {
	if !e.Deleted || e.By.PID == 0 {
		return b
	}
	b = append(b, " [USERSPACE] portid="...)
	b = strconv.AppendUint(b, uint64(e.By.PID), 10)
	if name := e.By.Name(); len(name) > 0 {
		b = append(b, " progname="...)
		b = append(b, name...)
	}
	return b
}

// since returns the time from t to the listing, 0 if t is later: workers go on
// while a listing is printed.
func (p *printer) since(t flowtable.Tick) flowtable.Tick {
	if p.now.Before(t) {
		return 0
	}
	return p.now - t
}

func (p *printer) appendHelper(b []byte, s *flowtable.Snapshot) []byte {
	if name := p.helper(s.Helper); name != "" {
		b = append(b, " helper="...)
		b = append(b, name...)
	}
	return b
}

// appendState appends the state and a blank; nothing for protocols without one, and
// in an event about another change.
func appendState(b []byte, s *flowtable.Snapshot) []byte {
	state := stateName(s)
	if state == "" || s.SameState {
		return b
	}
	b = append(b, state...)
	return append(b, ' ')
}

// appendTuple appends addresses and the protocol's part of a tuple, without a
// blank at the end.
func appendTuple(b []byte, tu *flowtable.Tuple) []byte {
	b = append(b, "src="...)
	b = tu.Src.Netip(tu.Family).AppendTo(b)
	b = append(b, " dst="...)
	b = tu.Dst.Netip(tu.Family).AppendTo(b)
	return appendKeys(b, tu)
}

// appendKeys appends what a protocol has beside addresses, after a blank.
func appendKeys(b []byte, tu *flowtable.Tuple) []byte {
	switch {
	case hasPorts(tu.Proto):
		b = appendField(b, " sport=", tu.SrcPort)
		b = appendField(b, " dport=", tu.DstPort)
	case isICMP(tu.Proto):
		b = appendField(b, " type=", tu.DstPort>>8)
		b = appendField(b, " code=", tu.DstPort&0xff)
		b = appendField(b, " id=", tu.SrcPort)
	case tu.Proto == protoGRE:
		b = append(b, " srckey=0x"...)
		b = strconv.AppendUint(b, uint64(tu.SrcPort), 16)
		b = append(b, " dstkey=0x"...)
		b = strconv.AppendUint(b, uint64(tu.DstPort), 16)
	}
	return b
}

func appendField(b []byte, name string, v uint16) []byte {
	b = append(b, name...)
	return strconv.AppendUint(b, uint64(v), 10)
}

// appendName appends "%-8s %u ".
func appendName(b []byte, name string, number uint8) []byte {
	b = append(b, name...)
	for n := len(name); n < 8; n++ {
		b = append(b, ' ')
	}
	b = append(b, ' ')
	return appendSeconds(b, uint64(number))
}

// appendSeconds appends a number and a blank.
func appendSeconds(b []byte, n uint64) []byte {
	b = strconv.AppendUint(b, n, 10)
	return append(b, ' ')
}

// appendMicros appends a Unix time in seconds with six decimals.
func appendMicros(b []byte, unixNano int64) []byte {
	b = strconv.AppendInt(b, unixNano/1e9, 10)
	b = append(b, '.')
	micros := unixNano % 1e9 / 1e3
	for limit := int64(100000); limit > 1 && micros < limit; limit /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendInt(b, micros, 10)
}

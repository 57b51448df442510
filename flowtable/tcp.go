package flowtable

import (
	"fmt"

	"github.com/xdpct/xdpct/packet"
)

// TCPState is the state of a TCP flow, with the kernel's numbers
// (include/uapi/linux/netfilter/nf_conntrack_tcp.h).
type TCPState uint8

// States of a TCP flow.
const (
	TCPNone TCPState = iota
	TCPSynSent
	TCPSynRecv
	TCPEstablished
	TCPFinWait
	TCPCloseWait
	TCPLastAck
	TCPTimeWait
	TCPClose
	TCPSynSent2
	tcpStates
)

// NumTCPStates is the number of TCP states, TCPNone included.
const NumTCPStates = int(tcpStates)

// tcpStateNames is indexed by TCPState.
var tcpStateNames = [tcpStates]string{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT",
	"CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// String returns the state as conntrack prints it.
func (s TCPState) String() string {
	if s < tcpStates {
		return tcpStateNames[s]
	}
	return fmt.Sprintf("TCPState(%d)", uint8(s))
}

// ParseTCPState finds a state by the name that String gives.
func ParseTCPState(name string) (TCPState, bool) {
	for s, n := range tcpStateNames {
		if n == name {
			return TCPState(s), true
		}
	}
	return 0, false
}

// Closing reports whether the flow may be evicted although it is assured
// (kernel: tcp_can_early_drop).
func (s TCPState) Closing() bool { return s >= TCPFinWait && s <= TCPClose }

// Classes of segments (kernel: get_conntrack_index), in the table's order.
const (
	tcpClassSyn = iota
	tcpClassSynAck
	tcpClassFin
	tcpClassAck
	tcpClassRst
	tcpClasses
	tcpClassIllegal = 0xff
)

// tcpClassTable maps the flags but PSH, ECE and CWR to a class; sets of flags
// that it does not list are illegal (kernel: tcp_valid_flags). Segments
// without SYN, FIN, RST and ACK are illegal, so that the class "none" of the
// kernel's table never occurs.
var tcpClassTable = newTCPClassTable()

func newTCPClassTable() (c [64]uint8) {
	for i := range c {
		c[i] = tcpClassIllegal
	}
	c[packet.SYN] = tcpClassSyn
	c[packet.SYN|packet.URG] = tcpClassSyn
	c[packet.SYN|packet.ACK] = tcpClassSynAck
	c[packet.RST] = tcpClassRst
	c[packet.RST|packet.ACK] = tcpClassRst
	c[packet.FIN|packet.ACK] = tcpClassFin
	c[packet.FIN|packet.ACK|packet.URG] = tcpClassFin
	c[packet.ACK] = tcpClassAck
	c[packet.ACK|packet.URG] = tcpClassAck
	return c
}

// tcpClass returns the class of a segment, tcpClassIllegal if it has none.
func tcpClass(flags uint8) uint8 {
	const counted = packet.FIN | packet.SYN | packet.RST | packet.ACK | packet.URG
	return tcpClassTable[flags&counted]
}

// Cells of the table, named as in the kernel's.
const (
	sNO = uint8(TCPNone)
	sSS = uint8(TCPSynSent)
	sSR = uint8(TCPSynRecv)
	sES = uint8(TCPEstablished)
	sFW = uint8(TCPFinWait)
	sCW = uint8(TCPCloseWait)
	sLA = uint8(TCPLastAck)
	sTW = uint8(TCPTimeWait)
	sCL = uint8(TCPClose)
	sS2 = uint8(TCPSynSent2)
	sIG = uint8(0xfe) // let pass, keep the state
	sIV = uint8(0xff) // invalid
)

// tcpTable gives the next state by direction, class of the segment and state.
// The values are those of net/netfilter/nf_conntrack_proto_tcp.c, which says
// cell by cell why.
var tcpTable = [2][tcpClasses][tcpStates]uint8{
	DirOriginal: {
		//               NO   SS   SR   ES   FW   CW   LA   TW   CL   S2
		tcpClassSyn:    {sSS, sSS, sIG, sIG, sIG, sIG, sIG, sSS, sSS, sS2},
		tcpClassSynAck: {sIV, sIV, sSR, sIV, sIV, sIV, sIV, sIV, sIV, sSR},
		tcpClassFin:    {sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV},
		tcpClassAck:    {sES, sIV, sES, sES, sCW, sCW, sTW, sTW, sCL, sIV},
		tcpClassRst:    {sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL},
	},
	DirReply: {
		tcpClassSyn:    {sIV, sS2, sIV, sIV, sIV, sIV, sIV, sSS, sIV, sS2},
		tcpClassSynAck: {sIV, sSR, sIG, sIG, sIG, sIG, sIG, sIG, sIG, sSR},
		tcpClassFin:    {sIV, sIV, sFW, sFW, sLA, sLA, sLA, sTW, sCL, sIV},
		tcpClassAck:    {sIV, sIG, sSR, sES, sCW, sCW, sTW, sTW, sCL, sIG},
		tcpClassRst:    {sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL},
	},
}

// startTCP is Start for TCP: a SYN starts a flow; an ACK does where loose, and
// lives for TCPUnacked only until there is a reply.
func (tr *Tracker) startTCP(flags uint8) (uint8, Tick, Invalid) {
	class := tcpClass(flags)
	if class == tcpClassIllegal {
		return 0, 0, InvalidTCPFlags
	}
	switch next := tcpTable[DirOriginal][class][TCPNone]; {
	case next == sSS:
		return sSS, tr.Timeouts.TCP[TCPSynSent], InvalidNone
	case next == sES && tr.TCPLoose:
		return sES, min(tr.Timeouts.TCP[TCPEstablished], tr.Timeouts.TCPUnacked), InvalidNone
	}
	return 0, 0, InvalidTCPNew
}

// advanceTCP is Advance for TCP: the table, and the special cases of the
// kernel's nf_conntrack_tcp_packet that need no window.
func (tr *Tracker) advanceTCP(t *Table, idx uint32, d Dir, flags uint8, now Tick) Step {
	class := tcpClass(flags)
	if class == tcpClassIllegal {
		return Step{Cause: InvalidTCPFlags}
	}
	f := &t.flows[idx]
	old, status := f.State(), f.Status()
	if old >= uint8(tcpStates) {
		return Step{Cause: InvalidTCPState}
	}
	next := tcpTable[d&1][class][old]
	switch next {
	case sIV:
		return Step{Cause: InvalidTCPState}
	case sIG:
		f.setTCP(old, status&^statusLastRST)
		return Step{Outcome: OutcomeIgnore}
	case sSS:
		if old == sTW || old == sCL {
			return f.reopen(d, status)
		}
	case sS2:
		status |= StatusSimultaneousOpen
	case sSR:
		if d == DirReply && class == tcpClassAck && status&StatusSimultaneousOpen != 0 {
			next = sES
		}
	case sFW:
		if old != sFW {
			status |= StatusCloseInitOrig << d
		}
	}
	status &^= statusLastRST
	if class == tcpClassRst {
		status |= StatusLastRSTOrig << d
	}
	return tr.enterTCP(t, idx, tcpMove{class, old, next, status}, now)
}

// reopen handles a SYN in TIME_WAIT or CLOSE: the connection is over if one
// side closed it properly, or if this side just reset it; the SYN then starts
// a new flow. Otherwise it may be stray, and is ignored.
func (f *Flow) reopen(d Dir, status Status) Step {
	if status&(statusCloseInit|StatusLastRSTOrig<<d) != 0 {
		return Step{Outcome: OutcomeRestart}
	}
	f.setTCP(f.State(), status&^statusLastRST)
	return Step{Outcome: OutcomeIgnore}
}

// tcpMove is an accepted transition.
type tcpMove struct {
	class     uint8
	old, next uint8
	status    Status
}

// enterTCP enters the next state and chooses the time-out.
func (tr *Tracker) enterTCP(t *Table, idx uint32, m tcpMove, now Tick) Step {
	f := &t.flows[idx]
	s := Step{Outcome: OutcomeAccept}
	if m.next != m.old {
		s.Changes = ChangeState
	}
	timeout := tr.Timeouts.TCP[m.next]
	if m.status&StatusSeenReply == 0 {
		switch {
		case m.class == tcpClassRst:
			f.setTCP(m.next, m.status)
			s.Outcome = OutcomeDestroy
			return s
		case m.class == tcpClassSyn && m.old == sSS:
			// A retransmitted SYN does not renew the time-out, or reuse of
			// the port by its sender would keep the flow for ever.
			f.setTCP(m.next, m.status)
			return s
		case m.next == sES:
			timeout = min(timeout, tr.Timeouts.TCPUnacked)
		}
	} else if m.next == sES && m.status&StatusAssured == 0 && (m.old == sSR || m.old == sES) {
		m.status |= StatusAssured
		s.Changes |= ChangeAssured
	}
	f.setTCP(m.next, m.status)
	t.Refresh(idx, timeout, now)
	return s
}

// setTCP sets state and status at once.
func (f *Flow) setTCP(state uint8, status Status) {
	const keep = 0xff<<metaProtoShift | 0xffffffff
	f.setMeta(f.meta&keep | uint64(state)<<metaStateShift | uint64(status)<<metaStatusShift)
}

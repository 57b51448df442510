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

package flowtable

import "fmt"

// SCTPState is the state of an SCTP association, with the kernel's numbers
// (include/uapi/linux/netfilter/nf_conntrack_sctp.h).
type SCTPState uint8

// States of an SCTP association.
const (
	SCTPNone SCTPState = iota
	SCTPClosed
	SCTPCookieWait
	SCTPCookieEchoed
	SCTPEstablished
	SCTPShutdownSent
	SCTPShutdownRecd
	SCTPShutdownAckSent
	SCTPHeartbeatSent
	sctpStates
)

// sctpStateNames is indexed by SCTPState.
var sctpStateNames = [sctpStates]string{"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED",
	"SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"}

// String returns the state as conntrack prints it.
func (s SCTPState) String() string {
	if s < sctpStates {
		return sctpStateNames[s]
	}
	return fmt.Sprintf("SCTPState(%d)", uint8(s))
}

// ParseSCTPState finds a state by the name that String gives.
func ParseSCTPState(name string) (SCTPState, bool) {
	for s, n := range sctpStateNames {
		if n == name {
			return SCTPState(s), true
		}
	}
	return 0, false
}

// Closing reports whether the flow may be evicted although it is assured
// (kernel: sctp_can_early_drop).
func (s SCTPState) Closing() bool { return s >= SCTPShutdownSent && s <= SCTPShutdownAckSent }

// Types of chunks (RFC 9260 section 3.2).
const (
	sctpInit             = 1
	sctpInitAck          = 2
	sctpHeartbeat        = 4
	sctpHeartbeatAck     = 5
	sctpAbort            = 6
	sctpShutdown         = 7
	sctpShutdownAck      = 8
	sctpError            = 9
	sctpCookieEcho       = 10
	sctpCookieAck        = 11
	sctpShutdownComplete = 14
)

// Cells of the table. Types of chunks that have no row leave the state as it is.
const (
	aCL = uint8(SCTPClosed)
	aCW = uint8(SCTPCookieWait)
	aCE = uint8(SCTPCookieEchoed)
	aES = uint8(SCTPEstablished)
	aSS = uint8(SCTPShutdownSent)
	aSR = uint8(SCTPShutdownRecd)
	aSA = uint8(SCTPShutdownAckSent)
	aHS = uint8(SCTPHeartbeatSent)
)

// sctpTable gives the next state by direction, type of chunk and state. The
// values are those of net/netfilter/nf_conntrack_proto_sctp.c.
var sctpTable = [2][sctpShutdownComplete + 1][sctpStates]uint8{
	DirOriginal: {
		//                     NO   CL   CW   CE   ES   SS   SR   SA   HS
		sctpInit:             {aCL, aCL, aCW, aCE, aES, aCL, aCL, aSA, aCW},
		sctpInitAck:          {aCL, aCL, aCW, aCE, aES, aSS, aSR, aSA, aCL},
		sctpAbort:            {aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL, aCL},
		sctpShutdown:         {aCL, aCL, aCW, aCE, aSS, aSS, aSR, aSA, aCL},
		sctpShutdownAck:      {aSA, aCL, aCW, aCE, aES, aSA, aSA, aSA, aSA},
		sctpError:            {aCL, aCL, aCW, aCE, aES, aSS, aSR, aSA, aCL},
		sctpCookieEcho:       {aCL, aCL, aCE, aCE, aES, aSS, aSR, aSA, aCL},
		sctpCookieAck:        {aCL, aCL, aCW, aES, aES, aSS, aSR, aSA, aCL},
		sctpShutdownComplete: {aCL, aCL, aCW, aCE, aES, aSS, aSR, aCL, aCL},
		sctpHeartbeat:        {aHS, aCL, aCW, aCE, aES, aSS, aSR, aSA, aHS},
		sctpHeartbeatAck:     {aCL, aCL, aCW, aCE, aES, aSS, aSR, aSA, aHS},
	},
	DirReply: {
		sctpInit:             {sIV, aCL, aCW, aCE, aES, aSS, aSR, aSA, sIV},
		sctpInitAck:          {sIV, aCW, aCW, aCE, aES, aSS, aSR, aSA, sIV},
		sctpAbort:            {sIV, aCL, aCL, aCL, aCL, aCL, aCL, aCL, sIV},
		sctpShutdown:         {sIV, aCL, aCW, aCE, aSR, aSS, aSR, aSA, sIV},
		sctpShutdownAck:      {sIV, aCL, aCW, aCE, aES, aSA, aSA, aSA, sIV},
		sctpError:            {sIV, aCL, aCW, aCL, aES, aSS, aSR, aSA, sIV},
		sctpCookieEcho:       {sIV, aCL, aCE, aCE, aES, aSS, aSR, aSA, sIV},
		sctpCookieAck:        {sIV, aCL, aCW, aES, aES, aSS, aSR, aSA, sIV},
		sctpShutdownComplete: {sIV, aCL, aCW, aCE, aES, aSS, aSR, aCL, sIV},
		sctpHeartbeat:        {sIV, aCL, aCW, aCE, aES, aSS, aSR, aSA, aHS},
		sctpHeartbeatAck:     {sIV, aCL, aCW, aCE, aES, aSS, aSR, aSA, aES},
	},
}

// nextSCTP returns the next state, sIV if the chunk does not fit.
func nextSCTP(d Dir, chunk, state uint8) uint8 {
	if state >= uint8(sctpStates) {
		return sIV
	}
	if row := &sctpTable[d&1]; int(chunk) < len(row) && row[chunk][SCTPClosed] != 0 {
		return row[chunk][state]
	}
	return state
}

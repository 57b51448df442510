package flowtable

import (
	"fmt"

	"github.com/xdpct/xdpct/packet"
)

// Outcome tells what to do with a packet of a known flow.
type Outcome uint8

// Outcomes. The zero value means that the packet does not fit the flow.
const (
	// OutcomeInvalid: the packet is INVALID, see Step.Cause; nothing changed.
	OutcomeInvalid Outcome = iota
	// OutcomeAccept: the packet belongs to the flow, which was brought up to date.
	OutcomeAccept
	// OutcomeIgnore: let the packet pass; it does not count and the deadline did not
	// change, nor did the state, but for SYN_SENT2.
	OutcomeIgnore
	// OutcomeRestart: take the flow down and treat the packet as a new one.
	OutcomeRestart
	// OutcomeDestroy: let the packet pass, then take the flow down.
	OutcomeDestroy
)

// String returns the outcome in one word.
func (o Outcome) String() string {
	names := [...]string{"invalid", "accept", "ignore", "restart", "destroy"}
	if int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// Changes tells what a packet changed; any bit makes one UPDATE event.
type Changes uint8

// Bits of Changes.
const (
	// ChangeState: another protocol state (kernel: IPCT_PROTOINFO).
	ChangeState Changes = 1 << iota
	// ChangeReply: the first packet of the reply direction (IPCT_REPLY).
	ChangeReply
	// ChangeAssured: the flow became assured (IPCT_ASSURED).
	ChangeAssured
)

// Invalid tells why a packet is INVALID.
type Invalid uint8

// Causes.
const (
	InvalidNone      Invalid = iota
	InvalidTCPFlags          // a set of flags that no segment may have
	InvalidTCPState          // the flow's state does not allow the segment
	InvalidTCPNew            // the segment cannot start a flow
	InvalidTCPWindow         // more data than the receiver has room for
	InvalidTruncated         // transport header cut short; set by callers too
	InvalidChecksum          // set by callers that verify checksums
	InvalidICMPType          // an ICMP message that cannot start a flow
	InvalidICMPError         // an ICMP error that fits no flow; set by callers
	InvalidLength            // lengths contradict each other; set by callers
	InvalidTCPAck            // acknowledges data that nobody sent
	InvalidTCPReset          // a RST below what the receiver expects
	InvalidSCTPChunk         // broken chunks, or such as may not be together
	InvalidSCTPNew           // the packet cannot start an association
	InvalidSCTPTag           // a wrong verification tag
	InvalidSCTPState         // the association's state does not allow the chunk
	numInvalid
)

// NumInvalid is the number of causes, InvalidNone included.
const NumInvalid = int(numInvalid)

// String returns the cause as counters and logs name it.
func (c Invalid) String() string {
	names := [...]string{"none", "tcp_flags", "tcp_state", "tcp_new", "tcp_window", "truncated",
		"checksum", "icmp_type", "icmp_error", "length", "tcp_ack", "tcp_rst",
		"sctp_chunk", "sctp_new", "sctp_tag", "sctp_state"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("Invalid(%d)", uint8(c))
}

// Step is what Advance did with a packet.
type Step struct {
	// Outcome is what to do with the packet.
	Outcome Outcome
	// Changes are the changes that an event has to report.
	Changes Changes
	// Cause is why; valid iff OutcomeInvalid.
	Cause Invalid
}

// Tracker holds the settings of the state machines. It has no state of its
// own: workers may share one that nobody changes.
type Tracker struct {
	// Timeouts are the time-outs of all protocols and states.
	Timeouts Timeouts
	// TCPLoose lets an ACK in the middle of a connection start a flow
	// (nf_conntrack_tcp_loose, default on).
	TCPLoose bool
	// TCPLiberal lets segments out of window pass (nf_conntrack_tcp_be_liberal,
	// default off).
	TCPLiberal bool
	// TCPIgnoreInvalidRST lets a RST below the window pass
	// (nf_conntrack_tcp_ignore_invalid_rst, default off).
	TCPIgnoreInvalidRST bool
	// TCPMaxRetrans is how often in a row the same segment may come again before
	// the flow lives for Timeouts.TCPRetrans only (nf_conntrack_tcp_max_retrans,
	// default 3).
	TCPMaxRetrans uint8
}

// DefaultTCPMaxRetrans is the kernel's default of TCPMaxRetrans.
const DefaultTCPMaxRetrans = 3

// NewTracker returns a tracker with the kernel's defaults.
func NewTracker() *Tracker {
	return &Tracker{Timeouts: LinuxTimeouts(), TCPLoose: true, TCPMaxRetrans: DefaultTCPMaxRetrans}
}

// streamAfter is how long a UDP flow must have lived to become a stream
// (nf_conntrack_proto_udp.c, stream_ts).
const streamAfter = 2 * TicksPerSecond

// Start tells whether a packet without a flow may make one, and with which
// state and time-out the flow begins. cause is InvalidNone if it may.
func (tr *Tracker) Start(frame []byte, h *packet.Headers) (state uint8, timeout Tick, cause Invalid) {
	switch h.Proto {
	case packet.ProtoTCP:
		return tr.startTCP(h.TCPFlags)
	case packet.ProtoUDP:
		return 0, tr.Timeouts.UDP, InvalidNone
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return tr.startICMP(frame, h)
	case packet.ProtoGRE:
		return 0, tr.Timeouts.GRE, InvalidNone
	case packet.ProtoSCTP:
		return tr.startSCTP(frame, h)
	}
	return 0, tr.Timeouts.Generic, InvalidNone
}

// startICMP lets queries start a flow, and nothing else.
func (tr *Tracker) startICMP(frame []byte, h *packet.Headers) (uint8, Tick, Invalid) {
	if int(h.L4) >= len(frame) {
		return 0, 0, InvalidTruncated
	}
	typ := frame[h.L4]
	if h.Proto == packet.ProtoICMP {
		switch typ {
		case 8, 13, 15, 17: // echo, timestamp, information, address mask
			return 0, tr.Timeouts.ICMP, InvalidNone
		}
		return 0, 0, InvalidICMPType
	}
	switch typ {
	case 128, 139: // echo, node information
		return 0, tr.Timeouts.ICMPv6, InvalidNone
	}
	return 0, 0, InvalidICMPType
}

// Begin notes what the packet that made a flow tells of its protocol. It comes
// after Add, with the same packet as Start.
func (tr *Tracker) Begin(t *Table, idx uint32, frame []byte, h *packet.Headers) {
	switch h.Proto {
	case packet.ProtoTCP:
		t.beginTCP(idx, frame, h)
	case packet.ProtoSCTP:
		t.beginSCTP(idx, frame, h)
	}
}

// Advance applies a packet that belongs to a flow: state, status, deadline.
//
// Hot: once per packet. 0 allocs, touches the record, and the window of TCP.
func (tr *Tracker) Advance(t *Table, idx uint32, d Dir, frame []byte, h *packet.Headers, now Tick) Step {
	f := &t.flows[idx]
	s := Step{Outcome: OutcomeAccept}
	switch f.Proto() {
	case packet.ProtoTCP:
		s = tr.advanceTCP(t, idx, d, frame, h, now)
	case packet.ProtoSCTP:
		s = tr.advanceSCTP(t, idx, d, frame, h, now)
	case packet.ProtoUDP:
		s.Changes = tr.advanceUDP(t, idx, now)
	case packet.ProtoICMP:
		t.Refresh(idx, tr.Timeouts.ICMP, now)
	case packet.ProtoICMPv6:
		t.Refresh(idx, tr.Timeouts.ICMPv6, now)
	case packet.ProtoGRE:
		s.Changes = tr.advanceGRE(t, idx, now)
	default:
		t.Refresh(idx, tr.Timeouts.Generic, now)
	}
	if d == DirReply && f.Status()&StatusSeenReply == 0 &&
		(s.Outcome == OutcomeAccept || s.Outcome == OutcomeIgnore) {
		f.AddStatus(StatusSeenReply)
		s.Changes |= ChangeReply
	}
	return s
}

// What meta is while a flow is in its steady state, but for the time-out: an
// established connection or a stream, traffic both ways, no helper, no mark of
// a special case. steadyMask takes off what does not matter to the state
// machines.
const (
	steadyMask   = ^(uint64(StatusSNAT|StatusDNAT|StatusExpected|StatusIPv6|StatusOriginalInside|StatusReplyInside)<<metaStatusShift | metaHoldsMask)
	steadyStatus = uint64(StatusSeenReply|StatusAssured|StatusConfirmed) << metaStatusShift
	steadyUDP    = steadyStatus | packet.ProtoUDP<<metaProtoShift
	steadyTCP    = steadyStatus | packet.ProtoTCP<<metaProtoShift | uint64(TCPEstablished)<<metaStateShift
)

// Steady is Advance for the usual packet: of a UDP stream, or a segment in window
// of an established TCP connection. It changes nothing that anybody is told. It
// reports false, and has done nothing, if the packet is another one. True means
// that Advance would have done the same and returned OutcomeAccept without
// Changes, and that the flow has neither StatusHelper nor StatusSeqAdjust.
//
// Hot: once per packet; one comparison of the record's meta word, for TCP the
// window.
func (tr *Tracker) Steady(t *Table, idx uint32, d Dir, frame []byte, h *packet.Headers, now Tick) bool {
	if h.Proto == packet.ProtoTCP {
		return tr.steadyTCP(t, idx, d, frame, h, now)
	}
	f := &t.flows[idx]
	if h.Proto != packet.ProtoUDP || f.meta&steadyMask != steadyUDP|uint64(tr.Timeouts.UDPStream) {
		return false
	}
	publishTick(&f.LastSeen, now)
	return true
}

// advanceUDP makes a flow a stream when a packet comes more than two seconds
// after the first one and after a reply.
func (tr *Tracker) advanceUDP(t *Table, idx uint32, now Tick) Changes {
	f := &t.flows[idx]
	s := f.Status()
	if s&StatusSeenReply == 0 || int32(now-f.Created) <= streamAfter && s&StatusAssured == 0 {
		t.Refresh(idx, tr.Timeouts.UDP, now)
		return 0
	}
	t.Refresh(idx, tr.Timeouts.UDPStream, now)
	return f.assure()
}

// advanceGRE makes a flow a stream with the first packet after a reply.
func (tr *Tracker) advanceGRE(t *Table, idx uint32, now Tick) Changes {
	f := &t.flows[idx]
	if f.Status()&StatusSeenReply == 0 {
		t.Refresh(idx, tr.Timeouts.GRE, now)
		return 0
	}
	t.Refresh(idx, tr.Timeouts.GREStream, now)
	return f.assure()
}

// assure marks a flow as assured, once.
func (f *Flow) assure() Changes {
	if f.Status()&StatusAssured != 0 {
		return 0
	}
	f.AddStatus(StatusAssured)
	return ChangeAssured
}

package flowtable

import (
	"math/bits"

	"github.com/xdpct/xdpct/packet"
)

// Ref names a flow and the direction whose tuple was found: index<<1 | dir.
// 0 = none.
type Ref uint32

// Index returns the index of the flow's record.
func (r Ref) Index() uint32 { return uint32(r >> 1) }

// Dir returns the direction whose tuple matched.
func (r Ref) Dir() Dir { return Dir(r & 1) }

// RefOf builds a reference.
func RefOf(idx uint32, d Dir) Ref { return Ref(idx<<1 | uint32(d)) }

// Status holds a flow's status bits. Where the kernel has the bit (IPS_*,
// include/uapi/linux/netfilter/nf_conntrack_common.h), the value is the same.
type Status uint16

// Status bits.
const (
	// StatusExpected: an expectation announced this flow; it has a master.
	StatusExpected Status = 1 << 0
	// StatusSeenReply: a packet of the reply direction was accepted.
	StatusSeenReply Status = 1 << 1
	// StatusAssured: traffic both ways; never evicted while live.
	StatusAssured Status = 1 << 2
	// StatusConfirmed: the packet that made the flow has been let through.
	StatusConfirmed Status = 1 << 3
	// StatusSNAT: the source is translated.
	StatusSNAT Status = 1 << 4
	// StatusDNAT: the destination is translated.
	StatusDNAT Status = 1 << 5
	// StatusSeqAdjust: TCP sequence numbers are adjusted; Ext is valid.
	StatusSeqAdjust Status = 1 << 6
	// StatusHelper: a helper sees the payload; Ext is valid.
	StatusHelper Status = 1 << 7
	// StatusIPv6: addresses are in the parallel array. Set by Insert.
	StatusIPv6 Status = 1 << 8
	// StatusDying: the owner is taking the flow down.
	StatusDying Status = 1 << 9
	// StatusFixedTimeout: Refresh leaves the deadline alone.
	StatusFixedTimeout Status = 1 << 10
	// StatusCloseInitOrig: the original direction sent the first FIN
	// (kernel: IP_CT_TCP_FLAG_CLOSE_INIT).
	StatusCloseInitOrig Status = 1 << 11
	// StatusCloseInitReply: the reply direction sent the first FIN.
	StatusCloseInitReply Status = 1 << 12
	// StatusSimultaneousOpen: both sides have sent a SYN
	// (kernel: IP_CT_TCP_SIMULTANEOUS_OPEN).
	StatusSimultaneousOpen Status = 1 << 13
	// StatusOriginalInside: the source of the original direction is a host inside, so
	// that a packet of it cannot come from outside. Owned by the dataplane.
	StatusOriginalInside Status = 1 << 14
	// StatusReplyInside: the same of the reply direction.
	StatusReplyInside Status = 1 << 15
)

// Inside reports whether the source of a direction is a host inside.
//
// Hot: once per packet from outside.
func (f *Flow) Inside(d Dir) bool { return f.Status()&(StatusOriginalInside<<(d&1)) != 0 }

const statusCloseInit = StatusCloseInitOrig | StatusCloseInitReply

// Holds is what a flow has to give back to the translator when it ends: four
// bits whose meaning is the translator's own. They are above the time-out, which
// MaxTimeout keeps short enough.
type Holds uint8

// Layout of Flow.meta, one word so that other threads read it in one piece.
const (
	metaHoldsShift  = 28
	metaHoldsMask   = 0xf << metaHoldsShift
	metaStatusShift = 32
	metaProtoShift  = 48
	metaStateShift  = 56
	metaClassMask   = 0xff<<metaProtoShift | uint64(StatusIPv6)<<metaStatusShift
)

// Flow is the record of one flow: exactly one cache line, off-heap.
//
//	 0 gen       4 last seen
//	 8 meta: time-out (28 bits), holds (4), status (16), protocol (8), state (8)
//	16 addr[0] original src<<32|dst      24 addr[1] reply
//	32 ports: original src, dst, reply src, dst, 16 bits each from the low end
//	40 created  44 next free  48 TCP  52 ext
//	56 next hop of each direction        60 generation of the next hops
//
// The owner reads all fields directly. Other threads use Table.Read.
type Flow struct {
	// gen is odd while the record is free or being filled (seqlock).
	gen uint32
	// LastSeen is when the last packet that refreshes came. Owner: worker,
	// changed by Refresh only.
	LastSeen Tick
	meta     uint64
	// addr: immutable after insert. IPv6 keeps the low 32 bits of each
	// address here as a filter; the addresses are in Table.addrs6.
	addr  [2]uint64
	ports uint64
	// Created is when the flow was inserted. Immutable after insert.
	Created Tick
	// next links free records.
	next uint32
	// tcp holds bits about both sides of a TCP flow and its last segment, see
	// window.go. Owner: worker; no other thread reads it.
	tcp uint32
	// Ext is the index of the extension record; 0 = none. Set by AddExt.
	Ext uint32
	// NextHop is the egress of each direction, owned by the dataplane.
	NextHop [2]uint16
	// NextHopGen tells which generation of routes NextHop came from.
	NextHopGen uint32
}

// Timeout returns how long the flow lives after LastSeen; 0 = not set yet,
// such a flow does not expire.
func (f *Flow) Timeout() Tick { return Tick(f.meta) & MaxTimeout }

// Holds returns what the flow has to give back to the translator.
func (f *Flow) Holds() Holds { return Holds(f.meta>>metaHoldsShift) & 0xf }

// SetHolds sets what the flow has to give back to the translator. Owner: worker.
func (f *Flow) SetHolds(h Holds) {
	f.setMeta(f.meta&^metaHoldsMask | uint64(h&0xf)<<metaHoldsShift)
}

// Status returns the status bits.
func (f *Flow) Status() Status { return Status(f.meta >> metaStatusShift) }

// Proto returns the L4 protocol number.
func (f *Flow) Proto() uint8 { return uint8(f.meta >> metaProtoShift) }

// State returns the protocol state: a TCPState for TCP, a SCTPState for SCTP,
// else 0.
func (f *Flow) State() uint8 { return uint8(f.meta >> metaStateShift) }

// Family returns the address family.
func (f *Flow) Family() packet.Family {
	if f.Status()&StatusIPv6 != 0 {
		return packet.IPv6
	}
	return packet.IPv4
}

// Target4 is Table.Target for an IPv4 flow of TCP or UDP, in the form of the
// packet: source<<32|destination address, source<<16|destination port.
//
// Hot: once per packet of a translated flow.
func (f *Flow) Target4(d Dir) (addrs uint64, ports uint32) {
	o := d.Opposite() & 1
	return bits.RotateLeft64(f.addr[o], 32), uint32(f.ports >> (o * 32))
}

// AddStatus sets status bits. Owner: worker.
func (f *Flow) AddStatus(s Status) { f.setMeta(f.meta | uint64(s)<<metaStatusShift) }

// ClearStatus clears status bits (never StatusIPv6). Owner: worker.
func (f *Flow) ClearStatus(s Status) {
	f.setMeta(f.meta &^ (uint64(s&^StatusIPv6) << metaStatusShift))
}

// SetState sets the protocol state. Owner: worker.
func (f *Flow) SetState(state uint8) {
	f.setMeta(f.meta&^(0xff<<metaStateShift) | uint64(state)<<metaStateShift)
}

// setMeta publishes a changed meta word; nothing happens if it is unchanged,
// which is the case for most packets.
func (f *Flow) setMeta(m uint64) {
	if m != f.meta {
		publish64(&f.meta, m)
	}
}

// Deadline returns when the flow expires. Valid iff Timeout is not 0.
func (f *Flow) Deadline() Tick { return f.LastSeen + f.Timeout() }

// Expired reports whether the flow's time is over (kernel: nf_ct_is_expired).
func (f *Flow) Expired(now Tick) bool {
	timeout := f.Timeout()
	return timeout != 0 && int32(now-f.LastSeen-timeout) >= 0
}

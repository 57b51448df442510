package dataplane

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// BurstSize is how many packets pass through the stages together. It is the
// number of cache misses that the lookup stage may overlap, and is fixed by
// the prefetch arrays of the flow table.
const BurstSize = 64

// Verdict is what becomes of a packet. The zero value drops, so that a path
// that forgets to decide never forwards.
type Verdict uint8

// The verdicts. Only VerdictForward packets are looked at by later stages.
const (
	VerdictDrop          Verdict = iota
	VerdictForward               // on its way to a TX ring
	VerdictForwardPieces         // the same, with later pieces; from forward on
	VerdictPunt                  // for the box itself: goes to the kernel
	VerdictHandedOver            // now owned by another worker
	VerdictHeld                  // waits for its neighbour to be resolved
	VerdictAside                 // a fragment that waits for the rest of its datagram
	VerdictBypass                // INVALID; becomes VerdictForward when track is done
)

// pkt is one packet of a burst: what the stages know of it. A stage's comment
// lists the fields that it reads and writes.
//
// It fills two cache lines.
type pkt struct {
	frame   []byte            // from the Ethernet header; cap reaches the end of its UMEM frame
	addr    uint64            // UMEM address of frame[0]
	hash    uint64            // of tuple, by the table's seed
	tuple   flowtable.Tuple   // lookup key; of an ICMP error: of the packet that would answer the quoted one
	hdr     packet.Headers    // where the headers are; of a datagram in pieces: of the first one
	ref     flowtable.Ref     // flow and direction; 0 = none
	hop     uint16            // next hop, from forward on
	rest    uint16            // a datagram in pieces: the later ones, see assemble.go; 0 = it is whole
	in, out uint8             // numbers of the ports; out from forward on
	verdict Verdict           //
	reason  DropReason        // valid iff verdict is VerdictDrop
	plain   bool              // packet.ParsePlain took it
	related bool              // an ICMP error about ref's flow
	bare    bool              // forwarded untracked: no flow, no translation
	class   helperVerdictHint // whether a helper must see it
	outlook uint8             // 1 + place in burst.outlooks; 0 = none
	// Of a fragment: it comes from the worker that has put its datagram together. Of a
	// datagram in pieces: this worker has done so, and it may be another's flow.
	assembled, gathered bool
	_                   [9]byte
}

// helperVerdictHint tells the help stage what to do with a packet.
type helperVerdictHint uint8

const (
	helpNone    helperVerdictHint = iota // no helper, no sequence adjustment
	helpInspect                          // the flow has a helper or adjusted numbers
)

// burst is the packets that go through the stages together. It belongs to one
// worker and is used again for each burst.
type burst struct {
	pkts     [BurstSize]pkt
	keys     flowtable.Bulk // the lookup of all packets
	segments uint64         // a bit for each packet that is TCP: its flow has a window
	n        int            // packets in pkts
	helped   bool           // a packet has class helpInspect
	final    bool           // no packet may be handed over: it was already, or there is nobody else

	verify    bool // checksums are still to be verified
	bypassing bool // a packet has VerdictBypass
	gathered  bool // a packet is gathered
	asking    bool // sources have to be looked at

	unknown  [BurstSize]uint8       // the packets that have no flow, as far as lookup knows
	unknowns int                    // in unknown
	outlooks [BurstSize + 1]outlook // of the packets in unknown; the last one is spare
	replies  flowtable.Bulk         // the lookup of the reply tuples in outlooks
}

// drop ends a packet's way with a reason.
func (p *pkt) drop(r DropReason) {
	p.verdict, p.reason = VerdictDrop, r
}

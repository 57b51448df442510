package flowtable

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// Verification tags are in window.side[d].end: what packets of direction d carry.
// Bits of Flow.tcp of an SCTP flow:
const (
	sctpInitSent   = 1 << 0 // and << 1 for the reply direction: sent an INIT
	sctpTagFailed  = 1 << 2 // a heartbeat had a wrong tag: perhaps a restart
	sctpFailedFrom = 3      // shift of its direction
)

// association is what a packet may change of an SCTP flow.
type association struct {
	tag   [2]uint32
	bits  uint32
	state uint8
	still bool // the packet does not renew the time-out
}

// sctpChunk is one chunk of a packet.
type sctpChunk struct {
	kind, flags uint8
	body        []byte // what follows its header, as far as the packet has it
}

// nextChunk returns the first chunk of b, and the chunks after it. ok is false at
// the end, and for a chunk that says it is shorter than its own header.
func nextChunk(b []byte) (c sctpChunk, rest []byte, ok bool) {
	const header = 4
	if len(b) < header {
		return c, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < header {
		return c, nil, false
	}
	end := min(n, len(b))
	return sctpChunk{b[0], b[1], b[header:end]}, b[min((n+3)&^3, len(b)):], true
}

// chunksOf returns the set of the types below 64 of a packet's chunks; those above
// have no rules here. It reports false if there are no chunks, or if they may not be
// together: INIT, INIT ACK and
// SHUTDOWN COMPLETE come alone, COOKIE ECHO and COOKIE ACK first (RFC 9260 section
// 6.10).
func chunksOf(b []byte) (set uint64, ok bool) {
	alone, n := false, 0
	for ; len(b) >= 4; n++ {
		c, rest, ok := nextChunk(b)
		if !ok {
			return 0, false
		}
		alone = alone || c.kind == sctpInit || c.kind == sctpInitAck || c.kind == sctpShutdownComplete
		if n > 0 && (alone || c.kind == sctpCookieEcho || c.kind == sctpCookieAck) {
			return 0, false
		}
		set |= 1 << c.kind
		b = rest
		if n > maxChunks {
			return 0, false
		}
	}
	return set, n > 0
}

// maxChunks bounds the walk over a packet: as many fit into the largest one that
// Ethernet carries.
const maxChunks = 400

// sctpChunks returns the chunks of a packet.
func sctpChunks(frame []byte, h *packet.Headers) []byte {
	return frame[min(int(h.L4)+packet.SCTPLen, len(frame)):min(int(h.End), len(frame))]
}

// startSCTP is Start for SCTP: INIT, HEARTBEAT and SHUTDOWN ACK start a flow, and
// all that the table has a state for.
func (tr *Tracker) startSCTP(frame []byte, h *packet.Headers) (uint8, Tick, Invalid) {
	if int(h.L4)+packet.SCTPLen > len(frame) {
		return 0, 0, InvalidTruncated
	}
	b := sctpChunks(frame, h)
	set, ok := chunksOf(b)
	if !ok {
		return 0, 0, InvalidSCTPChunk
	}
	if set&(1<<sctpAbort|1<<sctpShutdownComplete|1<<sctpCookieAck) != 0 {
		return 0, 0, InvalidSCTPNew // out of the blue, RFC 9260 section 8.4
	}
	state := uint8(SCTPNone)
	tag := binary.BigEndian.Uint32(frame[h.L4+4:])
	if (set&untagged == 0 || set&(1<<sctpCookieEcho) != 0) && tag != 0 {
		return 0, 0, InvalidSCTPTag // none is known yet that it could be
	}
	for c, rest, ok := nextChunk(b); ok; c, rest, ok = nextChunk(rest) {
		state = nextSCTP(DirOriginal, c.kind, uint8(SCTPNone))
		if state == uint8(SCTPNone) || state == sIV || c.kind == sctpInit && (tag != 0 || len(c.body) < 4) {
			return 0, 0, InvalidSCTPNew
		}
	}
	return state, tr.Timeouts.SCTP[state], InvalidNone
}

// beginSCTP notes the tags that the packet which made a flow tells.
func (t *Table) beginSCTP(idx uint32, frame []byte, h *packet.Headers) {
	w := &t.windows[idx]
	*w, t.flows[idx].tcp = window{}, 0
	if idx > t.highTCP {
		publish32(&t.highTCP, idx)
	}
	tag := binary.BigEndian.Uint32(frame[h.L4+4:])
	b := sctpChunks(frame, h)
	for c, rest, ok := nextChunk(b); ok; c, rest, ok = nextChunk(rest) {
		switch {
		case c.kind == sctpInit && len(c.body) >= 4:
			w.side[DirReply].end = binary.BigEndian.Uint32(c.body)
			t.flows[idx].tcp |= sctpInitSent
		case c.kind == sctpInitAck && len(c.body) >= 4:
			w.side[DirReply].end = binary.BigEndian.Uint32(c.body)
		case c.kind == sctpHeartbeat, c.kind == sctpHeartbeatAck:
			w.side[DirOriginal].end = tag
		case c.kind == sctpShutdownAck:
			w.side[DirReply].end = tag
		}
	}
}

// untagged are the chunks that have rules of their own for the verification tag when
// they start a flow (RFC 9260 section 8.5.1).
const untagged = 1<<sctpInit | 1<<sctpShutdownComplete | 1<<sctpCookieEcho | 1<<sctpAbort |
	1<<sctpShutdownAck | 1<<sctpHeartbeat | 1<<sctpHeartbeatAck

// advanceSCTP is Advance for SCTP: the verification tag and the table, chunk by
// chunk.
func (tr *Tracker) advanceSCTP(t *Table, idx uint32, d Dir, frame []byte, h *packet.Headers, now Tick) Step {
	if int(h.L4)+packet.SCTPLen > len(frame) {
		return Step{Cause: InvalidTruncated}
	}
	b := sctpChunks(frame, h)
	set, ok := chunksOf(b)
	if !ok {
		return Step{Cause: InvalidSCTPChunk}
	}
	f, w := &t.flows[idx], &t.windows[idx]
	a := association{tag: [2]uint32{w.side[0].end, w.side[1].end}, bits: f.tcp, state: f.State()}
	tag := binary.BigEndian.Uint32(frame[h.L4+4:])
	for c, rest, ok := nextChunk(b); ok; c, rest, ok = nextChunk(rest) {
		if cause := a.apply(d&1, &c, tag, set); cause != InvalidNone {
			return Step{Cause: cause}
		}
	}
	w.side[0].end, w.side[1].end, f.tcp = a.tag[0], a.tag[1], a.bits
	step := Step{Outcome: OutcomeAccept}
	if a.state != f.State() {
		step.Changes = ChangeState
		f.SetState(a.state)
		if a.state == uint8(SCTPEstablished) {
			step.Changes |= f.assure()
		}
	}
	if a.still {
		step.Outcome = OutcomeIgnore
		return step
	}
	t.Refresh(idx, tr.Timeouts.SCTP[min(a.state, uint8(sctpStates)-1)], now)
	return step
}

// apply applies one chunk.
func (a *association) apply(d Dir, c *sctpChunk, tag uint32, set uint64) Invalid {
	if !a.fits(d, c, tag) {
		return InvalidSCTPTag
	}
	switch c.kind {
	case sctpCookieAck:
		a.bits &^= sctpInitSent | sctpInitSent<<1
	case sctpHeartbeat, sctpHeartbeatAck:
		switch {
		case a.tag[d] == 0:
			a.tag[d] = tag
		case tag == a.tag[d]:
			a.bits &^= sctpTagFailed
		case set&1 != 0 || a.still: // with DATA
			return InvalidSCTPTag
		case c.kind == sctpHeartbeat:
			a.bits = a.bits&^(1<<sctpFailedFrom) | sctpTagFailed | uint32(d)<<sctpFailedFrom
			a.still = true
			return InvalidNone
		case a.bits&sctpTagFailed == 0 || a.bits>>sctpFailedFrom&1 == uint32(d):
			return InvalidSCTPTag
		default: // both have new tags: a restart
			a.bits &^= sctpTagFailed
			a.tag[d], a.tag[d^1] = tag, 0
		}
	}
	next := nextSCTP(d, c.kind, a.state)
	if next == sIV {
		return InvalidSCTPState
	}
	if c.kind == sctpInit || c.kind == sctpInitAck {
		if len(c.body) < 4 {
			return InvalidSCTPChunk
		}
		if !a.learn(d, c, next) {
			return InvalidSCTPTag
		}
	}
	a.state = next
	return InvalidNone
}

// fits checks the tag by the rules of single chunks: 0 with INIT, that of either
// side with ABORT and SHUTDOWN COMPLETE, as their T bit says. Any other has to have the
// right one, whatever is bundled with it: else a HEARTBEAT with a wrong tag would make
// way for a SHUTDOWN of somebody who does not know it (the kernel lets that in).
func (a *association) fits(d Dir, c *sctpChunk, tag uint32) bool {
	switch c.kind {
	case sctpInit:
		return tag == 0
	case sctpAbort, sctpShutdownComplete:
		return tag == a.tag[d^Dir(c.flags&1)]
	case sctpHeartbeat, sctpHeartbeatAck: // see apply
		return true
	case sctpShutdownAck: // perhaps after a restart, RFC 9260 section 8.4
		return true
	}
	return tag == a.tag[d]
}

// learn notes the tag that an INIT or INIT ACK announces for the other direction.
func (a *association) learn(d Dir, c *sctpChunk, next uint8) bool {
	announced := binary.BigEndian.Uint32(c.body)
	mine, theirs := uint32(sctpInitSent<<d), uint32(sctpInitSent<<(d^1))
	if c.kind == sctpInit {
		if a.bits&mine != 0 {
			a.bits &^= theirs
		}
		a.bits |= mine
		// A repeated INIT does not renew the time-out, or the reuse of a port would
		// keep the flow for ever.
		a.still = a.still || next == aCL && a.state == aCL
	} else if a.tag[d^1] != announced {
		both := a.bits&mine != 0 && a.bits&theirs != 0
		if both || a.bits&theirs == 0 && a.tag[d^1] != 0 {
			return false
		}
	}
	a.tag[d^1] = announced
	return true
}

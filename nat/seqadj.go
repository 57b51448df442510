package nat

import (
	"encoding/binary"
	"math"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// TCP option kinds (RFC 9293 section 3.1, RFC 2018 section 3).
const (
	optionEnd  = 0
	optionNop  = 1
	optionSACK = 5
)

// after tells whether sequence number a is later than b, across a wrap.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// AddSeqChange records a change of text in direction d: all that follows is
// then shifted. c.Offset is set here; the change must lie after all others.
//
// acked is up to where the receiver has acknowledged the stream, in the sender's
// numbers. The oldest change is forgotten if there are too many; if that is not
// acknowledged, nothing is recorded and ok is false: the caller must not send
// the change now. So every byte that can be retransmitted is shifted as it was
// the first time, however many changes a connection sees.
//
// The caller sets StatusSeqAdjust on the flow, if any length has changed.
func AddSeqChange(ext *flowtable.Ext, d flowtable.Dir, c flowtable.SeqChange, acked uint32) (ok bool) {
	s := &ext.SeqAdj[d]
	if s.Full(acked) {
		return false
	}
	c.Offset = s.Base
	if n := min(s.N, flowtable.SeqChanges); n > 0 {
		c.Offset = s.Changes[n-1].Offset
	}
	c.Offset += int32(c.New) - int32(c.Old)
	if s.N == flowtable.SeqChanges {
		oldest := &s.Changes[0]
		s.Base, s.Floor, s.Forgotten = oldest.Offset, oldest.Start+uint32(oldest.Old), true
		copy(s.Changes[:], s.Changes[1:])
		s.N--
	}
	s.Changes[s.N] = c
	s.N++
	return true
}

// shift returns by how much the byte at the sender's seq is shifted.
func shift(seq uint32, s *flowtable.SeqAdj) uint32 {
	for i := min(s.N, flowtable.SeqChanges); i > 0; i-- {
		if c := &s.Changes[i-1]; !after(c.Start+uint32(c.Old), seq) {
			return uint32(c.Offset)
		}
	}
	return uint32(s.Base)
}

// AdjustTCP changes the sequence number of a segment of direction d into what
// its receiver expects, and the acknowledgement and SACK blocks into what
// their receiver sent, and mends the checksum
// (nf_ct_seq_adjust, net/netfilter/nf_conntrack_seqadj.c). The urgent pointer, which
// the kernel leaves alone, still points to the same byte.
//
// Precondition: h is of a TCP segment that is no later fragment.
//
// Hot: once per packet of a flow with StatusSeqAdjust. 0 allocs.
func AdjustTCP(frame []byte, h *packet.Headers, ext *flowtable.Ext, d flowtable.Dir) {
	if h.Proto != packet.ProtoTCP || h.Fragment == packet.FragmentLater {
		return
	}
	this, other := &ext.SeqAdj[d], &ext.SeqAdj[d.Opposite()]
	t := packet.TCP(frame[h.L4:h.Payload])
	var change packet.Delta
	if t.Flags()&packet.URG != 0 {
		change = adjustUrgent(t, this, change)
	}
	change = add32(t[4:8], shift(t.Seq(), this), 0, change)
	if t.Flags()&packet.ACK != 0 {
		change = add32(t[8:12], other.Sent(t.Ack())-t.Ack(), 0, change)
		change = adjustSACK(t, other, change)
	}
	t.SetChecksum(change.Apply(t.Checksum()))
}

// adjustUrgent adds to the urgent pointer by how much the text between the start of
// the segment and the byte that it points to has grown. That byte may be in a later segment.
//
// Precondition: the sequence number is still the sender's own.
func adjustUrgent(t packet.TCP, s *flowtable.SeqAdj, d packet.Delta) packet.Delta {
	seq, old := t.Seq(), t.Urgent()
	urgent := int32(old) + int32(shift(seq+uint32(old), s)-shift(seq, s))
	t.SetUrgent(uint16(min(max(urgent, 0), math.MaxUint16)))
	return d.Add16(old, t.Urgent())
}

// add32 adds v to the 32-bit number in b and its change to d. odd is the
// parity of b's place in the segment.
func add32(b []byte, v uint32, odd int, d packet.Delta) packet.Delta {
	if v == 0 {
		return d
	}
	old := binary.BigEndian.Uint32(b)
	sum := old + v
	binary.BigEndian.PutUint32(b, sum)
	if odd != 0 { // words straddle: their bytes count swapped
		old, sum = old<<8|old>>24, sum<<8|sum>>24
	}
	return d.Add16(uint16(old>>16), uint16(sum>>16)).Add16(uint16(old), uint16(sum))
}

// adjustSACK changes the edges of all SACK blocks (RFC 2018 section 3), which
// count in numbers of the other direction.
func adjustSACK(t packet.TCP, other *flowtable.SeqAdj, d packet.Delta) packet.Delta {
	for i := packet.TCPMinLen; i < len(t); {
		if t[i] == optionEnd {
			break
		}
		if t[i] == optionNop {
			i++
			continue
		}
		if i+1 >= len(t) {
			break
		}
		n := int(t[i+1])
		if n < 2 || i+n > len(t) {
			break
		}
		if t[i] == optionSACK {
			for k := i + 2; k+4 <= i+n; k += 4 {
				edge := t[k : k+4]
				n := binary.BigEndian.Uint32(edge)
				d = add32(edge, other.Sent(n)-n, k&1, d)
			}
		}
		i += n
	}
	return d
}

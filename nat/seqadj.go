package nat

import (
	"encoding/binary"

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

// SetSeqAdj records that the text of direction d which starts at sequence
// number seq, as its sender counts, grew by delta bytes (shrank, if negative).
// All later data of d is then shifted. A repetition of the same or an earlier
// seq changes nothing, so a retransmitted segment is not counted twice
// (nf_ct_seqadj_set, net/netfilter/nf_conntrack_seqadj.c).
//
// One change at a time can be told apart: data sent before the last but one
// change and retransmitted after the last one is shifted wrongly. FTP waits
// for the answer to each command, so this cannot happen to its control flows.
//
// The caller sets StatusSeqAdjust on the flow.
func SetSeqAdj(ext *flowtable.Ext, d flowtable.Dir, seq uint32, delta int32) {
	if delta == 0 {
		return
	}
	s := &ext.SeqAdj[d]
	if s.OffsetBefore == s.OffsetAfter || after(seq, s.CorrectionPos) {
		s.CorrectionPos = seq
		s.OffsetBefore = s.OffsetAfter
		s.OffsetAfter += delta
	}
}

// AdjustTCP changes the sequence number of a segment of direction d into what
// its receiver expects, and the acknowledgement and SACK blocks into what
// their receiver sent, and mends the checksum
// (nf_ct_seq_adjust, net/netfilter/nf_conntrack_seqadj.c).
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
	shift := this.OffsetBefore
	if after(t.Seq(), this.CorrectionPos) {
		shift = this.OffsetAfter
	}
	change = add32(t[4:8], uint32(shift), 0, change)
	if t.Flags()&packet.ACK != 0 {
		change = add32(t[8:12], other.Sent(t.Ack())-t.Ack(), 0, change)
		change = adjustSACK(t, other, change)
	}
	t.SetChecksum(change.Apply(t.Checksum()))
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

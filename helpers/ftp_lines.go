package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
)

// ftpState is what the FTP helper remembers of a flow: a view of Ext.Data.
//
//	word 0, 1   sequence numbers right after a newline, original direction
//	word 2, 3   the same, reply direction
//	word 4      flags
//	word 5, 6   sequence number of the last rewritten or announced line, by direction
//	word 7, 8   its announced port << 16 | port that the other side sees
//
// Sequence numbers are the sender's own, before adjustment.
type ftpState [12]uint32

const (
	ftpFlags    = 4
	ftpLastSeq  = 5
	ftpLastPort = 7
)

// Bits of the flags word; those by direction are shifted by flagShift*dir.
const (
	flagShift    = 8
	flagLineA    = 1 << 0 // the first newline of the direction is valid
	flagLineB    = 1 << 1 // the second newline of the direction is valid
	flagLast     = 1 << 2 // the last line of the direction is valid
	flagDirMask  = flagLineA | flagLineB | flagLast
	flagTLS      = 1 << 16 // the flow turned to TLS
	linesPerSide = 2       // NUM_SEQ_TO_REMEMBER, include/linux/netfilter/nf_conntrack_ftp.h
)

func (s *ftpState) has(d flowtable.Dir, flag uint32) bool {
	return s[ftpFlags]&(flag<<(flagShift*d)) != 0
}

func (s *ftpState) set(d flowtable.Dir, flag uint32) { s[ftpFlags] |= flag << (flagShift * d) }

// start forgets what is known of a direction: its data starts at seq.
func (s *ftpState) start(d flowtable.Dir, seq uint32) {
	s[ftpFlags] &^= flagDirMask << (flagShift * d)
	s[linesPerSide*int(d)] = seq
	s.set(d, flagLineA)
}

// before tells whether sequence number a is earlier than b, across a wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// endLine remembers that a newline of direction d ends right before seq. Of
// two others the older one is forgotten (update_nl_seq, nf_conntrack_ftp.c).
func (s *ftpState) endLine(d flowtable.Dir, seq uint32) {
	line := s[linesPerSide*int(d):][:linesPerSide]
	hasA, hasB := s.has(d, flagLineA), s.has(d, flagLineB)
	switch {
	case hasA && line[0] == seq || hasB && line[1] == seq:
	case !hasA:
		line[0] = seq
		s.set(d, flagLineA)
	case !hasB:
		line[1] = seq
		s.set(d, flagLineB)
	default:
		oldest := 1
		if before(line[0], line[1]) {
			oldest = 0
		}
		if before(line[oldest], seq) {
			line[oldest] = seq
		}
	}
}

// lineStarts returns the offsets of the known line starts within a segment of
// n bytes at seq, in rising order. An offset above 0 means that the sender
// joined data that it sent in several segments before.
func (s *ftpState) lineStarts(d flowtable.Dir, seq uint32, n int) (starts [linesPerSide + 1]int, count int) {
	line := s[linesPerSide*int(d):]
	if s.has(d, flagLineA) {
		count = insertStart(&starts, count, line[0]-seq, n)
	}
	if s.has(d, flagLineB) {
		count = insertStart(&starts, count, line[1]-seq, n)
	}
	if s.has(d, flagLast) {
		count = insertStart(&starts, count, s[ftpLastSeq+int(d)]-seq, n)
	}
	return starts, count
}

// insertStart adds offset k to the first count sorted starts, unless it lies
// outside of n bytes or is there already, and returns the new count.
func insertStart(starts *[linesPerSide + 1]int, count int, k uint32, n int) int {
	if k >= uint32(n) {
		return count
	}
	i := 0
	for i < count && starts[i] < int(k) {
		i++
	}
	if i < count && starts[i] == int(k) {
		return count
	}
	copy(starts[i+1:], starts[i:count])
	starts[i] = int(k)
	return count + 1
}

// last returns the last line of direction d that was announced or rewritten.
func (s *ftpState) last(d flowtable.Dir) (seq uint32, announced, seen uint16, ok bool) {
	p := s[ftpLastPort+int(d)]
	return s[ftpLastSeq+int(d)], uint16(p >> 16), uint16(p), s.has(d, flagLast)
}

func (s *ftpState) setLast(d flowtable.Dir, seq uint32, announced, seen uint16) {
	s[ftpLastSeq+int(d)] = seq
	s[ftpLastPort+int(d)] = uint32(announced)<<16 | uint32(seen)
	s.set(d, flagLast)
}

package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
)

// ftpState is what the FTP helper remembers of a flow: a view of Ext.Data. The
// start of a line that is not complete is in Ext.Text.
//
//	word 0, 1   up to where the text was read, by direction
//	word 2      flags
//	word 3, 4   up to where the receiver has acknowledged, by direction
//	word 5      rate limit (allowance)
//	word 6      digits of the reply of several lines that is not over; 0 = none
//
// Sequence numbers are the sender's own, before adjustment.
type ftpState [7]uint32

const (
	ftpFlags = 2
	ftpAcked = 3
	ftpRate  = 5
	ftpMulti = 6
)

// Bits of the flags word.
const (
	// By direction, shifted by flagShift*dir.
	flagSynced  = 1 << 0 // word 0 or 1 is valid
	flagLine    = 1 << 1 // a line starts there
	flagSeen    = 1 << 2 // a line was seen to be FTP
	flagFresh   = 1 << 3 // the direction was seen from its first byte on
	flagOpen    = 1 << 4 // the line that is not over has not been classified
	flagDirMask = 1<<flagShift - 1
	flagShift   = 8

	flagTLS    = 1 << 16 // the flow turned to TLS
	flagNotFTP = 1 << 17 // the flow is not FTP

	// The start of a line in Ext.Text.
	heldPassed     = 1 << 18 // it was forwarded; else it was kept back
	heldReplyShift = 19      // 1 if it is of the reply direction
	heldTriesShift = 20      // how often it came again, 2 bits
	heldLenShift   = 24      // its length in bytes, 0 = none
	heldMask       = 0xff<<heldLenShift | 3<<heldTriesShift | 1<<heldReplyShift | heldPassed
)

// maxTries is how often a piece of a command may come alone before it is
// forwarded as it is: its sender waits for an acknowledgement before the rest.
const maxTries = 2

func (s *ftpState) has(d flowtable.Dir, flag uint32) bool {
	return s[ftpFlags]&(flag<<(flagShift*d)) != 0
}

func (s *ftpState) set(d flowtable.Dir, flag uint32) { s[ftpFlags] |= flag << (flagShift * d) }

func (s *ftpState) clear(d flowtable.Dir, flag uint32) { s[ftpFlags] &^= flag << (flagShift * d) }

// reads tells whether the flow's text is read.
func (s *ftpState) reads() bool { return s[ftpFlags]&(flagTLS|flagNotFTP) == 0 }

// start forgets what is known of a direction: its first byte will be at seq.
func (s *ftpState) start(d flowtable.Dir, seq uint32) {
	s.clear(d, flagDirMask)
	s.syncAt(d, seq)
	s.set(d, flagLine|flagFresh)
	s[ftpAcked+int(d)] = seq
}

// syncAt continues to read at seq, which is within a line as far as is known.
func (s *ftpState) syncAt(d flowtable.Dir, seq uint32) {
	s[d] = seq
	s.clear(d, flagLine|flagOpen)
	s.set(d, flagSynced)
	if s.holds(d) {
		s.release()
	}
}

// before tells whether sequence number a is earlier than b, across a wrap.
func before(a, b uint32) bool { return int32(a-b) < 0 }

// acknowledged notes that the receiver of direction d has all before seq. What
// the helper never saw, because it went another way or began with the SYN,
// cannot be read any more.
func (s *ftpState) acknowledged(d flowtable.Dir, seq uint32) {
	if !s.has(d, flagSynced) {
		return
	}
	if before(s[ftpAcked+int(d)], seq) {
		s[ftpAcked+int(d)] = seq
	}
	if before(s[d], seq) {
		s.syncAt(d, seq)
	}
}

// advance notes that n bytes were read, and whether they ended a line.
func (s *ftpState) advance(d flowtable.Dir, n int, ended bool) {
	if s.holds(d) && !s.passed() { // it came again, with more
		s.release()
	}
	s[d] += uint32(n)
	if ended {
		s.set(d, flagLine)
		s.clear(d, flagOpen)
	} else {
		s.clear(d, flagLine)
	}
}

// holds tells whether the start of a line of direction d is held.
func (s *ftpState) holds(d flowtable.Dir) bool {
	return s.heldLen() != 0 && s[ftpFlags]>>heldReplyShift&1 == uint32(d)
}

func (s *ftpState) heldLen() int { return int(s[ftpFlags] >> heldLenShift) }

func (s *ftpState) passed() bool { return s[ftpFlags]&heldPassed != 0 }

// release forgets what is held.
func (s *ftpState) release() { s[ftpFlags] &^= heldMask }

// hold keeps the start of a line, or forgets it if that is too long. There is
// room for one in a flow: the other side's is lost.
func (s *ftpState) hold(ext *flowtable.Ext, d flowtable.Dir, b []byte, passed bool, tries uint32) bool {
	s.release()
	if len(b) > len(ext.Text) {
		return false
	}
	copy(ext.Text[:], b)
	s[ftpFlags] |= uint32(len(b))<<heldLenShift | tries<<heldTriesShift | uint32(d)<<heldReplyShift
	if passed {
		s[ftpFlags] |= heldPassed
	}
	return true
}

// tries returns how often the n bytes that are kept back have come again.
func (s *ftpState) tries(d flowtable.Dir, n int) uint32 {
	if !s.holds(d) || s.passed() || s.heldLen() != n {
		return 0
	}
	return s[ftpFlags]>>heldTriesShift&3 + 1
}

// spend takes one announcement from the flow's allowance; false = there is none.
func (s *ftpState) spend(now flowtable.Tick) bool { return (*allowance)(&s[ftpRate]).spend(now) }

package flowtable

// FlowID names a flow across tables: an index alone is reused.
type FlowID struct {
	// Index of the record in the table of the worker; 0 = none.
	Index uint32
	// Gen is Table.Gen when the id was taken.
	Gen uint32
	// Worker is the number of the worker that owns the table.
	Worker uint8
}

// SeqChanges is how many changes of text SeqAdj remembers in each direction. The
// kernel remembers one (struct nf_ct_seqadj), and shifts wrongly what is
// retransmitted from before the last but one.
const SeqChanges = 3

// SeqChange is a piece of text that a helper replaced. Sequence numbers are the
// sender's own, host order.
type SeqChange struct {
	// Start is the sequence number of the first byte that was replaced.
	Start uint32
	// Offset is by how much all that follows is shifted, in bytes.
	Offset int32
	// Old and New are the lengths before and after, in bytes.
	Old, New uint8
	// Data belongs to the helper, which has to make the same text again when
	// the segment is retransmitted.
	Data uint16
}

// SeqAdj is how the sequence numbers of one direction are adjusted: what comes
// before all remembered changes by Base, what follows one by its Offset.
type SeqAdj struct {
	// Changes are the last ones, in the order of their place in the stream;
	// the first N are valid.
	Changes [SeqChanges]SeqChange
	// Base is in bytes.
	Base int32
	// Floor is where the last change that was forgotten ended, if any was
	// (Forgotten). What comes before was acknowledged, and must not be
	// sent again.
	Floor     uint32
	N         uint8
	Forgotten bool
}

// Full tells whether another change would make a change be forgotten that the
// receiver, which has acknowledged all up to acked, may still have to be sent.
func (s *SeqAdj) Full(acked uint32) bool {
	oldest := &s.Changes[0]
	return s.N >= SeqChanges && int32(oldest.Start+uint32(oldest.Old)-acked) > 0
}

// Sent returns what a number was that the receiver sees as n, when it was sent.
// One within a changed text becomes the place where that starts, so that the
// sender repeats the whole.
func (s *SeqAdj) Sent(n uint32) uint32 {
	for i := min(s.N, SeqChanges); i > 0; i-- {
		c := &s.Changes[i-1]
		end := c.Start + uint32(c.Old) + uint32(c.Offset)
		switch {
		case int32(n-end) >= 0:
			return n - uint32(c.Offset)
		case int32(n-(end-uint32(c.New))) > 0:
			return c.Start
		}
	}
	return n - uint32(s.Base)
}

// extSize is the size of an extension record in bytes.
const extSize = 192

// Ext is what few flows need: off-heap, no pointers, 192 bytes. Owner: worker;
// other threads see Helper and Master through Table.Read.
type Ext struct {
	// Helper is the number of the helper that sees the payload; 0 = none.
	Helper uint8
	_      [3]uint8
	// Master is the flow whose helper announced this one; Index 0 = none.
	Master FlowID
	// SeqAdj is indexed by Dir. Valid iff StatusSeqAdjust.
	SeqAdj [2]SeqAdj
	// Expect is the ID of the last expectation that this flow's helper made, which
	// may be pending; 0 = it has made none.
	Expect uint32
	// Data and Text belong to the helper.
	Data [7]uint32
	Text [44]uint8
	// next links free records.
	next uint32
}

// flowsPerExt is how many flows share an extension record. Control connections of
// helpers, and the flows that they announce, take one each: 16,000 FTP sessions
// with a transfer each, in a table of a million flows. So a flow pays for 6 bytes
// at most, and only for those that were ever in use (see MemoryBytes).
const flowsPerExt = 32

// extCount returns the number of extension records for a table.
func extCount(maxFlows int) int { return max(maxFlows/flowsPerExt, 1024) }

// Ext returns the extension record of a flow, nil if it has none.
func (t *Table) Ext(idx uint32) *Ext {
	e := t.flows[idx].Ext
	if e == 0 {
		return nil
	}
	return &t.exts[e]
}

// AddExt gives a flow a zeroed extension record and returns it, or the one it
// has; nil if all are in use (one for 32 flows, at least 1024).
func (t *Table) AddExt(idx uint32) *Ext {
	if e := t.Ext(idx); e != nil {
		return e
	}
	e := t.takeExt()
	if e == 0 {
		return nil
	}
	publish32(&t.flows[idx].Ext, e)
	return &t.exts[e]
}

// Extend gives a new flow, which has no extension record yet, its helper (0 = none)
// and the flow that announced it (Index 0 = none). Readers see either nothing or the
// whole of it. It reports false if all extension records are in use.
func (t *Table) Extend(idx uint32, helper uint8, master FlowID) bool {
	e := t.takeExt()
	if e == 0 {
		return false
	}
	t.exts[e].Helper, t.exts[e].Master = helper, master
	publish32(&t.flows[idx].Ext, e)
	return true
}

// takeExt takes a zeroed extension record; 0 if all are in use.
func (t *Table) takeExt() uint32 {
	e := t.freeExt
	switch {
	case e != 0:
		t.freeExt = t.exts[e].next
	case int(t.extsUsed)+1 < len(t.exts):
		e = t.extsUsed + 1
		publish32(&t.extsUsed, e)
	default:
		return 0
	}
	t.exts[e] = Ext{}
	return e
}

// releaseExt puts an extension record on the free list.
func (t *Table) releaseExt(e uint32) {
	t.exts[e].next = t.freeExt
	t.freeExt = e
}

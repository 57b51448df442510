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

// SeqAdj is how the sequence numbers of one direction are adjusted (kernel:
// struct nf_ct_seqadj): those after CorrectionPos by OffsetAfter, else by
// OffsetBefore. Host order.
type SeqAdj struct {
	// CorrectionPos is the sequence number of the last change of length.
	CorrectionPos uint32
	// OffsetBefore and OffsetAfter are in bytes.
	OffsetBefore, OffsetAfter int32
}

// Sent returns what a number was that the receiver sees as n, when it was sent.
func (s *SeqAdj) Sent(n uint32) uint32 {
	if after(n-uint32(s.OffsetBefore), s.CorrectionPos) {
		return n - uint32(s.OffsetAfter)
	}
	return n - uint32(s.OffsetBefore)
}

// extSize is the size of an extension record in bytes.
const extSize = 128

// Ext is what few flows need: off-heap, no pointers, 128 bytes. Owner: worker;
// other threads see Helper and Master through Table.Read.
type Ext struct {
	// Helper is the number of the helper that sees the payload; 0 = none.
	Helper uint8
	_      [3]uint8
	// Master is the flow whose helper announced this one; Index 0 = none.
	Master FlowID
	// SeqAdj is indexed by Dir. Valid iff StatusSeqAdjust.
	SeqAdj [2]SeqAdj
	// Expect is the ID of the pending expectation of this flow; 0 = none.
	Expect uint32
	// Data belongs to the helper.
	Data [12]uint32
	// next links free records.
	next uint32
	_    [32]uint8
}

// flowsPerExt is how many flows share an extension record. Control connections of
// helpers, and the flows that they announce, take one each: 16,000 FTP sessions
// with a transfer each, in a table of a million flows. So a flow pays for 4 bytes
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

// SetMaster records which flow announced this one. Readers see either no
// master or the whole of it. It reports false if all extension records are in
// use. The flow must be new: it has no extension yet.
func (t *Table) SetMaster(idx uint32, master FlowID) bool {
	e := t.takeExt()
	if e == 0 {
		return false
	}
	t.exts[e].Master = master
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

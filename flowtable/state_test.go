package flowtable

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/packet"
)

// fillValue gives every number in v, however deep and hidden, a value of its own
// that is not zero.
func fillValue(t *testing.T, v reflect.Value, next *uint64) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "_" {
				continue
			}
			f := v.Field(i)
			fillValue(t, reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem(), next)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillValue(t, v.Index(i), next)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		*next++
		v.SetUint(*next%250 + 1)
		if v.Kind() != reflect.Uint8 {
			v.SetUint(*next<<8 | 0x55)
		}
	case reflect.Int32, reflect.Int64:
		*next++
		v.SetInt(-int64(*next<<8 | 0x55))
	default:
		t.Fatalf("do not know how to fill %s", v.Type())
	}
}

// filled returns a T none of whose numbers is zero.
func filled[T any](t *testing.T) T {
	t.Helper()
	var v T
	next := uint64(0)
	fillValue(t, reflect.ValueOf(&v).Elem(), &next)
	return v
}

// hidden lets cmp look into all types of this package.
var hidden = cmp.Exporter(func(reflect.Type) bool { return true })

// legal makes a filled flow one that may be restored.
func legal(s *SavedFlow) {
	s.Orig.Proto, s.Orig.Family = packet.ProtoTCP, packet.IPv6
	s.Reply.Proto, s.Reply.Family = s.Orig.Proto, s.Orig.Family
	s.State, s.Status = uint8(TCPEstablished), savedStatus
	s.Timeout = min(s.Timeout, MaxTimeout)
	orderly(&s.Ext)
	s.Ext.next, s.window = 0, window{side: s.window.side, lastSeq: s.window.lastSeq, lastAck: s.window.lastAck,
		lastEnd: s.window.lastEnd, lastWin: s.window.lastWin, retrans: s.window.retrans}
}

// orderly makes the changes of text in a filled record follow each other.
func orderly(x *Ext) {
	for d := range x.SeqAdj {
		a := &x.SeqAdj[d]
		a.N = SeqChanges
		shift := a.Base
		for i := range a.Changes {
			c := &a.Changes[i]
			c.Start, c.Old, c.New = 0xffffff00+uint32(1000*i), uint8(9+d), uint8(11+i)
			shift += int32(c.New) - int32(c.Old)
			c.Offset = shift
		}
	}
}

// written returns a state file with one flow and one expectation.
func written(t testing.TB, s *SavedFlow, e *Expectation) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewStateWriter(&out, time.Unix(1700000000, 5))
	if s != nil {
		w.Flow(s)
	}
	if e != nil {
		w.Expectation(e, 1000)
	}
	if err := w.Close(77); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readAll reads a state file to its end.
func readAll(b []byte, each func(StateRecord, *StateReader)) error {
	r, err := NewStateReader(bytes.NewReader(b))
	for err == nil {
		var kind StateRecord
		if kind, err = r.Next(); err != nil {
			break
		}
		each(kind, r)
		if kind == StateEnd {
			return nil
		}
	}
	return err
}

// Whatever field a flow or an expectation gets, it is in the file.
func TestEveryFieldOfASavedFlowIsInTheFile(t *testing.T) {
	s, e := filled[SavedFlow](t), filled[Expectation](t)
	legal(&s)
	e.Tuple.Family, e.MasterOrig.Family, e.Dir = packet.IPv6, packet.IPv4, DirReply
	e.MasterOrig.Src.Hi, e.MasterOrig.Dst.Hi = 0, 0
	e.Deadline = 5000
	var kinds []StateRecord
	err := readAll(written(t, &s, &e), func(kind StateRecord, r *StateReader) {
		kinds = append(kinds, kind)
		switch kind {
		case StateFlow:
			if diff := cmp.Diff(s, r.Flow, hidden); diff != "" {
				t.Errorf("flow (-saved +read):\n%s", diff)
			}
		case StateExpectation:
			want := e
			want.Deadline = 4000 // from the time of saving
			if diff := cmp.Diff(want, r.Expectation, hidden); diff != "" {
				t.Errorf("expectation (-saved +read):\n%s", diff)
			}
		case StateEnd:
			if r.LastID != 77 || !r.Saved.Equal(time.Unix(1700000000, 5)) {
				t.Errorf("last id %d, saved %v", r.LastID, r.Saved)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []StateRecord{StateFlow, StateExpectation, StateEnd}; !slices.Equal(kinds, want) {
		t.Errorf("records %v, want %v", kinds, want)
	}
}

// newFullTable makes a table that keeps all that tables can keep.
func newFullTable(t *testing.T) *Table {
	t.Helper()
	tb, err := New(Options{MaxFlows: 2000, Accounting: true, Timestamps: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tb.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := tb.KeepIDs(); err != nil {
		t.Fatal(err)
	}
	return tb
}

// flowState is all that a table has of a flow.
type flowState struct {
	Flow    Flow
	Ext     Ext
	Window  window
	Account account
	Start   uint64
}

// stateOf returns all that a table has of a flow, without what follows from its
// place in the table and from the rest of the gateway.
func stateOf(tb *Table, idx uint32) flowState {
	s := flowState{tb.flows[idx], *tb.Ext(idx), tb.windows[idx], tb.accounts[idx], tb.starts[idx]}
	f := &s.Flow
	f.gen, f.next, f.Ext, f.NextHop, f.NextHopGen = 0, 0, 0, [2]uint16{}, 0
	f.SetHolds(0)
	s.Ext.next = 0
	return s
}

// Whatever a table has of a flow, another table has after a restart: fill all of a
// record, whatever it has.
func TestAFlowIsTheSameAfterARestart(t *testing.T) {
	const now, restarted = 5000, 90
	from, to := newFullTable(t), newFullTable(t)
	for range 7 { // so that indices and generations differ
		idx := insertNth(t, from, 100, now)
		from.Remove(idx)
	}
	idx := insertNth(t, from, 1, now)
	if from.AddExt(idx) == nil {
		t.Fatal("no extension")
	}
	f, saved := &from.flows[idx], from.flows[idx]
	*f = filled[Flow](t)
	f.gen, f.addr, f.ports, f.Ext = saved.gen, saved.addr, saved.ports, saved.Ext
	f.meta = saved.meta&metaClassMask | uint64(StatusAssured|StatusSeqAdjust)<<metaStatusShift | 4321 | uint64(TCPFinWait)<<metaStateShift
	f.LastSeen, f.Created = now-100, now-3000
	*from.Ext(idx) = filled[Ext](t)
	orderly(from.Ext(idx))
	from.windows[idx], from.accounts[idx], from.starts[idx] = filled[window](t), filled[account](t), 99

	var s SavedFlow
	if !from.Save(idx, 3, now, &s) {
		t.Fatal("not saved")
	}
	var got uint32
	if err := readAll(written(t, &s, nil), func(kind StateRecord, r *StateReader) {
		if kind == StateFlow {
			var result InsertResult
			if got, result = to.Restore(&r.Flow, restarted); result != InsertOK {
				t.Fatalf("restored: %v", result)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	want, have := stateOf(from, idx), stateOf(to, got)
	want.Flow.LastSeen, want.Flow.Created = restarted+want.Flow.LastSeen-now, restarted+want.Flow.Created-now
	if diff := cmp.Diff(want, have, hidden); diff != "" {
		t.Errorf("before and after (-before +after):\n%s", diff)
	}
	checkListed(t, from, idx, now, to, got, restarted)
}

// checkListed: the flow is found, listed and expires as before.
func checkListed(t *testing.T, from *Table, old uint32, before Tick, to *Table, idx uint32, after Tick) {
	t.Helper()
	var a, b Snapshot
	if !from.Read(old, before, &a) || !to.Read(idx, after, &b) {
		t.Fatal("not listed")
	}
	if a.ID != b.ID || a.Timeout != b.Timeout {
		t.Errorf("id %d, then %d; %d s left, then %d", a.ID, b.ID, a.Timeout, b.Timeout)
	}
	for d, tu := range [2]Tuple{a.Orig, a.Reply} {
		if r := to.Lookup(&tu, to.Hash(&tu), after); r != RefOf(idx, Dir(d)) {
			t.Errorf("direction %d leads to %v", d, r)
		}
	}
	deadline := to.Flow(idx).Deadline()
	budget := 1 << 20
	var e Expired
	if to.Expired(deadline-1, &budget, &e); e.N != 0 {
		t.Error("expired before its time")
	}
	for now := deadline; e.N == 0; now++ {
		if now > deadline+2*lap {
			t.Fatal("never expires")
		}
		to.Expired(now, &budget, &e)
	}
	to.Remove(idx)
	if again, _ := to.Insert(&a.Orig, &a.Reply, after); to.ID(again, 0).Index == idx && to.flowID(again, to.Gen(again)) == a.ID {
		t.Error("a new flow has the old one's id")
	}
}

// A table with an array more has to say what becomes of it.
func TestAllArraysOfATableAreKnown(t *testing.T) {
	saved := []string{"buckets", "flows", "addrs6", "exts", "windows", "accounts", "starts", "keptIDs"}
	for f := range reflect.TypeFor[Table]().Fields() {
		if f.Type.Kind() == reflect.Slice && !slices.Contains(saved, f.Name) {
			t.Errorf("Table.%s: is it to be saved?", f.Name)
		}
	}
}

// insertNth inserts a TCP flow.
func insertNth(t *testing.T, tb *Table, n int, now Tick) uint32 {
	t.Helper()
	orig := Tuple{Src: packet.Addr{Lo: uint64(n)}, Dst: packet.Addr{Lo: 1}, SrcPort: 4000, DstPort: 80,
		Proto: packet.ProtoTCP, Family: packet.IPv4}
	reply := orig.Invert()
	idx, r := tb.Add(&NewFlow{Orig: &orig, Reply: &reply, Keys: Keys{tb.Hash(&orig), tb.Hash(&reply)}, Timeout: 160}, now)
	if r != InsertOK {
		t.Fatal(r)
	}
	return idx
}

// What has no time left is not saved, and a full table says so.
func TestWhatIsNotSavedOrRestored(t *testing.T) {
	from := newFullTable(t)
	idx := insertNth(t, from, 1, 10)
	var s SavedFlow
	if from.Save(idx, 0, 170, &s) || from.Save(0, 0, 10, &s) || from.Save(idx+1, 0, 10, &s) {
		t.Error("saved what is not there")
	}
	if !from.Save(idx, 0, 169, &s) {
		t.Fatal("not saved")
	}
	small, err := New(Options{MaxFlows: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := small.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, r := small.Restore(&s, 1); r != InsertOK {
		t.Fatal(r)
	}
	if _, r := small.Restore(&s, 1); r != InsertClash {
		t.Errorf("the same flow again: %v", r)
	}
	s.Orig.SrcPort++
	s.Reply.DstPort++
	if _, r := small.Restore(&s, 1); r != InsertFull {
		t.Errorf("one flow too many: %v", r)
	}
}

// A flow without room for its extension is not restored by half.
func TestRestoreWithoutRoomForExtensions(t *testing.T) {
	tb := newFullTable(t)
	s := SavedFlow{Orig: Tuple{Proto: packet.ProtoTCP, Family: packet.IPv4}, Timeout: 100, HasExt: true}
	for n := range extCount(2000) + 1 {
		s.Orig.SrcPort = uint16(n + 1)
		s.Reply = s.Orig.Invert()
		_, r := tb.Restore(&s, 1)
		if want := n < extCount(2000); (r == InsertOK) != want {
			t.Fatalf("flow %d: %v", n, r)
		}
	}
	if tb.Len() != extCount(2000) {
		t.Errorf("%d flows, want %d", tb.Len(), extCount(2000))
	}
}

// Any bit that is wrong, and any byte that is missing or too much, is noticed.
func TestDamagedFilesAreRefused(t *testing.T) {
	s, e := filled[SavedFlow](t), filled[Expectation](t)
	legal(&s)
	e.Tuple.Family, e.MasterOrig.Family, e.Dir = packet.IPv6, packet.IPv6, DirOriginal
	good := written(t, &s, &e)
	ignore := func(StateRecord, *StateReader) {}
	if err := readAll(good, ignore); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if err := readAll(good[:i], ignore); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "cut short") {
			t.Fatalf("cut after %d of %d bytes: %v", i, len(good), err)
		}
		for bit := range 8 {
			bad := slices.Clone(good)
			bad[i] ^= 1 << bit
			if err := readAll(bad, ignore); !errors.Is(err, ErrState) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"more":    {append(slices.Clone(good), 0), "bytes after its end"},
		"foreign": {[]byte("#!/bin/sh\necho this is something else\n"), "no state file"},
		"newer":   {slices.Concat([]byte(stateMagic), []byte{2, 0, 0, 0}, good[12:]), "written in format 2, this version reads 1"},
		"empty":   {nil, "cut short"},
	} {
		if err := readAll(c.file, ignore); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Sequence adjustments that no helper has made are refused.
func TestUnsoundAdjustmentsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*SeqAdj){
		"too many":   func(a *SeqAdj) { a.N = SeqChanges + 1 },
		"overlap":    func(a *SeqAdj) { a.Changes[1].Start = a.Changes[0].Start + 1 },
		"wrong sum":  func(a *SeqAdj) { a.Changes[2].Offset++ },
		"wrong base": func(a *SeqAdj) { a.Base++ },
	} {
		var s SavedFlow
		orderly(&s.Ext)
		if a := &s.Ext.SeqAdj[DirReply]; !a.sound() {
			t.Fatal("not orderly")
		} else if spoil(a); a.sound() {
			t.Errorf("%s: sound", name)
		}
	}
}

// An error of the disk is told as such.
func TestStateWriterTellsErrors(t *testing.T) {
	r, w := io.Pipe()
	if err := r.CloseWithError(io.ErrShortBuffer); err != nil {
		t.Fatal(err)
	}
	if err := NewStateWriter(w, time.Now()).Close(0); !errors.Is(err, io.ErrShortBuffer) {
		t.Error(err)
	}
}

// Records are as long as docs/state.md tells.
func TestRecordsAreAsLongAsDocumented(t *testing.T) {
	length := func(change func(*SavedFlow)) int {
		s := SavedFlow{Orig: Tuple{Proto: packet.ProtoUDP, Family: packet.IPv4}, Timeout: 1}
		change(&s)
		return len(written(t, &s, nil)) - len(written(t, nil, nil)) - recordHeadLen
	}
	for what, c := range map[string]struct {
		change func(*SavedFlow)
		want   int
	}{
		"plain":     {func(*SavedFlow) {}, 45},
		"IPv6":      {func(s *SavedFlow) { s.Orig.Family = packet.IPv6 }, 45 + 2*(36-12)},
		"TCP":       {func(s *SavedFlow) { s.Orig.Proto = packet.ProtoTCP }, 45 + 4 + 47},
		"extension": {func(s *SavedFlow) { s.HasExt = true }, 45 + 9 + 178},
		"counts":    {func(s *SavedFlow) { s.Counted = true }, 45 + 32},
		"start":     {func(s *SavedFlow) { s.Start = 1 }, 45 + 8},
	} {
		if n := length(c.change); n != c.want {
			t.Errorf("%s: %d bytes, docs/state.md says %d", what, n, c.want)
		}
	}
}

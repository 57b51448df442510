package flowtable

import "testing"

func TestExt(t *testing.T) {
	tb := newTable(t, 3000)
	tu := tuple4(0)
	idx := mustInsert(t, tb, tu, 100, 0)
	if tb.Ext(idx) != nil {
		t.Error("a fresh flow has an extension")
	}
	e := tb.AddExt(idx)
	e.Helper, e.Data[3] = 7, 99
	if tb.AddExt(idx) != e || tb.Ext(idx) != e {
		t.Error("a second AddExt gave another record")
	}
	var s Snapshot
	if !tb.Read(idx, 0, &s) || s.Helper != 7 {
		t.Errorf("snapshot: helper %d, want 7", s.Helper)
	}
	tb.Remove(idx)
	n := 0
	for i := 1; i < 3000; i++ {
		idx = mustInsert(t, tb, tuple4(i), 100, 0)
		e := tb.AddExt(idx)
		if e == nil {
			break
		}
		if *e != (Ext{}) {
			t.Fatalf("extension %d is not zeroed: %+v", i, e)
		}
		n++
	}
	if n != 1024 {
		t.Errorf("%d extensions, want 1024", n)
	}
	tb.Remove(idx - 1)
	if tb.AddExt(idx) == nil {
		t.Error("a freed extension is not reused")
	}
}

package flowtable

import "testing"

// A burst may hold references to flows that its later packets remove: their
// records must not be handed out again while it lasts.
func TestRemovedRecordCoolsBeforeItIsUsedAgain(t *testing.T) {
	tb := newTable(t, 1)
	first, second := tuple4(1), tuple4(2)
	reply := first.Invert()
	old, res := tb.Insert(&first, &reply, 1)
	if res != InsertOK {
		t.Fatal(res)
	}
	tb.Remove(old)
	for i := range cooling - 1 {
		reply := second.Invert()
		idx, res := tb.Insert(&second, &reply, 1)
		if res != InsertOK || idx == old {
			t.Fatalf("insertion %d: %v, index %d; the record of flow %d is still cooling", i, res, idx, old)
		}
		var tu Tuple
		if tb.Tuple(old, DirOriginal, &tu); tu != first {
			t.Fatalf("insertion %d: the removed record has become %s", i, tu.String())
		}
		tb.Remove(idx)
	}
}

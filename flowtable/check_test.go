package flowtable

import (
	"strings"
	"testing"
)

// TestCheckFindsBugs breaks a table in all the ways that Check looks for.
func TestCheckFindsBugs(t *testing.T) {
	for _, c := range []struct {
		name, want string
		breaks     func(tb *Table, idx uint32)
	}{
		{"count", "keys in the index", func(tb *Table, _ uint32) { tb.used++ }},
		{"key lost", "keys in the index", func(tb *Table, idx uint32) { tb.eraseKey(tb.Keys(idx)[0], RefOf(idx, DirOriginal)) }},
		{"key of no flow", "has no flow", func(tb *Table, idx uint32) { tb.flows[idx].gen++ }},
		{"tuple changed", "not where it hashes", func(tb *Table, idx uint32) { tb.flows[idx].ports ^= 0x5555 }},
		{"key twice", "twice in the index", func(tb *Table, idx uint32) { tb.insertKey(tb.Keys(idx)[0], RefOf(idx, DirOriginal)) }},
		{"free and in use", "in use", func(tb *Table, idx uint32) { tb.flows[idx].next, tb.freeFlow = tb.freeFlow, idx }},
		{"record lost", "have no flow", func(tb *Table, _ uint32) { tb.highWater++; tb.flows[tb.highWater].gen |= 1 }},
		{"extension lost", "with a flow or free", func(tb *Table, idx uint32) { tb.flows[idx].Ext = 0 }},
		{"extension of two", "taken twice", func(tb *Table, idx uint32) { tb.flows[idx+1].Ext = tb.flows[idx].Ext }},
		{"overflow", "overflowed keys", func(tb *Table, _ uint32) { tb.buckets[0].overflow++ }},
	} {
		tb, err := New(Options{MaxFlows: 100})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			mustInsert(t, tb, tuple4(i), 100, 0)
		}
		tb.AddExt(5)
		if err := tb.Check(); err != nil {
			t.Fatalf("%s: before: %v", c.name, err)
		}
		c.breaks(tb, 5)
		if err := tb.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		tb.Close()
	}
}

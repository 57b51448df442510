package flowtable

import "testing"

// The figures of the index add up, full and empty.
func TestIndexStats(t *testing.T) {
	const flows = 10_000
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), MaxTimeout, 0)
	}
	s := tb.IndexStats()
	buckets, keys, away, overflowed := 0, 0, 0, 0
	for k, n := range s.Filled {
		buckets, keys = buckets+n, keys+k*n
	}
	for i := range tb.buckets {
		away += int(tb.buckets[i].overflow)
		if tb.buckets[i].overflow > 0 {
			overflowed++
		}
	}
	if buckets != s.Buckets || keys != 2*flows || s.Keys != 2*flows {
		t.Errorf("%d buckets and %d keys in %+v, want %d keys", buckets, keys, s, 2*flows)
	}
	if s.Away != away || s.Overflowed != overflowed || away == 0 {
		t.Errorf("%+v, but %d keys are away from %d buckets", s, away, overflowed)
	}
	for i := range flows {
		tb.Remove(uint32(i + 1))
	}
	if s = tb.IndexStats(); s.Keys != 0 || s.Away != 0 || s.Overflowed != 0 || s.Filled[0] != s.Buckets {
		t.Errorf("an empty table: %+v", s)
	}
}

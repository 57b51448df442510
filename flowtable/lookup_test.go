package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

func TestBulkLookupEqualsLookup(t *testing.T) {
	const flows = 5000
	tb := newTable(t, flows)
	for i := range flows {
		if i%2 == 0 {
			mustInsert(t, tb, tuple4(i), Tick(i%3)*100, 0)
		} else {
			mustInsert(t, tb, tuple6(i), 500, 0)
		}
	}
	found := 0
	for base := 0; base < 2*flows; base += Burst - 3 {
		var tuples [Burst]Tuple
		var bulk Bulk
		n := Burst - base%3
		for i := range n {
			tuples[i] = tuple4(base + i)
			if i%2 == 1 {
				tuples[i] = tuple6(base + i)
			}
			bulk.Hashes[i] = tb.Hash(&tuples[i])
		}
		tb.LookupBurst(&tuples, &bulk, n, 150)
		for i := range n {
			want := tb.Lookup(&tuples[i], bulk.Hashes[i], 150)
			if bulk.Refs[i] != want {
				t.Fatalf("%v: burst %d, single %d", &tuples[i], bulk.Refs[i], want)
			}
			if want != 0 {
				found++
			}
		}
	}
	if found == 0 {
		t.Error("nothing was found: the test tests nothing")
	}
}

// The table is full, so that tags collide within buckets and keys overflow.
func TestMatchEqualsPortable(t *testing.T) {
	const flows = 3000
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), 500, 0)
	}
	found, late := 0, 0
	for base := 0; base < 2*flows; base += Burst {
		var got, want Bulk
		for i := range got.Hashes {
			tu := tuple4(base + i)
			got.Hashes[i] = tb.Hash(&tu)
			if base == 0 && i == 0 {
				got.Hashes[i] &^= 0xff // tag 0 counts as 1
			}
		}
		want.Hashes = got.Hashes
		for _, k := range []int{0, 1, 8, 13} { // groups of 1, 7, 5 and 51
			to := map[int]int{0: 1, 1: 8, 8: 13, 13: Burst}[k]
			tb.Match(&got, k, to)
			tb.matchPortable(&want, k, to)
		}
		if got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		late += got.lates
		tb.MatchLate(&got)
		for i, r := range got.Refs {
			found += int(min(r, 1))
			if tb.lookup(tuple4(base+i), 0) != 0 && r == 0 && (base > 0 || i > 0) {
				t.Fatalf("key %d has no candidate", base+i)
			}
		}
	}
	if found < flows || found == 2*flows || late < 100 {
		t.Errorf("of %d keys %d have a candidate, %d late: the test tests little", 2*flows, found, late)
	}
}

func TestLookupAtSurvivesChangesInTheBurst(t *testing.T) {
	tb := newTable(t, 10)
	tu, other := tuple4(1), tuple4(2)
	hash := tb.Hash(&tu)
	idx := mustInsert(t, tb, tu, 100, 0)
	stale := RefOf(idx, DirOriginal)
	tb.Remove(idx)
	if r := tb.LookupAt(&tu, hash, stale, 0); r != 0 {
		t.Errorf("stale candidate of a removed flow: %d", r)
	}
	mustInsert(t, tb, other, 100, 0) // takes the same record
	if r := tb.LookupAt(&tu, hash, stale, 0); r != 0 {
		t.Errorf("stale candidate of a reused record: %d", r)
	}
	idx = mustInsert(t, tb, tu, 100, 0)
	if r := tb.LookupAt(&tu, hash, stale, 0); r != RefOf(idx, DirOriginal) {
		t.Errorf("the flow behind a wrong candidate: %d", r)
	}
}

func TestTuplesThatDifferInOneField(t *testing.T) {
	tb := newTable(t, 100)
	base := tuple6(7)
	mustInsert(t, tb, base, 100, 0)
	for name, change := range map[string]func(*Tuple){
		"source high":      func(u *Tuple) { u.Src.Hi ^= 1 << 63 },
		"source":           func(u *Tuple) { u.Src.Lo ^= 1 << 40 },
		"destination high": func(u *Tuple) { u.Dst.Hi ^= 1 },
		"destination":      func(u *Tuple) { u.Dst.Lo ^= 1 << 63 },
		"source port":      func(u *Tuple) { u.SrcPort ^= 1 },
		"destination port": func(u *Tuple) { u.DstPort ^= 0x8000 },
		"protocol":         func(u *Tuple) { u.Proto = packet.ProtoTCP },
		"family":           func(u *Tuple) { u.Family = packet.IPv4 },
	} {
		tu := base
		change(&tu)
		// Use the hash of the stored tuple: the record alone must tell.
		if r := tb.Lookup(&tu, tb.Hash(&base), 0); r != 0 {
			t.Errorf("%s: another tuple was taken for the flow's", name)
		}
	}
	if tb.lookup(base, 0) == 0 {
		t.Error("the flow itself is not found")
	}
}

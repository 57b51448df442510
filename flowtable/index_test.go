package flowtable

import (
	"math/rand/v2"
	"testing"
)

func TestZeroBytesAreExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	bytes := []uint8{0, 1, 0x7f, 0x80, 0x81, 0xff}
	for range 100_000 {
		var x, want uint64
		for i := range 8 {
			b := bytes[rng.IntN(len(bytes))]
			x |= uint64(b) << (8 * i)
			if b == 0 {
				want |= 0x80 << (8 * i)
			}
		}
		if got := zero8(x); got != want {
			t.Fatalf("zero8(%016x) = %016x, want %016x", x, got, want)
		}
		if got := zero4(uint32(x)); got != uint32(want) {
			t.Fatalf("zero4(%08x) = %08x, want %08x", uint32(x), got, uint32(want))
		}
	}
}

func TestAlternativeIsAnInvolution(t *testing.T) {
	for _, n := range []int{1, 7, 100, 12345} {
		tb := newTable(t, n)
		for b := range uint32(tb.nbuckets) {
			for tag := 1; tag < 256; tag++ {
				a := tb.alternative(b, uint8(tag))
				if uint64(a) >= tb.nbuckets || tb.alternative(a, uint8(tag)) != b {
					t.Fatalf("%d buckets, tag %d: %d -> %d -> %d", tb.nbuckets, tag, b, a, tb.alternative(a, uint8(tag)))
				}
			}
		}
	}
}

func TestTagIsNeverEmpty(t *testing.T) {
	for h := range uint64(512) {
		if tagOf(h) == 0 {
			t.Fatalf("tagOf(%d) = 0", h)
		}
	}
}

// Few buckets overflow at capacity: the claim of doc.go that most misses cost
// one line.
func TestOverflowAtCapacity(t *testing.T) {
	const flows = 200_000
	tb := newTable(t, flows)
	for i := range flows {
		mustInsert(t, tb, tuple4(i), 100, 0)
	}
	n := 0
	for i := range tb.buckets {
		if tb.buckets[i].overflow != 0 {
			n++
		}
	}
	share := float64(n) / float64(len(tb.buckets))
	t.Logf("%.1f %% of the buckets overflow", 100*share)
	if share > 0.25 {
		t.Errorf("%.1f %% of the buckets overflow, want at most 25 %%", 100*share)
	}
}

// Tuples that differ in few bits, as real traffic does, must spread: compare
// bucket loads with those of a random function.
func TestHashSpreadsRegularTuples(t *testing.T) {
	const buckets, keys = 1024, 1024 * 16
	for name, at := range map[string]func(i int) Tuple{
		"ports":     func(i int) Tuple { tu := tuple4(0); tu.SrcPort = uint16(i); return tu },
		"sources":   func(i int) Tuple { tu := tuple4(0); tu.Src.Lo += uint64(i); return tu },
		"subnets":   func(i int) Tuple { tu := tuple6(0); tu.Src.Hi += uint64(i); return tu },
		"high bits": func(i int) Tuple { tu := tuple6(0); tu.Dst.Lo ^= uint64(i) << 50; return tu },
		"subnet against port": func(i int) Tuple { // must not cancel
			tu := tuple6(0)
			tu.Src.Hi ^= uint64(i) << 32
			tu.SrcPort ^= uint16(i)
			return tu
		},
	} {
		for seed := range uint64(8) {
			s := newHashSeed(seed)
			var load, tags [buckets]int
			for i := range keys {
				tu := at(i)
				h := s.hash(&tu)
				load[h>>54]++
				tags[h&255]++
			}
			chi := 0.0
			for _, n := range load {
				chi += float64((n-16)*(n-16)) / 16
			}
			// 1023 degrees of freedom: mean 1023, deviation 45.
			if chi > 1023+8*45 {
				t.Errorf("%s, seed %d: chi square %.0f over the buckets", name, seed, chi)
			}
			chi = 0
			for _, n := range tags[:256] {
				chi += float64((n-64)*(n-64)) / 64
			}
			if chi > 255+8*23 {
				t.Errorf("%s, seed %d: chi square %.0f over the tags", name, seed, chi)
			}
		}
	}
}

package flowtable

import (
	"slices"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// Tuples that share a bucket under one seed, as an attacker who knew it would choose
// them, are nothing special under another: they lie as any tuples do. Under the known
// seed they are refused when their buckets are full, and harm no other flow.
func TestCollisionsAreOfOneSeed(t *testing.T) {
	const wanted = 1500
	known := seeded(t, 2048, 1)
	var chosen []Tuple
	for i := 0; len(chosen) < wanted; i++ {
		tu := tuple4(0)
		tu.Src.Lo, tu.SrcPort, tu.DstPort = uint64(0x0a000000+i>>16), uint16(i), 80
		if known.bucketOf(known.Hash(&tu)) == 7 {
			chosen = append(chosen, tu)
		}
	}
	victim := tuple4(99)
	mustInsert(t, known, victim, 1000, 0)
	refused := 0
	for i := range chosen {
		reply := chosen[i].Invert()
		if _, r := known.Insert(&chosen[i], &reply, 0); r != InsertOK {
			refused++
		}
	}
	if refused == 0 || known.Lookup(&victim, known.Hash(&victim), 0) == 0 {
		t.Errorf("%d of %d colliding flows refused; the other flow must be found", refused, wanted)
	}
	for seed := range uint64(8) {
		tb := seeded(t, 2048, 100+seed)
		for i := range chosen {
			mustInsert(t, tb, chosen[i], 1000, 0)
		}
		checkTable(t, tb)
		if s := tb.IndexStats(); s.Away > s.Keys/20 {
			t.Errorf("seed %d: %d of %d keys are not in their first bucket", seed, s.Away, s.Keys)
		}
	}
}

func ipv4(n uint64) packet.Addr { return packet.Addr{Lo: n & 0xffffffff} }

func seeded(t *testing.T, flows int, seed uint64) *Table {
	t.Helper()
	tb, err := New(Options{MaxFlows: flows, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tb.Close() })
	return tb
}

// Whatever structure tuples have that is chosen without the seed, the fullest bucket
// is about as full as of random tuples.
func TestNoStructureFillsABucket(t *testing.T) {
	const buckets, keys = 1024, 1024 * 16
	structures := map[string]func(i uint64) Tuple{
		"powers of two": func(i uint64) Tuple {
			return Tuple{Src: ipv4(1 << (i % 32)), Dst: ipv4(1 << (i / 32 % 32)), SrcPort: 1 << (i / 1024 % 16)}
		},
		"same source and destination": func(i uint64) Tuple { return Tuple{Src: ipv4(i), Dst: ipv4(i)} },
		"sum is constant":             func(i uint64) Tuple { return Tuple{Src: ipv4(i), Dst: ipv4(keys - i)} },
		"product is constant": func(i uint64) Tuple {
			return Tuple{Src: ipv4(1 + i%128), Dst: ipv4(5040 / (1 + i%128)), SrcPort: uint16(i / 128)}
		},
		"addresses against ports": func(i uint64) Tuple {
			return Tuple{Src: ipv4(i << 16), SrcPort: uint16(i), Dst: ipv4(^i << 16), DstPort: ^uint16(i)}
		},
		"questions and answers": func(i uint64) Tuple {
			tu := Tuple{Src: ipv4(i / 2), Dst: ipv4(77), SrcPort: 1000, DstPort: 80}
			if i%2 == 1 {
				tu = tu.Invert()
			}
			return tu
		},
		"halves of IPv6": func(i uint64) Tuple {
			tu := tuple6(0)
			tu.Src.Hi, tu.Src.Lo, tu.Dst.Hi, tu.Dst.Lo = i, ^i, i<<32, ^(i << 32)
			return tu
		},
		"IPv6 that looks like IPv4": func(i uint64) Tuple {
			tu := tuple6(0)
			tu.Src.Hi, tu.Dst.Hi, tu.Src.Lo = 0, 0, i
			return tu
		},
		"multiples of a bucket": func(i uint64) Tuple { return Tuple{Src: ipv4(i * buckets), Dst: ipv4(i * buckets * 4096)} },
	}
	for name, at := range structures {
		distinct := make(map[Tuple]bool)
		for i := range uint64(keys) {
			distinct[at(i)] = true
		}
		worst := 0
		for seed := range uint64(20) {
			s := newHashSeed(seed)
			load := make([]int, buckets)
			for tu := range distinct {
				load[s.hash(&tu)>>54]++
			}
			worst = max(worst, slices.Max(load))
		}
		// Of 16 a bucket on average, random ones fill the worst of 20 x 1024 with 38.
		bound := len(distinct)/buckets + 32
		t.Logf("%s: %d tuples, the fullest bucket of 20 seeds has %d", name, len(distinct), worst)
		if worst > bound {
			t.Errorf("%s: %d tuples of %d in one bucket, want at most %d", name, worst, len(distinct), bound)
		}
	}
}

package flowtable

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	metro "github.com/dgryski/go-metro"

	"github.com/xdpct/xdpct/packet"
)

// benchTable makes a full table with huge pages.
func benchTable(b *testing.B, flows int) *Table {
	b.Helper()
	tb, err := New(Options{MaxFlows: flows, HugePages: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tb.Close() })
	for i := range flows {
		mustInsert(b, tb, tuple4(i), MaxTimeout, 0)
	}
	return tb
}

// BenchmarkLookup: bursts of 64 packets in random order, hash included.
func BenchmarkLookup(b *testing.B) {
	for _, kind := range []string{"hit", "miss"} {
		for _, size := range []struct {
			name  string
			flows int
		}{{"1k", 1000}, {"100k", 100_000}, {"1M", 1_000_000}} {
			b.Run(fmt.Sprintf("%s/flows=%s", kind, size.name), func(b *testing.B) {
				benchLookup(b, kind == "hit", size.flows)
			})
		}
	}
}

func benchLookup(b *testing.B, hit bool, flows int) {
	tb := benchTable(b, flows)
	order := make([]uint32, 1<<16)
	rng := rand.New(rand.NewPCG(1, 2))
	var tuples [Burst]Tuple
	var bulk Bulk
	lost := 0
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n&1023 == 0 {
			b.StopTimer()
			for i := range order {
				order[i] = rng.Uint32N(uint32(flows))
				if !hit {
					order[i] += uint32(flows)
				}
			}
			b.StartTimer()
		}
		burst := order[n&1023*Burst:][:Burst]
		n++
		for i, o := range burst {
			setTuple4(&tuples[i], int(o))
			bulk.Hashes[i] = tb.Hash(&tuples[i])
		}
		tb.LookupBurst(&tuples, &bulk, Burst, 1)
		for _, r := range bulk.Refs {
			if (r != 0) != hit {
				lost++
			}
		}
	}
	if lost != 0 {
		b.Fatalf("%d wrong answers", lost)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Burst, "ns/pkt")
}

// BenchmarkInsertRemove: a new flow with timer for the oldest one, in a table
// that is 90 % full.
func BenchmarkInsertRemove(b *testing.B) {
	for _, flows := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			tb := benchTable(b, flows)
			live := make([]uint32, flows*9/10)
			for i := range live {
				live[i] = uint32(i + 1)
			}
			for i := len(live); i < flows; i++ {
				tb.Remove(uint32(i + 1))
			}
			rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				orig := tuple4(flows + n)
				reply := orig.Invert()
				idx, res := tb.Insert(&orig, &reply, 0)
				if res != InsertOK {
					b.Fatal(res)
				}
				tb.Refresh(idx, 1920, 0)
				slot := &live[n%len(live)]
				tb.Remove(*slot)
				*slot = idx
				n++
			}
		})
	}
}

// BenchmarkExpire: flows that all expire at once, taken down in bursts.
func BenchmarkExpire(b *testing.B) {
	const flows = 1_000_000
	tb, err := New(Options{MaxFlows: flows, HugePages: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { tb.Close() })
	now := Tick(0)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if tb.Len() == 0 {
			b.StopTimer()
			for i := range flows {
				mustInsert(b, tb, tuple4(i), 1920, now)
			}
			now += 2000
			b.StartTimer()
		}
		budget := 64
		n += expireSome(tb, now, &budget)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/flow")
}

// BenchmarkExpireIdle: what timers cost a burst when nothing is due.
func BenchmarkExpireIdle(b *testing.B) {
	tb := newTable(b, 10)
	mustInsert(b, tb, tuple4(1), MaxTimeout, 0)
	var e Expired
	for b.Loop() {
		budget := 64
		tb.Expired(1, &budget, &e)
	}
}

// BenchmarkSweep: a lap over the timers of a table in which none is due.
func BenchmarkSweep(b *testing.B) {
	const flows = 1_000_000
	tb := benchTable(b, flows)
	now := Tick(0)
	for b.Loop() {
		budget := flows
		expireSome(tb, now, &budget)
		now += lap
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/flow")
}

// BenchmarkAdvance: one established TCP flow after the other, both directions.
func BenchmarkAdvance(b *testing.B) {
	tb, tr := newTable(b, 1024), NewTracker()
	for i := range 1024 {
		tu := tuple4(i)
		tu.Proto = packet.ProtoTCP
		idx := mustInsert(b, tb, tu, tr.Timeouts.TCP[TCPEstablished], 0)
		tb.Flow(idx).SetState(uint8(TCPEstablished))
		tb.Flow(idx).AddStatus(StatusSeenReply | StatusAssured)
	}
	h := packet.Headers{Family: packet.IPv4, Proto: packet.ProtoTCP, TCPFlags: packet.ACK}
	n := uint32(0)
	for b.Loop() {
		tr.Advance(tb, n&1023+1, Dir(n&1), nil, &h, Tick(n>>16))
		n++
	}
}

// BenchmarkHash compares the inlined hash with go-metro over the packed tuple:
// packing is part of its cost, because no packed tuple is stored.
func BenchmarkHash(b *testing.B) {
	tb := newTable(b, 10)
	for _, family := range []string{"ipv4", "ipv6"} {
		tu, size := tuple4(77), 13
		if family == "ipv6" {
			tu, size = tuple6(77), 37
		}
		var sum uint64
		b.Run("own/"+family, func(b *testing.B) {
			for b.Loop() {
				tu.SrcPort++
				sum += tb.Hash(&tu)
			}
		})
		b.Run("metro/"+family, func(b *testing.B) {
			var buf [40]byte
			for b.Loop() {
				tu.SrcPort++
				packTuple(&buf, &tu)
				sum += metro.Hash64(buf[:size], 99)
			}
		})
		if sum == 0 {
			b.Log("unlikely")
		}
	}
}

// packTuple lays a tuple out without gaps.
func packTuple(b *[40]byte, tu *Tuple) {
	at := b[:]
	if tu.Family == packet.IPv4 {
		binary.LittleEndian.PutUint32(at, uint32(tu.Src.Lo))
		binary.LittleEndian.PutUint32(at[4:], uint32(tu.Dst.Lo))
		at = at[8:]
	} else {
		binary.LittleEndian.PutUint64(at, tu.Src.Hi)
		binary.LittleEndian.PutUint64(at[8:], tu.Src.Lo)
		binary.LittleEndian.PutUint64(at[16:], tu.Dst.Hi)
		binary.LittleEndian.PutUint64(at[24:], tu.Dst.Lo)
		at = at[32:]
	}
	binary.LittleEndian.PutUint16(at, tu.SrcPort)
	binary.LittleEndian.PutUint16(at[2:], tu.DstPort)
	at[4] = tu.Proto
}

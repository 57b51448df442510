package flowtable

import (
	"testing"
	"unsafe"

	"github.com/xdpct/xdpct/packet"
)

// newTable makes a table with a fixed seed that is closed with the test.
func newTable(t testing.TB, maxFlows int) *Table {
	t.Helper()
	tb, err := New(Options{MaxFlows: maxFlows, Seed: 42})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tb.Close(); err != nil {
			t.Error(err)
		}
	})
	return tb
}

// tuple4 returns the i-th of many distinct IPv4 UDP tuples.
func tuple4(i int) (t Tuple) {
	setTuple4(&t, i)
	return t
}

// setTuple4 is tuple4 in place: copying a tuple right after it was put together
// waits 20 ns for its narrow stores.
func setTuple4(t *Tuple, i int) {
	t.Set4(0x0a000000_c0000201+uint64(i>>10)<<32, uint32(i&1023+1024)<<16|53, packet.ProtoUDP)
}

// tuple6 is tuple4 for IPv6.
func tuple6(i int) Tuple {
	tu := tuple4(i)
	tu.Family = packet.IPv6
	tu.Src.Hi, tu.Dst.Hi = 0x20010db8_00000000, 0x20010db8_00000001
	return tu
}

// mustInsert adds a flow without NAT and refreshes it.
func mustInsert(t testing.TB, tb *Table, orig Tuple, timeout, now Tick) uint32 {
	t.Helper()
	reply := orig.Invert()
	idx, res := tb.Insert(&orig, &reply, now)
	if res != InsertOK {
		t.Fatalf("insert %v: %v", &orig, res)
	}
	tb.Refresh(idx, timeout, now)
	return idx
}

// lookup is Lookup with the hash.
func (t *Table) lookup(tu Tuple, now Tick) Ref { return t.Lookup(&tu, t.Hash(&tu), now) }

// checkTable checks the table and fails.
func checkTable(t testing.TB, tb *Table) {
	t.Helper()
	if err := tb.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"Flow", unsafe.Sizeof(Flow{}), 64},
		{"bucket", unsafe.Sizeof(bucket{}), 64},
		{"bucket.refs", unsafe.Offsetof(bucket{}.refs), 16},
		{"addrs6", unsafe.Sizeof(addrs6{}), 64},
		{"Tuple", unsafe.Sizeof(Tuple{}), 40},
		{"Ext", unsafe.Sizeof(Ext{}), 192},
		{"Flow.gen", unsafe.Offsetof(Flow{}.gen), 0},
		{"Flow.meta (aligned for atomic access)", unsafe.Offsetof(Flow{}.meta), 8},
		{"Flow.addr", unsafe.Offsetof(Flow{}.addr), 16},
		{"Flow.ports", unsafe.Offsetof(Flow{}.ports), 32},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.name, c.got, c.want)
		}
	}
	for _, huge := range []bool{false, true} {
		tb, err := New(Options{MaxFlows: 100, HugePages: huge})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&tb.flows[0]), unsafe.Pointer(&tb.buckets[0]), unsafe.Pointer(&tb.addrs6[0])} {
			if uintptr(p)%64 != 0 {
				t.Errorf("huge=%v: an array starts at %p, not at a cache line", huge, p)
			}
		}
		if err := tb.Close(); err != nil {
			t.Error(err)
		}
		if err := tb.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
}

func TestNewRejectsImpossibleSizes(t *testing.T) {
	for _, n := range []int{-1, 0, MaxCapacity + 1} {
		if tb, err := New(Options{MaxFlows: n}); err == nil {
			t.Errorf("New(%d): no error", n)
			tb.Close()
		}
	}
}

func TestMemoryPerIPv4Flow(t *testing.T) {
	const flows = 1 << 20
	tb := newTable(t, flows)
	perFlow := float64(tb.MemoryBytes()) / flows
	if perFlow > 79 {
		t.Errorf("record, index and timers take %.1f bytes a flow, want at most 79", perFlow)
	}
	for i := range 2000 {
		tb.AddExt(mustInsert(t, tb, tuple4(i), 100, 0))
	}
	if more := float64(tb.MemoryBytes()) - perFlow*flows; more != 2000*extSize {
		t.Errorf("2000 extensions take %.0f bytes more", more)
	}
	if most := float64(len(tb.exts)*extSize) / flows; most > 6.1 {
		t.Errorf("extensions may take %.1f bytes a flow, want at most 6", most)
	}
	t.Logf("%.1f bytes a flow", perFlow)
}

func TestIndexFillsToCapacity(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100, 1000, 100_000} {
		for seed := range uint64(20) {
			tb, err := New(Options{MaxFlows: n, Seed: seed + 1})
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				tu := tuple4(i)
				if i%3 == 0 {
					tu = tuple6(i)
				}
				mustInsert(t, tb, tu, 100, 0)
			}
			tu := tuple4(n)
			reply := tu.Invert()
			if idx, res := tb.Insert(&tu, &reply, 0); res != InsertFull || idx != 0 {
				t.Errorf("n=%d: insert into a full table = %d, %v", n, idx, res)
			}
			checkTable(t, tb)
			if n >= 1000 && seed > 2 {
				tb.Close()
				break
			}
			tb.Close()
		}
	}
}

func TestIndexFullIsReported(t *testing.T) {
	// Two buckets have room for 24 keys, that is 12 flows: more than 80 %.
	tb := newTable(t, 1000)
	tb.nbuckets = 2
	tb.buckets = tb.buckets[:2]
	for i := range tb.delta {
		tb.delta[i] %= 2
	}
	n, last := 0, InsertOK
	for i := 0; last == InsertOK; i++ {
		tu := tuple4(i)
		reply := tu.Invert()
		if _, last = tb.Insert(&tu, &reply, 0); last == InsertOK {
			n++
		}
		checkTable(t, tb)
	}
	if last != InsertIndexFull || n < 6 || n > 12 || tb.Len() != n {
		t.Errorf("%d flows, Len %d, then %v", n, tb.Len(), last)
	}
}

func TestFindsFlowByEitherTuple(t *testing.T) {
	tb := newTable(t, 10)
	for _, orig := range []Tuple{tuple4(1), tuple6(1)} {
		reply := orig.Invert()
		reply.Dst.Lo, reply.DstPort = 0xc6336401, 40000 // source NAT
		idx, res := tb.Insert(&orig, &reply, 5)
		if res != InsertOK {
			t.Fatal(res)
		}
		tb.Refresh(idx, 16, 5)
		for d, want := range []Tuple{orig, reply} {
			if r := tb.lookup(want, 5); r != RefOf(idx, Dir(d)) {
				t.Errorf("lookup %v = %d, want %d", &want, r, RefOf(idx, Dir(d)))
			}
			var got Tuple
			if tb.Tuple(idx, Dir(d), &got); got != want {
				t.Errorf("tuple %v = %v, want %v", Dir(d), &got, &want)
			}
		}
		if r := tb.lookup(orig.Invert(), 5); r != 0 {
			t.Errorf("the inverted original tuple is not on the wire, but found %d", r)
		}
		tb.Remove(idx)
		tb.Remove(idx) // nothing
		if tb.lookup(orig, 5) != 0 || tb.lookup(reply, 5) != 0 || tb.Len() != 0 {
			t.Error("found after Remove")
		}
	}
	checkTable(t, tb)
}

func TestFlowID(t *testing.T) {
	tb := newTable(t, 10)
	idx := mustInsert(t, tb, tuple4(1), 100, 0)
	id := tb.ID(idx, 3)
	if id != (FlowID{Index: idx, Gen: tb.Gen(idx), Worker: 3}) || !tb.Holds(id) {
		t.Errorf("id %+v, held %v", id, tb.Holds(id))
	}
	tb.Remove(idx)
	if tb.Holds(id) || tb.Holds(FlowID{Index: idx, Gen: tb.Gen(idx)}) {
		t.Error("held after Remove")
	}
	mustInsert(t, tb, tuple4(2), 100, 0) // takes the same record
	if tb.Holds(id) || tb.Holds(FlowID{}) || tb.Holds(FlowID{Index: 10}) || tb.Holds(FlowID{Index: 1 << 30}) {
		t.Error("held although another flow has the record")
	}
}

func TestInsertClashes(t *testing.T) {
	tb := newTable(t, 100)
	a := tuple4(1)
	idx := mustInsert(t, tb, a, 160, 0)
	b := tuple4(2)
	ar, br := a.Invert(), b.Invert()
	for _, c := range []struct {
		name        string
		orig, reply Tuple
		now         Tick
		want        InsertResult
	}{
		{"same flow", a, ar, 1, InsertClash},
		{"reversed flow", ar, a, 1, InsertClash},
		{"original taken", a, br, 1, InsertClash},
		{"reply taken", b, ar, 1, InsertClash},
		{"holder expired", b, ar, 160, InsertExpired},
	} {
		got, res := tb.Insert(&c.orig, &c.reply, c.now)
		if got != idx || res != c.want {
			t.Errorf("%s: %d, %v, want %d, %v", c.name, got, res, idx, c.want)
		}
	}
	if tb.Len() != 1 {
		t.Errorf("Len = %d after clashes", tb.Len())
	}
	checkTable(t, tb)
}

func TestExpiredFlowIsNeverFound(t *testing.T) {
	tb := newTable(t, 10)
	start := ^Tick(0) - 50 // across the wrap of the clock
	tu := tuple4(1)
	idx := mustInsert(t, tb, tu, 100, start)
	var s Snapshot
	if tb.lookup(tu, start+99) == 0 || !tb.Read(idx, start+99, &s) {
		t.Error("gone before its deadline")
	}
	if tb.lookup(tu, start+100) != 0 || tb.Read(idx, start+100, &s) {
		t.Error("found at its deadline")
	}
	if r := tb.LookupAt(&tu, tb.Hash(&tu), RefOf(idx, DirOriginal), start+100); r != 0 {
		t.Error("LookupAt found an expired flow")
	}
}

func TestFixedTimeout(t *testing.T) {
	tb := newTable(t, 10)
	idx := mustInsert(t, tb, tuple4(1), 16, 0)
	tb.Flow(idx).AddStatus(StatusFixedTimeout)
	tb.Refresh(idx, 16, 10)
	tb.Refresh(idx, 1600, 10)
	if d := tb.Flow(idx).Deadline(); d != 16 {
		t.Errorf("deadline = %d, want 16", d)
	}
}

// Target is Tuple and Invert of the opposite direction, but for the type of an
// ICMP query.
func TestTargetIsTheOppositeTurnedRound(t *testing.T) {
	tb := newTable(t, 16)
	nat := func(tu Tuple) Tuple { r := tu.Invert(); r.Dst.Lo ^= 0xff; return r }
	icmp := tuple4(3)
	icmp.Proto, icmp.SrcPort, icmp.DstPort = packet.ProtoICMP, 77, 8<<8
	for _, orig := range []Tuple{tuple4(1), tuple6(2), icmp} {
		reply := nat(orig)
		idx, res := tb.Insert(&orig, &reply, 1)
		if res != InsertOK {
			t.Fatal(res)
		}
		for d := DirOriginal; d <= DirReply; d++ {
			var got, opposite Tuple
			tb.Target(idx, d, &got)
			tb.Tuple(idx, d.Opposite(), &opposite)
			want := opposite.Invert()
			if got.Proto == packet.ProtoICMP {
				got.DstPort, want.DstPort = 0, 0
			}
			if got != want {
				t.Errorf("direction %v of %s: got %s, want %s", d, orig.String(), got.String(), want.String())
			}
		}
	}
}

package flowtable

import (
	"sync"
	"testing"
	"time"
)

// newCounting makes a table that counts and keeps starts.
func newCounting(t *testing.T, flows int) *Table {
	t.Helper()
	tb, err := New(Options{MaxFlows: flows, Accounting: true, Timestamps: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tb.Close() })
	return tb
}

// mustAdd adds a flow whose first packet has so many bytes.
func mustAdd(t *testing.T, tb *Table, tu Tuple, bytes uint64, start int64) uint32 {
	t.Helper()
	reply := tu.Invert()
	idx, res := tb.Add(&NewFlow{Orig: &tu, Reply: &reply, Keys: Keys{tb.Hash(&tu), tb.Hash(&reply)},
		Timeout: 30 * TicksPerSecond, Bytes: bytes, Start: start}, 0)
	if res != InsertOK {
		t.Fatal(res)
	}
	return idx
}

func TestAccountsCountBothDirections(t *testing.T) {
	tb := newCounting(t, 10)
	idx, other := mustAdd(t, tb, tuple4(1), 60, 5), mustAdd(t, tb, tuple4(2), 40, 6)
	tb.Account(idx, DirReply, 1500)
	tb.Account(idx, DirReply, 1500)
	tb.Account(idx, DirOriginal, 52)
	var s Snapshot
	if !tb.Read(idx, 1, &s) || !s.Counted || s.Packets != [2]uint64{2, 2} || s.Bytes != [2]uint64{112, 3000} || s.Start != 5 {
		t.Errorf("got %+v", s)
	}
	if !tb.Read(other, 1, &s) || s.Packets != [2]uint64{1, 0} || s.Bytes != [2]uint64{40, 0} || s.Start != 6 {
		t.Errorf("its neighbour: %+v", s)
	}
	tb.Remove(idx)
	for range cooling { // until the record is used again
		i := mustAdd(t, tb, tuple4(3), 1, 7)
		tb.Remove(i)
	}
	idx = mustAdd(t, tb, tuple4(4), 33, 8)
	if !tb.Read(idx, 1, &s) || s.Packets != [2]uint64{1, 0} || s.Bytes != [2]uint64{33, 0} || s.Start != 8 {
		t.Errorf("a reused record begins with %+v", s)
	}
}

func TestTablesCountOnlyWhenAsked(t *testing.T) {
	tb, counting := newTable(t, 1000), newCounting(t, 1000)
	if tb.Accounts() || tb.Timestamps() || !counting.Accounts() || !counting.Timestamps() {
		t.Error("accounts or timestamps where they were not asked for, or not where they were")
	}
	if got, want := counting.MemoryBytes()-tb.MemoryBytes(), uint64(tb.records())*40; got != want {
		t.Errorf("they take %d bytes, want %d", got, want)
	}
	idx := mustAdd(t, tb, tuple4(1), 60, 5)
	var s Snapshot
	if !tb.Read(idx, 1, &s) || s.Counted || s.Start != 0 || s.Packets != [2]uint64{} {
		t.Errorf("got %+v", s)
	}
}

func TestStopIsWhenTheTimeWasOver(t *testing.T) {
	tb := newCounting(t, 10)
	idx := mustAdd(t, tb, tuple4(1), 60, 1e9)
	for _, c := range []struct {
		why  EndReason
		stop int64
	}{{EndExpired, 40e9 - 1e9/4}, {EndDeleted, 40e9}, {EndImmediate, 40e9}, {EndEvicted, 40e9}} {
		var e Event
		tb.EndEvent(&e, c.why, idx, 30*TicksPerSecond+4, 40e9) // a quarter of a second late
		if e.Flow.Stop != c.stop || e.Flow.Start != 1e9 {
			t.Errorf("%d: start %d, stop %d; want 1e9, %d", c.why, e.Flow.Start, e.Flow.Stop, c.stop)
		}
	}
}

// TestAccountsAreReadWhole lets another thread read while the owner counts, flow
// after flow in the same records: what it sees belongs to the flow it names.
func TestAccountsAreReadWhole(t *testing.T) {
	tb, i := newCounting(t, 4), 0
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		var s Snapshot
		for {
			select {
			case <-stop:
				return
			default:
			}
			for idx := uint32(1); idx <= tb.HighWater(); idx++ {
				// A flow of source port p has packets of p bytes and began at p.
				if !tb.Read(idx, 1, &s) {
					continue
				}
				p := uint64(s.Orig.SrcPort)
				if uint64(s.Start) != p || s.Packets[0] == 0 || s.Packets[0] > 100 || s.Bytes[0]%p != 0 || s.Bytes[0]/p > 100 {
					t.Errorf("flow %d: start %d, %d packets, %d bytes", p, s.Start, s.Packets[0], s.Bytes[0])
					return
				}
			}
		}
	})
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; i++ {
		tu := tuple4(1)
		tu.SrcPort = uint16(1000 + i%60000)
		idx := mustAdd(t, tb, tu, uint64(tu.SrcPort), int64(tu.SrcPort))
		for range 3 {
			tb.Account(idx, DirOriginal, uint64(tu.SrcPort))
		}
		tb.Remove(idx)
	}
	close(stop)
	reader.Wait()
}

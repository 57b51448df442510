package flowtable

import (
	"sync"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

func strayTuple(i int) Tuple {
	return Tuple{Src: packet.Addr{Lo: uint64(i)}, Dst: packet.Addr{Lo: 1}, SrcPort: 20, DstPort: uint16(i), Proto: 6, Family: packet.IPv4}
}

func TestStrays(t *testing.T) {
	x := NewStrays(3)
	a, b, c, d := strayTuple(1), strayTuple(2), strayTuple(3), strayTuple(4)
	find := func(tu *Tuple, want int, known bool) {
		t.Helper()
		if w, ok := x.Find(tu); ok != known || w != want {
			t.Errorf("%v: worker %d, %v; want %d, %v", tu, w, ok, want, known)
		}
	}
	find(&a, 0, false)
	if x.Any() || !x.Add(&a, 1) || !x.Add(&b, 2) || !x.Add(&c, 3) || !x.Any() {
		t.Error("not all were added")
	}
	find(&a, 1, true)
	find(&b, 2, true)
	if x.Add(&d, 1) {
		t.Error("a fourth was added to a table of three")
	}
	if !x.Add(&b, 5) || x.Len() != 3 {
		t.Errorf("a known one was not replaced; %d in the table", x.Len())
	}
	x.Remove(&b, 2) // it is another worker's by now
	find(&b, 5, true)
	x.Remove(&b, 5)
	x.Remove(&b, 5)
	x.Remove(&d, 1)
	find(&b, 0, false)
	find(&c, 3, true)
	if x.Len() != 2 || !x.Add(&d, 1) {
		t.Errorf("%d in the table, want 2 and room", x.Len())
	}
}

// Readers see a tuple from when it is added until it is removed, whatever
// others do.
func TestStraysAreReadWhileTheyChange(t *testing.T) {
	x := NewStrays(1 << 12)
	var writers, readers sync.WaitGroup
	stay := strayTuple(1 << 20)
	x.Add(&stay, 7)
	done := make(chan struct{})
	for w := range 2 {
		writers.Go(func() {
			for i := range 20000 {
				tu := strayTuple(i%100*2 + w)
				if !x.Add(&tu, w) {
					t.Error("full")
				}
				if got, ok := x.Find(&tu); !ok || got != w {
					t.Errorf("own tuple: worker %d, %v", got, ok)
				}
				x.Remove(&tu, w)
			}
		})
	}
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if w, ok := x.Find(&stay); !ok || w != 7 {
				t.Errorf("worker %d, %v; want 7", w, ok)
			}
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	if x.Len() != 1 {
		t.Errorf("%d left, want 1", x.Len())
	}
}

// BenchmarkStrays is the lookup that a packet without a flow costs while there
// are strays.
func BenchmarkStrays(b *testing.B) {
	x := NewStrays(1 << 16)
	for i := range 1000 {
		tu := strayTuple(i)
		x.Add(&tu, 1)
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		tu := strayTuple(i & 0xffff)
		x.Find(&tu)
		i++
	}
}

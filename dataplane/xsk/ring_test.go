package xsk

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memoryRing is a ring on plain memory, laid out like the kernel's, whose other
// side is played by the test.
func memoryRing[T uint64 | Desc](size int, start uint32) *ring[T] {
	var slot T
	off := unix.XDPRingOffset{Producer: 0, Consumer: 64, Flags: 128, Desc: 192}
	words := make([]uint64, (192+size*int(unsafe.Sizeof(slot)))/8)
	mem := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	r := layRing[T](mem, &off, size)
	*r.producer, *r.consumer, r.own, r.peer = start, start, start, start
	return &r
}

func TestProduceTakesWhatFits(t *testing.T) {
	for _, start := range []uint32{0, 5, math.MaxUint32 - 2} {
		r := memoryRing[uint64](8, start)
		in := []uint64{1, 2, 3, 4, 5, 6}
		if n := r.produce(in); n != 6 {
			t.Fatalf("start %d: empty ring took %d of 6", start, n)
		}
		if n := r.produce(in); n != 2 {
			t.Fatalf("start %d: ring with 2 free slots took %d of 6", start, n)
		}
		if n := r.produce(in); n != 0 {
			t.Fatalf("start %d: full ring took %d", start, n)
		}
		if got := atomic.LoadUint32(r.producer) - start; got != 8 {
			t.Errorf("start %d: published %d slots, want 8", start, got)
		}
		for i, want := range []uint64{1, 2, 3, 4, 5, 6, 1, 2} {
			if got := r.slots[(start+uint32(i))&7]; got != want {
				t.Errorf("start %d: slot %d holds %d, want %d", start, i, got, want)
			}
		}
		if r.drained() {
			t.Errorf("start %d: full ring says that it is drained", start)
		}
		atomic.AddUint32(r.consumer, 3) // the kernel takes three
		if n := r.produce(in); n != 3 {
			t.Errorf("start %d: ring with 3 free slots took %d of 6", start, n)
		}
		atomic.AddUint32(r.consumer, 8)
		if !r.drained() {
			t.Errorf("start %d: empty ring says that it is not drained", start)
		}
	}
}

func TestConsumeGivesWhatIsThere(t *testing.T) {
	for _, start := range []uint32{0, 6, math.MaxUint32 - 1} {
		r := memoryRing[Desc](8, start)
		out := make([]Desc, 4)
		if n := r.consume(out); n != 0 {
			t.Fatalf("start %d: empty ring gave %d", start, n)
		}
		for i := range uint32(6) { // the kernel writes six, then publishes
			r.slots[(start+i)&7] = Desc{Addr: uint64(i), Len: 60 + i}
		}
		atomic.AddUint32(r.producer, 6)
		if n := r.consume(out); n != 4 || out[0].Addr != 0 || out[3] != (Desc{Addr: 3, Len: 63}) {
			t.Fatalf("start %d: got %d %v, want the first four", start, n, out)
		}
		if got := atomic.LoadUint32(r.consumer) - start; got != 4 {
			t.Errorf("start %d: gave back %d slots, want 4", start, got)
		}
		if n := r.consume(out); n != 2 || out[0].Addr != 4 || out[1].Addr != 5 {
			t.Errorf("start %d: got %d %v, want the last two", start, n, out[:2])
		}
		if n := r.consume(out[:0]); n != 0 {
			t.Errorf("start %d: empty burst got %d", start, n)
		}
	}
}

// The peer's index is read only when the copy of it does not suffice.
func TestPeerIndexIsCached(t *testing.T) {
	r := memoryRing[uint64](8, 0)
	atomic.StoreUint32(r.producer, 8)
	out := make([]uint64, 2)
	r.consume(out)
	if r.peer != 8 {
		t.Fatalf("cached index %d, want 8", r.peer)
	}
	atomic.StoreUint32(r.producer, 9)
	r.consume(out)
	if r.peer != 8 {
		t.Errorf("index was read although a full burst was known: cached %d", r.peer)
	}
}

func TestNeedsWakeupReadsTheFlag(t *testing.T) {
	r := memoryRing[uint64](8, 0)
	if r.needsWakeup() {
		t.Error("flag is clear, wakeup wanted")
	}
	atomic.StoreUint32(r.flags, unix.XDP_RING_NEED_WAKEUP)
	if !r.needsWakeup() {
		t.Error("flag is set, no wakeup wanted")
	}
}

// Two rings on the same memory, one per side, in two threads: every element
// arrives once and in order. With -race this also checks the ordering contract.
func TestRingKeepsOrderBetweenThreads(t *testing.T) {
	const total = 200_000
	p := memoryRing[uint64](64, math.MaxUint32-1000)
	c := *p
	go func() {
		next, burst := uint64(0), make([]uint64, 0, 48)
		for next < total {
			burst = burst[:0]
			for i := uint64(0); i < next%48+1 && next+i < total; i++ {
				burst = append(burst, next+i)
			}
			next += uint64(p.produce(burst))
		}
	}()
	out := make([]uint64, 33)
	for want := uint64(0); want < total; {
		for _, got := range out[:c.consume(out)] {
			if got != want {
				t.Fatalf("got %d, want %d", got, want)
			}
			want++
		}
	}
}

func TestRingsDoNotAllocate(t *testing.T) {
	fill, rx := memoryRing[uint64](64, 0), memoryRing[Desc](64, 0)
	addrs, descs := make([]uint64, 64), make([]Desc, 64)
	got := testing.AllocsPerRun(10, func() {
		for range 100 {
			fill.produce(addrs)
			atomic.StoreUint32(fill.consumer, fill.own)
			atomic.StoreUint32(rx.producer, rx.own+64)
			if n := rx.consume(descs); n != 64 {
				t.Fatalf("consumed %d", n)
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations per 100 bursts", got)
	}
}

func TestFieldOffsetsOfDesc(t *testing.T) {
	var ours Desc
	var kernels unix.XDPDesc
	got := []uintptr{unsafe.Offsetof(ours.Addr), unsafe.Offsetof(ours.Len), unsafe.Offsetof(ours.Options)}
	want := []uintptr{unsafe.Offsetof(kernels.Addr), unsafe.Offsetof(kernels.Len), unsafe.Offsetof(kernels.Options)}
	if !slices.Equal(got, want) {
		t.Errorf("offsets %v, want %v", got, want)
	}
}

package xsk

import (
	"slices"
	"testing"
)

// TestUnplugged: a worker can do all with it that it does with a socket, and nothing
// happens.
func TestUnplugged(t *testing.T) {
	s := Unplugged()
	for range 3 {
		if n := s.Fill([]uint64{4096}) + s.Transmit([]Desc{{Addr: 4096, Len: 60}}); n != 0 {
			t.Errorf("it took %d frames", n)
		}
		if n := s.Receive(make([]Desc, 4)) + s.Complete(make([]uint64, 4)); n != 0 {
			t.Errorf("it gave %d frames", n)
		}
		if err := s.Flush(); err != nil || s.Received() || s.NeedsRXWakeup() || s.Outstanding().Total() != 0 {
			t.Errorf("flush %v, received %v, wakeup %v, %+v", err, s.Received(), s.NeedsRXWakeup(), s.Outstanding())
		}
	}
	if !s.IsUnplugged() || s.FD() != -1 {
		t.Errorf("unplugged %v, fd %d", s.IsUnplugged(), s.FD())
	}
}

// TestReclaim takes the frames of all four rings back, each once; what the kernel has
// taken and not given back is still told by Outstanding.
func TestReclaim(t *testing.T) {
	umem, err := NewUMEM(UMEMOptions{Frames: 64, Unlocked: true})
	mustDo(t, "make UMEM", err)
	defer umem.Close()
	s, w, err := NewWire(SocketOptions{UMEM: umem, RXSize: 16, TXSize: 16, FillSize: 32, CompletionSize: 16})
	mustDo(t, "make wire", err)
	var given []uint64
	for i := range uint64(30) {
		given = append(given, i*uint64(umem.FrameSize()))
	}
	s.Fill(given[:20])
	w.Deliver(make([]byte, 60), make([]byte, 60), make([]byte, 60)) // to be received
	for _, addr := range given[20:] {
		s.Transmit([]Desc{{Addr: addr, Len: 60}})
	}
	var sent [6]Desc
	w.Collect(sent[:])
	w.Complete(sent[:4]) // two more are under way
	var back []uint64
	s.Reclaim(func(addr uint64) { back = append(back, umem.FrameOf(addr)) })
	slices.Sort(back)
	want := slices.Delete(slices.Clone(given), 24, 26)
	if !slices.Equal(back, want) {
		t.Errorf("got back\n%v, want\n%v", back, want)
	}
	if o := s.Outstanding(); o.Total() != 2 || o.KernelTX != 2 {
		t.Errorf("outstanding %+v, want 2 in the kernel", o)
	}
}

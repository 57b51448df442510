package xsk

import (
	"bytes"
	"testing"
)

// newTestWire is a socket with rings of 4 packets and a fill ring of 8 frames,
// and the frames of its UMEM.
func newTestWire(t *testing.T, headroom int) (*Socket, *Wire, *UMEM, []uint64) {
	t.Helper()
	u := newTestUMEM(t, UMEMOptions{Frames: 16, Headroom: headroom})
	s, w, err := NewWire(SocketOptions{UMEM: u, Queue: 3, RXSize: 4, TXSize: 4, FillSize: 8, CompletionSize: 4})
	mustDo(t, "make wire", err)
	if s.Queue() != 3 {
		t.Errorf("queue %d, want 3", s.Queue())
	}
	var free []uint64
	for i := range u.Frames() {
		free = append(free, u.Frame(i))
	}
	return s, w, u, free
}

// testFrames are n frames that differ in length and content.
func testFrames(n int) [][]byte {
	var frames [][]byte
	for i := range n {
		frames = append(frames, bytes.Repeat([]byte{byte(i + 1)}, 60+i))
	}
	return frames
}

// A frame goes all the way round and comes back to the owner.
func TestWireRoundTrip(t *testing.T) {
	s, w, u, free := newTestWire(t, 32)
	frames := testFrames(3)
	for round := range 10 { // the rings wrap
		n := s.Fill(free[:3])
		free = free[n:]
		if got := w.Deliver(frames...); got != 3 {
			t.Fatalf("round %d: delivered %d of 3", round, got)
		}
		var descs, sent [8]Desc
		if got := s.Receive(descs[:]); got != 3 {
			t.Fatalf("round %d: received %d of 3", round, got)
		}
		for i, d := range descs[:3] {
			if got := u.Bytes(d.Addr, d.Len); !bytes.Equal(got, frames[i]) {
				t.Errorf("round %d: frame %d arrived as %x", round, i, got)
			}
			if got := d.Addr - u.FrameOf(d.Addr); got != kernelHeadroom+32 {
				t.Errorf("round %d: frame %d lies %d bytes into its memory", round, i, got)
			}
		}
		if got := s.Transmit(descs[:3]); got != 3 {
			t.Fatalf("round %d: took %d of 3", round, got)
		}
		mustDo(t, "flush", s.Flush())
		if got := w.Collect(sent[:]); got != 3 || sent != descs {
			t.Fatalf("round %d: collected %d %v, want %v", round, got, sent[:got], descs[:3])
		}
		checkLedger(t, u, len(free), s)
		var addrs [8]uint64
		if got := w.Complete(sent[:3]); got != 3 || s.Complete(addrs[:]) != 3 {
			t.Fatalf("round %d: completed %d of 3", round, got)
		}
		for _, a := range addrs[:3] {
			free = append(free, u.FrameOf(a))
		}
		checkLedger(t, u, len(free), s)
	}
}

// What a full or empty ring has no place for stays where it was.
func TestWireStopsAtFullRings(t *testing.T) {
	s, w, u, free := newTestWire(t, 0)
	frames := testFrames(8)
	if n := w.Deliver(frames...); n != 0 {
		t.Errorf("delivered %d without a frame to fill", n)
	}
	s.Fill(free[:2])
	if n := w.Deliver(frames...); n != 2 {
		t.Errorf("delivered %d into 2 frames", n)
	}
	if n := s.Fill(free[2:]); n != 8 {
		t.Errorf("fill ring of 8 took %d", n)
	}
	free = free[10:]
	if n := w.Deliver(frames...); n != 2 {
		t.Errorf("RX ring with 2 of 4 free slots took %d", n)
	}
	checkLedger(t, u, len(free), s)

	var descs, sent [8]Desc
	if n := s.Receive(descs[:]); n != 4 {
		t.Fatalf("received %d of 4", n)
	}
	w.Deliver(frames[:4]...)
	s.Receive(descs[4:])
	if n := s.Transmit(descs[:]); n != 4 {
		t.Errorf("TX ring of 4 took %d", n)
	}
	if n := w.Collect(sent[:3]); n != 3 {
		t.Errorf("collected %d, asked for 3", n)
	}
	w.Collect(sent[3:4])
	s.Transmit(descs[4:])
	w.Collect(sent[4:])
	if sent != descs {
		t.Errorf("collected %v, want %v", sent, descs)
	}
	if n := w.Complete(sent[:]); n != 4 {
		t.Errorf("completion ring of 4 took %d", n)
	}
	checkLedger(t, u, len(free), s)
	var addrs [8]uint64
	if n := s.Complete(addrs[:]); n != 4 || addrs[3] != sent[3].Addr {
		t.Errorf("completed %d %v", n, addrs[:n])
	}
	if n := w.Complete(sent[4:]); n != 4 || s.Complete(addrs[:]) != 4 || addrs[3] != sent[7].Addr {
		t.Errorf("the rest: completed %d %v", n, addrs[:4])
	}
}

func TestWireRefusesBadSizes(t *testing.T) {
	u := newTestUMEM(t, UMEMOptions{Frames: 1})
	if _, _, err := NewWire(SocketOptions{UMEM: u, TXSize: 3}); err == nil {
		t.Error("a ring of 3 slots was made")
	}
	if _, _, err := NewWire(SocketOptions{}); err == nil {
		t.Error("a wire without memory was made")
	}
}

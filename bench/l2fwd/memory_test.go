package l2fwd

import (
	"bytes"
	"testing"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// rig is a forwarder whose sockets are plain memory.
type rig struct {
	forwarder
	wires [2]*xsk.Wire
}

func newRig(t *testing.T) *rig {
	t.Helper()
	const ring, frames = 256, 2048
	umem, err := xsk.NewUMEM(xsk.UMEMOptions{Frames: frames})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{}
	r.umem = umem
	for i := range frames {
		r.free = append(r.free, umem.Frame(i))
	}
	for i := range r.ports {
		s, w, err := xsk.NewWire(xsk.SocketOptions{UMEM: umem, RXSize: ring, TXSize: ring, FillSize: 2 * ring, CompletionSize: 2 * ring})
		if err != nil {
			t.Fatal(err)
		}
		r.ports[i].sock, r.wires[i], r.ports[i].missing = s, w, 2*ring
		r.ports[i].header = Rewrite([]byte{2, 0, 0, 0, 1, byte(i)}, []byte{2, 0, 0, 0, 2, byte(i)})
		r.refill(&r.ports[i])
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// held counts the frames that are not in the rings.
func (r *rig) checkLedger(t *testing.T) {
	t.Helper()
	n := len(r.free)
	for i := range r.ports {
		n += r.ports[i].sock.Outstanding().Total()
	}
	if n != r.umem.Frames() {
		t.Errorf("%d of %d frames are left", n, r.umem.Frames())
	}
}

// drain takes what a port sent off the wire.
func (r *rig) drain(port int, visit func(frame []byte)) {
	var descs [BurstSize]xsk.Desc
	for {
		n := r.wires[port].Collect(descs[:])
		for _, d := range descs[:n] {
			visit(r.umem.Bytes(d.Addr, d.Len))
		}
		if n == 0 {
			return
		}
		r.wires[port].Complete(descs[:n])
	}
}

func TestRewritesAndForwards(t *testing.T) {
	r := newRig(t)
	frame := append(make([]byte, 14), "something that must not change, 60 bytes"...)
	for in, out := range []int{1, 0} {
		r.wires[in].Deliver(frame, frame, frame)
		if n := r.burst(in, out); n != 3 {
			t.Fatalf("%d packets from port %d, want 3", n, in)
		}
		seen := 0
		r.drain(out, func(got []byte) {
			seen++
			want := append(r.ports[out].header[:], frame[12:]...)
			if !bytes.Equal(got, want) {
				t.Errorf("port %d sent % x\nwant % x", out, got, want)
			}
		})
		if seen != 3 {
			t.Errorf("port %d sent %d packets, want 3", out, seen)
		}
	}
	r.checkLedger(t)
}

func TestFullTXRingDrops(t *testing.T) {
	r := newRig(t)
	frame := make([]byte, 60)
	for range 5 * BurstSize { // the TX ring has room for four bursts
		r.wires[0].Deliver(frame)
	}
	for r.burst(0, 1) != 0 {
	}
	// The RX ring took four bursts as well; the fifth comes now.
	for range BurstSize {
		r.wires[0].Deliver(frame)
	}
	for r.burst(0, 1) != 0 {
	}
	if r.stats.TX[1] != 4*BurstSize || r.stats.Dropped[1] != BurstSize {
		t.Errorf("sent %d, dropped %d, want %d and %d", r.stats.TX[1], r.stats.Dropped[1], 4*BurstSize, BurstSize)
	}
	r.checkLedger(t)
}

func TestNothingIsAllocated(t *testing.T) {
	r := newRig(t)
	frame := make([]byte, 60)
	batch := make([][]byte, BurstSize)
	for i := range batch {
		batch[i] = frame
	}
	const rounds = 1000
	allocs := testing.AllocsPerRun(1, func() {
		for range rounds {
			r.wires[0].Deliver(batch...)
			r.burst(0, 1)
			r.drain(1, func([]byte) {})
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations in %d bursts, want 0", allocs, rounds)
	}
	if r.stats.TX[1] != 2*rounds*BurstSize {
		t.Errorf("forwarded %d packets, want %d", r.stats.TX[1], 2*rounds*BurstSize)
	}
	r.checkLedger(t)
}

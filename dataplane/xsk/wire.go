package xsk

// Wire plays the kernel at the other end of a socket whose rings are plain
// memory: what it delivers is received, what is transmitted it collects. It
// lets the packet path run without a device, a privilege or a system call, for
// benchmarks and tests. It belongs to the thread that uses the socket.
type Wire struct {
	umem       *UMEM
	rx         ring[Desc]   // we produce
	tx         ring[Desc]   // we consume
	fill       ring[uint64] // we consume
	completion ring[uint64] // we produce
	headroom   uint64       // bytes before a delivered frame
}

// NewWire makes a socket with rings in plain memory, and its other end. Sizes
// are those of o; its interface, queue and mode mean nothing.
func NewWire(o SocketOptions) (*Socket, *Wire, error) {
	if err := o.complete(); err != nil {
		return nil, nil, err
	}
	s := &Socket{fd: -1, umem: o.UMEM, ifindex: o.Ifindex, queue: o.Queue}
	w := &Wire{umem: o.UMEM, headroom: kernelHeadroom + uint64(o.UMEM.headroom)}
	s.rx, w.rx = plainRing[Desc](o.RXSize)
	s.tx, w.tx = plainRing[Desc](o.TXSize)
	s.fill, w.fill = plainRing[uint64](o.FillSize)
	s.completion, w.completion = plainRing[uint64](o.CompletionSize)
	return s, w, nil
}

// plainRing makes both ends of a ring.
func plainRing[T uint64 | Desc](size int) (near, far ring[T]) {
	indices := new([3][16]uint32) // producer, consumer, flags: a cache line each
	slots := make([]T, size)
	near = newRing(&indices[0][0], &indices[1][0], &indices[2][0], slots)
	far = newRing(&indices[0][0], &indices[1][0], &indices[2][0], slots)
	return near, far
}

// Deliver receives frames: each is copied into a frame of the fill ring, as a
// NIC writes it to memory. It returns how many were delivered before the fill
// or RX ring had nothing left.
func (w *Wire) Deliver(frames ...[]byte) int {
	var addr [1]uint64
	for i, f := range frames {
		if w.rx.own-*w.rx.consumer > w.rx.mask || w.fill.consume(addr[:]) == 0 {
			return i
		}
		at := w.umem.FrameOf(addr[0]) + w.headroom
		copy(w.umem.FrameRoom(at), f)
		w.rx.produce([]Desc{{Addr: at, Len: uint32(len(f))}})
	}
	return len(frames)
}

// Collect takes up to len(descs) transmitted packets off the TX ring. Their
// bytes stay valid until Complete.
func (w *Wire) Collect(descs []Desc) int { return w.tx.consume(descs) }

// Complete gives the frames of collected packets back and returns how many the
// completion ring took: descs[:n].
func (w *Wire) Complete(descs []Desc) int {
	for i := range descs {
		if w.completion.produce([]uint64{descs[i].Addr}) == 0 {
			return i
		}
	}
	return len(descs)
}

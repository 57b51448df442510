package xsk

// Unplugged makes a socket that nothing comes from and nothing goes to: its rings have
// no room and never get any. A worker keeps it in place of one whose interface is gone.
// FD is -1, which poll passes over. It needs no Close.
func Unplugged() *Socket {
	s := &Socket{fd: -1}
	s.rx, _ = plainRing[Desc](1)
	s.tx, _ = plainRing[Desc](1)
	s.fill, _ = plainRing[uint64](1)
	s.completion, _ = plainRing[uint64](1)
	s.tx.own, s.fill.own = 1, 1 // full, though nothing is in them
	return s
}

// IsUnplugged tells whether the socket came from Unplugged.
func (s *Socket) IsUnplugged() bool { return s.umem == nil }

// Reclaim takes back all frames that are in the rings of a socket whose interface is
// gone, and passes their addresses to put. What the driver held is not among them; it is
// what Outstanding still counts. Only Close may be called after it.
func (s *Socket) Reclaim(put func(addr uint64)) {
	var descs [64]Desc
	for n := s.Receive(descs[:]); n > 0; n = s.Receive(descs[:]) {
		for _, d := range descs[:n] {
			put(d.Addr)
		}
	}
	var addrs [64]uint64
	for n := s.Complete(addrs[:]); n > 0; n = s.Complete(addrs[:]) {
		for _, addr := range addrs[:n] {
			put(addr)
		}
	}
	s.fill.retract(func(addr uint64) { put(addr) })
	s.tx.retract(func(d Desc) { put(d.Addr) })
}

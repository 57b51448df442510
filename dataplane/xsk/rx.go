package xsk

// Receive moves up to len(descs) received packets into descs and returns their
// number. Their frames are the caller's.
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) Receive(descs []Desc) int { return s.rx.consume(descs) }

// Received reports whether there are packets for Receive.
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) Received() bool { return s.rx.filled() }

// Fill gives frames to the kernel for reception and returns how many it took:
// addrs[:n] are the kernel's, the rest still the caller's. Any address inside a
// frame names it; the kernel rounds down.
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) Fill(addrs []uint64) int { return s.fill.produce(addrs) }

// NeedsRXWakeup reports whether reception stands still until WakeRX: a
// zero-copy driver ran out of frames and went to sleep, or the socket busy
// polls, in which case the system call is what receives. Ask after Fill.
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) NeedsRXWakeup() bool { return s.busyPoll || s.fill.needsWakeup() }

// WakeRX tells the kernel to look at the fill ring. It never sleeps. Its result
// is of no use: whether packets came is seen by Receive.
//
// Hot: once per burst at most. 0 allocs, 1 system call.
func (s *Socket) WakeRX() { kickRX(s.fd) }

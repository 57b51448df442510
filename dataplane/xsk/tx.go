package xsk

import "golang.org/x/sys/unix"

// copyModeBatch is how many descriptors the kernel sends per system call in
// copy mode (net/xdp/xsk.c, TX_BATCH_SIZE); it answers EAGAIN if there are more.
const copyModeBatch = 32

// Transmit queues packets and returns how many fitted: descs[:n] and their
// frames are the kernel's, the rest still the caller's. Nothing need be sent
// before Flush.
//
// Precondition: a packet has at least 14 bytes and lies within one frame. The
// kernel skips other descriptors without completing them, so their frames would
// be lost (Stats.TXInvalidDescs).
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) Transmit(descs []Desc) int { return s.tx.produce(descs) }

// Flush makes the kernel send what Transmit queued, if it has to be told
// (need_wakeup). In copy mode it calls the kernel once per 32 packets, and again
// while that makes progress. It never sleeps and loses nothing: packets that
// the kernel would not take now (link queue, send buffer or completion ring
// full) stay in the ring, and the next Flush tries again. So call it once per
// round of the worker's loop, with or without new packets; with an empty ring
// it costs two loads.
//
// An error says that the port cannot send at all (ENETDOWN, ENXIO: down or
// gone); the packets stay in the ring.
//
// Hot: once per burst. 0 allocs.
func (s *Socket) Flush() error {
	// Each round sends a batch or is the last; one more than full batches fit.
	for range len(s.tx.slots)/copyModeBatch + 2 {
		if s.tx.drained() || !s.tx.needsWakeup() {
			return nil
		}
		before := s.tx.peer
		switch errno := kickTX(s.fd); errno {
		case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR:
			// EAGAIN: more than a batch, or the completion ring or the device
			// is full. EBUSY: the device dropped a packet; it completes all
			// the same. ENOBUFS: no send buffer.
		default:
			return errno
		}
		if s.zeroCopy || (s.tx.drained() || s.tx.peer == before) {
			return nil
		}
	}
	return nil
}

// Kick tells the kernel to look at the TX ring whether it asked for that or
// not: for a watchdog that sees packets queued and none completed.
func (s *Socket) Kick() { kickTX(s.fd) }

// Complete moves up to len(addrs) addresses of packets that were sent into
// addrs and returns their number: as given to Transmit, so FrameOf gives the
// frame. Their frames are the caller's again.
//
// Hot: once per burst. 0 allocs, no system call.
func (s *Socket) Complete(addrs []uint64) int { return s.completion.consume(addrs) }

package dataplane

import "github.com/xdpct/xdpct/dataplane/xsk"

// workerPort is what one worker has of one port: the queues that it receives
// from, and the socket that it sends by.
type workerPort struct {
	queues []rxQueue
	tx     *xsk.Socket // == queues[0].sock
	batch  [2 * BurstSize]xsk.Desc
	queued int // descriptors in batch
}

// transmit puts the forwarded packets on the TX rings, gives the kernel its
// own, and frees the frames of the dropped ones.
//
// Reads: verdict, reason, out, frame, addr.
func (w *Worker) transmit(b *burst) {
	for i := range b.n {
		p := &b.pkts[i]
		switch p.verdict {
		case VerdictForward:
			w.queueTX(p.out, p.addr, uint32(len(p.frame)))
		case VerdictForwardPieces:
			w.transmitPieces(p)
		case VerdictPunt:
			w.puntOne(p)
		case VerdictDrop:
			w.count.drops[p.reason].Add(1)
			w.frames.put(p.addr)
			if p.rest != 0 {
				w.freePieces(p.rest, p.reason)
			}
		case VerdictHandedOver, VerdictHeld, VerdictAside, VerdictBypass: // the frame is somebody else's, or waits
		}
	}
	w.flushTX()
}

// queueTX adds a frame to what a port will send at the end of the burst.
func (w *Worker) queueTX(port uint8, addr uint64, n uint32) {
	o := &w.ports[port]
	if o.queued == len(o.batch) {
		w.flushPort(port)
	}
	d := &o.batch[o.queued]
	d.Addr, d.Len = addr, n
	o.queued++
}

// flushTX sends what is queued on all ports, and takes back the frames that
// the kernel has sent.
func (w *Worker) flushTX() {
	for i := range w.ports {
		w.flushPort(uint8(i))
	}
}

// flushPort sends what is queued on one port. A full TX ring is given one more
// chance after the kernel was woken and its completions were taken; what still
// finds no room is dropped and counted.
func (w *Worker) flushPort(port uint8) {
	o := &w.ports[port]
	sent := 0
	for try := 0; sent < o.queued && try < 2; try++ {
		n := o.tx.Transmit(o.batch[sent:o.queued])
		w.frames.check.sent(o.batch[sent : sent+n])
		sent += n
		w.kick(port)
		w.reap(o.tx)
	}
	for _, d := range o.batch[sent:o.queued] {
		w.frames.put(d.Addr)
	}
	if o.queued == 0 { // packets of an earlier burst may still wait in the ring
		w.kick(port)
		w.reap(o.tx)
		return
	}
	w.count.drops[DropTXRingFull].Add(uint64(o.queued - sent))
	w.count.portTX[port].Add(uint64(sent))
	o.queued = 0
}

// kick makes the kernel look at a TX ring.
func (w *Worker) kick(port uint8) {
	if err := w.ports[port].tx.Flush(); err != nil {
		w.count.txErrors.Add(1)
	}
}

// reap frees the frames of a completion ring.
func (w *Worker) reap(s *xsk.Socket) {
	var done [BurstSize]uint64
	for {
		n := w.takeBack(s, done[:])
		for _, addr := range done[:n] {
			w.frames.put(addr)
		}
		if n < len(done) {
			return
		}
	}
}

// takeBack takes frames that the kernel has sent off a completion ring.
func (w *Worker) takeBack(s *xsk.Socket, done []uint64) int {
	n := s.Complete(done)
	w.frames.check.completed(done[:n])
	return n
}

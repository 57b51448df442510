package dataplane

import "github.com/xdpct/xdpct/dataplane/xsk"

// rxQueue is one hardware queue that a worker serves.
type rxQueue struct {
	sock    *xsk.Socket
	port    uint8 // number of the port
	missing int   // frames that the fill ring has room for
	descs   [BurstSize]xsk.Desc
}

// receive fills the burst from a queue's RX ring, or, with q nil, from what
// other workers handed over, and returns the number of packets. Checksums are the
// concern of who took a packet from the NIC.
//
// Writes: n, verify, asking, frame, addr, in; resets the rest.
func (w *Worker) receive(b *burst, q *rxQueue) int {
	b.n, b.bypassing, b.gathered = 0, false, false
	b.verify = q != nil && !w.cfg.skipChecksums
	b.asking = q == nil || w.cfg.sources.each[q.port&(maxPorts-1)] != askNothing
	if q == nil {
		w.receiveHandedOver(b)
		return b.n
	}
	b.n = q.sock.Receive(q.descs[:])
	w.frames.check.received(q.descs[:b.n])
	q.missing += b.n
	for i := range b.n {
		d := &q.descs[i]
		w.admit(&b.pkts[i], d.Addr, d.Len, q.port)
	}
	w.refill(q)
	if b.n > 0 {
		w.count.portRX[q.port].Add(uint64(b.n))
	}
	return b.n
}

// admit starts a packet's life in the burst.
func (w *Worker) admit(p *pkt, addr uint64, n uint32, in uint8) {
	p.frame, p.addr, p.in = w.cfg.umem.Packet(addr, n), addr, in
	p.ref, p.hop = 0, 0
	p.verdict, p.reason = VerdictForward, DropUnspecified
	p.plain, p.related, p.bare, p.class, p.outlook = false, false, false, helpNone, 0
	p.assembled, p.gathered, p.rest = false, false, 0
}

// refill gives the queue new frames for those that were received, in bursts,
// and wakes the driver if it asked for it. The kernel tells late how far it has
// emptied the fill ring, so the ring may seem full for a while; what does not
// fit now is given with a later burst.
func (w *Worker) refill(q *rxQueue) {
	var addrs [BurstSize]uint64
	for q.missing > 0 {
		n := w.frames.take(addrs[:min(q.missing, BurstSize)])
		put := q.sock.Fill(addrs[:n])
		w.frames.check.filled(addrs[:put])
		q.missing -= put
		for _, addr := range addrs[put:n] {
			w.frames.put(addr)
		}
		if put < BurstSize {
			break
		}
	}
	if q.sock.NeedsRXWakeup() {
		q.sock.WakeRX()
	}
}

// receiveHandedOver takes packets that other workers passed to this one.
func (w *Worker) receiveHandedOver(b *burst) {
	var h handed
	for i := range w.edge.peers {
		in := w.edge.peers[i].in
		if in == nil {
			continue
		}
		for b.n < BurstSize && in.pop(&h) {
			w.admit(&b.pkts[b.n], h.addr, h.len, uint8(h.in))
			b.pkts[b.n].assembled = h.in&handedAssembled != 0
			b.n++
		}
	}
	if b.n > 0 {
		w.count.handedIn.Add(uint64(b.n))
	}
}

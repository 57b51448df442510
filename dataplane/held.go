package dataplane

import (
	"net/netip"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Limits of waiting for a neighbour. The kernel keeps 3 packets a neighbour
// for 3 probes of a second each; here the bound is on all of them together, so
// that a scan of empty addresses cannot take the frames away.
const (
	maxHeld      = 128
	maxHeldPerIP = 16 // for one neighbour
	holdTime     = 3 * flowtable.TicksPerSecond
)

// heldQueue is the packets of one worker that wait for a neighbour. They are
// translated and ready but for their MAC addresses.
type heldQueue struct {
	pkts  [maxHeld]heldPkt
	n     int
	gen   uint32         // routing snapshot of the last look
	asked flowtable.Tick // when the neighbours were last looked for
}

type heldPkt struct {
	addr    uint64 // UMEM address of the Ethernet header
	len     uint32 // bytes
	family  packet.Family
	dst     packet.Addr // where it goes, after translation
	via     netip.Addr  // the neighbour that it waits for
	ifindex int         // and its interface
	until   flowtable.Tick
}

// hold puts a packet aside until its neighbour is known, and asks the kernel
// to resolve it.
func (w *Worker) hold(p *pkt, hop *fib.NextHop) {
	if !w.routes.now.LinkUp(hop.Port) {
		p.drop(DropLinkDown)
		return
	}
	q := &w.routes.held
	dst := w.outerDst(p)
	via := hop.Neighbour(dst.Netip(p.hdr.Family))
	w.routes.mirror.Resolve(via, hop.Ifindex)
	n := 1 + w.aside.count(p.rest)
	if q.n+n > maxHeld || q.waiting(via)+n > maxHeldPerIP {
		p.drop(DropNeighbourPending)
		return
	}
	h := heldPkt{addr: p.addr, len: uint32(len(p.frame)), family: p.hdr.Family,
		dst: dst, via: via, ifindex: hop.Ifindex, until: w.clock.now + holdTime}
	q.add(&h)
	for i := p.rest; i != 0; i = w.aside.release(i) {
		h.addr, h.len = w.aside.pool[i].addr, w.aside.pool[i].len
		q.add(&h)
	}
	p.verdict, p.rest = VerdictHeld, 0
}

// add puts a packet at the end of the queue.
//
// Precondition: there is room.
func (q *heldQueue) add(h *heldPkt) {
	q.pkts[q.n] = *h
	q.n++
}

// waiting counts the packets that wait for a neighbour.
func (q *heldQueue) waiting(via netip.Addr) int {
	n := 0
	for i := range q.n {
		if q.pkts[i].via == via {
			n++
		}
	}
	return n
}

// retryHeld sends the held packets whose neighbour is known by now, and gives
// up on those that waited too long.
func (w *Worker) retryHeld() {
	q := &w.routes.held
	if q.n == 0 || q.gen == w.routes.now.Gen() && w.clock.now == q.asked {
		return
	}
	q.gen, q.asked = w.routes.now.Gen(), w.clock.now
	kept := 0
	for i := range q.n {
		h := &q.pkts[i]
		id := w.routes.lookup(h.dst, h.family)
		switch {
		case id >= fib.FirstHop && w.routes.now.Hop(id).Valid:
			w.sendHeld(h, w.routes.now.Hop(id))
		case int32(w.clock.now-h.until) >= 0:
			w.frames.put(h.addr)
			w.count.drops[DropNeighbourFailed].Add(1)
		default:
			w.routes.mirror.Resolve(h.via, h.ifindex) // asks once a second
			q.pkts[kept] = *h
			kept++
		}
	}
	q.n = kept
	w.flushTX()
}

func (w *Worker) sendHeld(h *heldPkt, hop *fib.NextHop) {
	frame := w.cfg.umem.Bytes(h.addr, h.len)
	packet.Ethernet(frame).SetAddrs(&hop.DstMAC, &hop.SrcMAC)
	w.queueTX(uint8(hop.Port), h.addr, h.len)
}

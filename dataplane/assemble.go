package dataplane

import (
	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// A datagram that comes in pieces is tracked as a whole, as behind the kernel's
// defragmentation, and leaves in the pieces that it came in:
//
//   - putAside (in parse) keeps each piece in its frame until none is missing. Then
//     the packet of the burst that brought the last one stands for the datagram:
//     its frame is that of the first piece, which has the transport header, and
//     pkt.rest lists the others. Only that packet goes on.
//   - steer hands over all pieces, translate, forward and transmit do for the others
//     what they did for the first. The stages between look at the first one only,
//     and at hdr.Beyond for the length.
//
// Decision 14 says why and what it costs.

// putAside keeps a fragment until its datagram is complete.
func (w *Worker) putAside(p *pkt) {
	piece, ok := packet.PieceOf(p.frame, &p.hdr)
	if !ok {
		p.drop(DropFragmentBad)
		return
	}
	key := w.fragmentKey(p, piece.ID)
	if !p.assembled && w.cfg.workers > 1 {
		if to := key.assembler(w.cfg.fragmentSeed, w.cfg.workers); to != w.id {
			w.handOver(p, to)
			return
		}
	}
	if i, why := w.aside.inTheWay(&key); i >= 0 {
		w.giveUp(i, why)
	}
	i, result := w.aside.put(&key, &fragment{addr: p.addr, len: uint32(len(p.frame)), in: p.in,
		from: uint16(piece.From), to: uint16(piece.To)}, piece.More, w.clock.now)
	switch result {
	case putWaiting:
		p.verdict = VerdictAside
	case putDuplicate:
		p.drop(DropFragmentDuplicate)
	case putConflict:
		p.drop(DropFragmentOverlap)
		w.giveUp(i, DropFragmentOverlap)
	case putComplete:
		w.complete(p, i)
	}
}

// fragmentKey names the datagram of a fragment.
func (w *Worker) fragmentKey(p *pkt, id uint32) fragmentKey {
	k := fragmentKey{src: w.outerSrc(p), dst: w.outerDst(p), id: id, family: p.hdr.Family,
		realm: w.cfg.realm[p.in], assembled: p.assembled}
	if k.family == packet.IPv4 {
		k.proto = p.hdr.Proto
	}
	return k
}

// giveUp drops what has come of a datagram.
func (w *Worker) giveUp(i int, why DropReason) {
	w.freePieces(w.aside.remove(i), why)
}

// freePieces drops a list of pieces.
func (w *Worker) freePieces(i uint16, why DropReason) {
	for i != 0 {
		w.count.drops[why].Add(1)
		w.frames.put(w.aside.pool[i].addr)
		i = w.aside.release(i)
	}
}

// sweepFragments drops the datagrams that have waited too long.
func (w *Worker) sweepFragments() {
	for i := len(w.aside.waiting) - 1; i >= 0; i-- { // remove moves the last one
		if w.aside.waiting[i].overdue(w.clock.now) {
			w.giveUp(i, DropFragmentTimeout)
		}
	}
}

// complete makes p stand for a datagram of which nothing is missing.
func (w *Worker) complete(p *pkt, i int) {
	length := w.aside.waiting[i].end
	n := w.aside.remove(i)
	first := w.aside.pool[n]
	p.rest = w.aside.release(n)
	p.addr, p.in, p.frame = first.addr, first.in, w.cfg.umem.Packet(first.addr, first.len)
	if packet.Parse(p.frame, &p.hdr) != packet.ParseOK { // as it did when it came
		p.drop(DropUnspecified)
		return
	}
	p.hdr.Beyond = uint16(length) - first.to
	if p.hdr.IPLen() > maxIPLen(p.hdr.Family) {
		p.drop(DropFragmentBad)
		return
	}
	if !p.assembled {
		w.count.assembled.Add(1)
		p.gathered, w.burst.gathered = true, true
		if cause := w.wholeInvalid(p); cause != flowtable.InvalidNone {
			w.untrackable(p, cause)
		}
	}
}

// maxIPLen is the length of the longest datagram in bytes: of IPv6, the header itself
// does not count in its length field.
func maxIPLen(f packet.Family) int {
	if f == packet.IPv4 {
		return 65535
	}
	return packet.IPv6Len + 65535
}

// wholeInvalid judges what can be judged of a complete datagram only.
func (w *Worker) wholeInvalid(p *pkt) flowtable.Invalid {
	if p.hdr.Proto == packet.ProtoUDP && int(packet.UDP(p.frame[p.hdr.L4:]).Length()) > p.hdr.TransportLen() {
		return flowtable.InvalidLength
	}
	if w.cfg.skipChecksums {
		return flowtable.InvalidNone
	}
	sum := packet.VerifyTransport(p.frame, &p.hdr)
	sum.Add(p.frame[p.hdr.L4:p.hdr.End])
	var h packet.Headers
	for i := p.rest; i != 0; i = w.aside.pool[i].next {
		b := w.piece(i, &h)
		sum.Add(b[h.L4:h.End])
	}
	if !sum.OK() {
		return flowtable.InvalidChecksum
	}
	return flowtable.InvalidNone
}

// piece returns the frame of a later piece and its headers.
func (w *Worker) piece(i uint16, h *packet.Headers) []byte {
	f := &w.aside.pool[i]
	b := w.cfg.umem.Bytes(f.addr, f.len)
	packet.Parse(b, h) // as it did when it came
	return b
}

// handOverPieces is handOver for a datagram in pieces. They arrive one after the
// other, and marked, so that the other worker need not ask who assembles them.
func (w *Worker) handOverPieces(p *pkt, to int) {
	out := w.edge.peers[to].out
	if out.room() < 1+w.aside.count(p.rest) {
		p.drop(DropHandoverFull)
		return
	}
	out.push(&handed{addr: p.addr, len: uint32(len(p.frame)), in: uint32(p.in) | handedAssembled})
	for i := p.rest; i != 0; i = w.aside.release(i) {
		f := &w.aside.pool[i]
		out.push(&handed{addr: f.addr, len: f.len, in: uint32(f.in) | handedAssembled})
	}
	p.rest, p.verdict = 0, VerdictHandedOver
	w.edge.wake |= 1 << to
}

// join makes one packet of a datagram in pieces, for a helper: it reads text that is in
// one piece only. It stays as it is if that would be longer than the frame or the MTU of
// the way out in bytes (0 = not known).
func (w *Worker) join(p *pkt, mtu uint16) {
	limit := cap(p.frame)
	if mtu != 0 {
		limit = min(limit, int(p.hdr.L3)+int(mtu))
	}
	if int(p.hdr.End)+int(p.hdr.Beyond) > limit {
		return
	}
	var h packet.Headers
	whole := p.frame[:p.hdr.End]
	for i := p.rest; i != 0; i = w.aside.release(i) {
		b := w.piece(i, &h)
		whole = append(whole, b[h.L4:h.End]...)
		w.frames.put(w.aside.pool[i].addr)
	}
	p.rest, p.frame = 0, packet.Unfragment(whole, &p.hdr)
	packet.Parse(p.frame, &p.hdr) // as it did when it came
	w.count.joined.Add(1)
}

// translateRest gives the later pieces the addresses that the first one has now.
func (w *Worker) translateRest(p *pkt) {
	var h packet.Headers
	to := flowtable.Tuple{Src: w.outerSrc(p), Dst: w.outerDst(p), Family: p.hdr.Family, Proto: p.hdr.Proto}
	from := to
	for i := p.rest; i != 0; i = w.aside.pool[i].next {
		b := w.piece(i, &h)
		later := pkt{frame: b, hdr: h}
		from.Src, from.Dst = w.outerSrc(&later), w.outerDst(&later)
		nat.Rewrite(b, &h, &from, &to)
	}
	if p.hdr.Proto == packet.ProtoSCTP {
		w.sumSCTP(p)
	}
}

// sumSCTP computes the checksum of an SCTP packet in pieces, which nat.Rewrite leaves.
func (w *Worker) sumSCTP(p *pkt) {
	var sum packet.SCTPSum
	var h packet.Headers
	l4 := p.frame[p.hdr.L4:p.hdr.End]
	sum.Add(l4)
	for i := p.rest; i != 0; i = w.aside.pool[i].next {
		b := w.piece(i, &h)
		sum.Add(b[h.L4:h.End])
	}
	packet.SCTP(l4).SetChecksum(sum.Checksum())
}

// forwardRest writes the headers of the later pieces for their way out. It reports
// false if one does not fit the way out or has no hop left. The sender is told of the
// former; an answer to the latter is due for first pieces only (RFC 1122 §3.2.2.4).
func (w *Worker) forwardRest(p *pkt, hop *fib.NextHop) bool {
	var h packet.Headers
	for i := p.rest; i != 0; i = w.aside.pool[i].next {
		switch w.piece(i, &h); {
		case h.IPLen() > int(hop.MTU):
			w.tooBig(p, hop.MTU)
			return false
		case h.TTL <= 1:
			p.drop(DropTTLExpired)
			return false
		}
	}
	for i := p.rest; i != 0; i = w.aside.pool[i].next {
		b := w.piece(i, &h)
		if h.Family == packet.IPv4 {
			packet.IPv4Header(b[h.L3:]).DecrementTTL()
		} else {
			packet.IPv6Header(b[h.L3:]).DecrementHopLimit()
		}
		packet.Ethernet(b).SetAddrs(&hop.DstMAC, &hop.SrcMAC)
	}
	p.verdict = VerdictForwardPieces
	return true
}

// transmitPieces puts all pieces on the way out.
func (w *Worker) transmitPieces(p *pkt) {
	w.queueTX(p.out, p.addr, uint32(len(p.frame)))
	for i := p.rest; i != 0; i = w.aside.release(i) {
		f := &w.aside.pool[i]
		w.queueTX(p.out, f.addr, f.len)
	}
	p.rest = 0
}

// puntRest gives the later pieces to the kernel.
func (w *Worker) puntRest(p *pkt) {
	for i := p.rest; i != 0; i = w.aside.release(i) {
		f := &w.aside.pool[i]
		w.punt(w.cfg.umem.Bytes(f.addr, f.len), f.addr)
	}
	p.rest = 0
}

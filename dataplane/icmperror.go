package dataplane

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// Sizes of the ICMP errors that the gateway sends itself, in bytes.
const (
	maxErrorIPv4 = 576  // RFC 1812 §4.3.2.3
	maxErrorIPv6 = 1280 // RFC 4443 §2.4 (c)
	errorTTL     = 64
)

// errorLimiter bounds the errors that a worker sends (RFC 1812 §4.3.2.8): a
// bucket that fills at errorRate a second.
type errorLimiter struct {
	tokens int
	filled flowtable.Tick
}

const (
	errorRate  = 1000 // errors a second and worker, as net.ipv4.icmp_msgs_per_sec
	errorBurst = 250
)

// allow takes a token; false means that this error is not sent.
func (l *errorLimiter) allow(now flowtable.Tick) bool {
	if passed := int(now - l.filled); passed > 0 {
		l.tokens = min(errorBurst, l.tokens+passed*errorRate/flowtable.TicksPerSecond)
		l.filled = now
	}
	if l.tokens == 0 {
		return false
	}
	l.tokens--
	return true
}

// sendTimeExceeded answers a packet whose TTL ran out.
func (w *Worker) sendTimeExceeded(p *pkt) {
	if p.hdr.Family == packet.IPv4 {
		w.sendError(p, packet.ICMPTimeExceeded, packet.ICMPCodeTTLExceeded, 0)
	} else {
		w.sendError(p, packet.ICMPv6TimeExceeded, 0, 0)
	}
}

// sendTooBig answers a packet that does not fit the way out.
func (w *Worker) sendTooBig(p *pkt, mtu uint16) {
	switch {
	case p.hdr.Family == packet.IPv6:
		w.sendError(p, packet.ICMPv6PacketTooBig, 0, uint32(mtu))
	case packet.IPv4Header(p.frame[p.hdr.L3:]).DontFragment():
		w.sendError(p, packet.ICMPUnreachable, packet.ICMPCodeFragNeeded, uint32(mtu))
	}
}

// sendUnreachable answers a packet that cannot be delivered; code is the IPv4
// code.
func (w *Worker) sendUnreachable(p *pkt, code uint8) {
	if p.hdr.Family == packet.IPv4 {
		w.sendError(p, packet.ICMPUnreachable, code, 0)
		return
	}
	v6code := uint8(0) // no route to destination
	if code == packet.ICMPCodeAdminProhibited {
		v6code = 1
	}
	w.sendError(p, packet.ICMPv6Unreachable, v6code, 0)
}

// sendError builds an ICMP error about p in a frame of its own and queues it
// towards the station that p came from. It is sent with the address of the
// port that p came in by, as the kernel does.
//
// rest is the second word of the ICMP header: the MTU, or 0.
func (w *Worker) sendError(p *pkt, icmpType, code uint8, rest uint32) {
	src := w.routes.now.PrimaryAddr(uint16(p.in))
	if p.hdr.Family == packet.IPv6 {
		src = w.routes.now.PrimaryAddr6(uint16(p.in))
	}
	if p.related || !src.IsValid() || !singleHost(p) || !w.routes.errors.allow(w.clock.now) {
		return
	}
	addr, ok := w.frames.get()
	if !ok {
		return
	}
	room := w.cfg.umem.FrameRoom(addr)
	n := buildError(room, p, packet.AddrOf(src), icmpType, code, rest)
	w.count.icmpSent.Add(1)
	w.queueTX(p.in, addr, uint32(n))
}

// buildError writes an ICMP error about p to out and returns its length.
func buildError(out []byte, p *pkt, src packet.Addr, icmpType, code uint8, rest uint32) int {
	var dst, me [6]byte
	copy(dst[:], packet.Ethernet(p.frame).Src())
	copy(me[:], packet.Ethernet(p.frame).Dst())
	packet.Ethernet(out).SetAddrs(&dst, &me)
	quote := p.frame[p.hdr.L3:p.hdr.End]
	if p.hdr.Family == packet.IPv4 {
		binary.BigEndian.PutUint16(out[12:], packet.EtherTypeIPv4)
		quote = quote[:min(len(quote), maxErrorIPv4-packet.IPv4MinLen-packet.ICMPLen)]
		return buildErrorIPv4(out, quote, src, icmpType, code, rest)
	}
	binary.BigEndian.PutUint16(out[12:], packet.EtherTypeIPv6)
	quote = quote[:min(len(quote), maxErrorIPv6-packet.IPv6Len-packet.ICMPLen)]
	return buildErrorIPv6(out, quote, src, icmpType, code, rest)
}

func buildErrorIPv4(out, quote []byte, src packet.Addr, icmpType, code uint8, rest uint32) int {
	n := packet.IPv4MinLen + packet.ICMPLen + len(quote)
	ip := packet.IPv4Header(out[packet.EthernetLen : packet.EthernetLen+n])
	clear(ip[:packet.IPv4MinLen])
	ip[0] = 0x45
	ip[1] = 0xc0 // precedence internetwork control, RFC 1812 §4.3.2.5
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	ip[8], ip[9] = errorTTL, packet.ProtoICMP
	ip.SetSrc(src)
	ip.SetDst(packet.IPv4Header(quote).Src())
	ip.SetChecksum(packet.Fold(packet.Sum(ip[:packet.IPv4MinLen], 0)))
	fillError(packet.ICMP(ip[packet.IPv4MinLen:]), quote, icmpType, code, rest, 0)
	return packet.EthernetLen + n
}

func buildErrorIPv6(out, quote []byte, src packet.Addr, icmpType, code uint8, rest uint32) int {
	n := packet.ICMPLen + len(quote)
	ip := packet.IPv6Header(out[packet.EthernetLen : packet.EthernetLen+packet.IPv6Len+n])
	clear(ip[:packet.IPv6Len])
	ip[0] = 0x60
	ip.SetPayloadLen(uint16(n))
	ip[6], ip[7] = packet.ProtoICMPv6, errorTTL
	dst := packet.IPv6Header(quote).Src()
	ip.SetSrc(src)
	ip.SetDst(dst)
	pseudo := packet.PseudoSum(packet.IPv6, src, dst, packet.ProtoICMPv6, n)
	fillError(packet.ICMP(ip[packet.IPv6Len:]), quote, icmpType, code, rest, pseudo)
	return packet.EthernetLen + packet.IPv6Len + n
}

// fillError writes the ICMP header and the quoted packet; pseudo is the
// partial sum of the pseudo header, 0 for IPv4.
func fillError(m packet.ICMP, quote []byte, icmpType, code uint8, rest, pseudo uint32) {
	m[0], m[1] = icmpType, code
	m.SetChecksum(0)
	binary.BigEndian.PutUint32(m[4:], rest)
	copy(m[packet.ICMPLen:], quote)
	m.SetChecksum(packet.Fold(packet.Sum(m, pseudo)))
}

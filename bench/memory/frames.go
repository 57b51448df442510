package memory

import (
	"encoding/binary"

	"github.com/xdpct/xdpct/packet"
)

// The shortest Ethernet frame, which packets are unless a set says otherwise, and the
// longest with the usual MTU: without their FCS, which never reaches memory.
const (
	minSize = 60
	maxSize = 1514
)

// framer builds packets.
type framer struct {
	macs
	proto uint8
	frame []byte // as long as each packet is to be
	// window is what the last segment offered: another one each time, so that
	// they do not look like retransmissions.
	window uint16
}

// build writes a packet of this tuple that came in by a port. All checksums
// are right. TCP continues what began at sequence number 0 on both sides, with
// segments that have no payload, as the shortest have: the rest of the frame is
// padding.
func (f *framer) build(port int, t *tuple, flags uint8) []byte {
	b := f.frame
	clear(b[:minSize])
	eth := packet.Ethernet(b)
	eth.SetAddrs(&f.gateway[port], &f.station[port])
	binary.BigEndian.PutUint16(eth[12:], packet.EtherTypeIPv4)
	src, dst := packet.Addr{Lo: uint64(t.src)}, packet.Addr{Lo: uint64(t.dst)}
	ip := packet.IPv4Header(b[packet.EthernetLen:])
	ip[0], ip[8], ip[9] = 0x45, 64, f.proto
	const headerLen = packet.IPv4MinLen
	length := len(b) - packet.EthernetLen
	if f.proto == packet.ProtoTCP {
		length = headerLen + packet.TCPMinLen
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(length))
	ip.SetSrc(src)
	ip.SetDst(dst)
	ip.SetChecksum(packet.Fold(packet.Sum(ip[:headerLen], 0)))
	l4 := ip[headerLen:length]
	pseudo := packet.PseudoSum(packet.IPv4, src, dst, f.proto, len(l4))
	if f.proto == packet.ProtoTCP {
		h := packet.TCP(l4)
		h.SetSrcPort(t.srcPort)
		h.SetDstPort(t.dstPort)
		if flags&packet.SYN == 0 {
			h.SetSeq(1)
		}
		if flags&packet.ACK != 0 {
			h.SetAck(1)
		}
		f.window++
		binary.BigEndian.PutUint16(h[14:], f.window|0x8000)
		h[12], h[13] = 0x50, flags
		h.SetChecksum(packet.Fold(packet.Sum(l4, pseudo)))
		return b
	}
	h := packet.UDP(l4)
	h.SetSrcPort(t.srcPort)
	h.SetDstPort(t.dstPort)
	h.SetLength(uint16(len(l4)))
	h.SetChecksum(packet.Fold(packet.Sum(l4, pseudo)))
	return b
}

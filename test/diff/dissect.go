package diff

import (
	"encoding/binary"
	"net/netip"
)

// dissected is an IP packet taken apart as far as it is there.
type dissected struct {
	family         int
	src, dst       netip.Addr
	proto          uint8
	ttl, tos       uint8
	ipID           uint32 // IPv6: that of the fragment header
	df, more       bool
	fragmentOffset int // bytes
	length         int // what the IP header says, header included
	header         []byte
	options        []byte // IPv4 options or IPv6 extension headers
	ipSumOK        bool
	l4             []byte // what is there of it
	whole          bool   // all that the length says is there
	sport, dport   uint16 // of TCP, UDP, SCTP
	id             uint16 // of ICMP queries
	ports, query   bool   // they are there
}

// dissect takes an IP packet apart. It fails only where there is no whole IP header.
func dissect(b []byte) (d dissected, ok bool) {
	if len(b) < 20 {
		return d, false
	}
	d.family = int(b[0] >> 4)
	switch {
	case d.family == 4 && int(b[0]&0xf)*4 >= 20 && int(b[0]&0xf)*4 <= len(b):
		d.v4(b)
	case d.family == 6 && len(b) >= 40:
		d.v6(b)
	default:
		return d, false
	}
	d.whole = len(b) >= d.length
	if d.fragmentOffset == 0 {
		d.numbers()
	}
	return d, true
}

func (d *dissected) v4(b []byte) {
	header := int(b[0]&0xf) * 4
	d.header, d.options = b[:header], b[20:header]
	d.tos, d.ttl, d.proto = b[1], b[8], b[9]
	d.length = int(binary.BigEndian.Uint16(b[2:]))
	d.ipID = uint32(binary.BigEndian.Uint16(b[4:]))
	flags := binary.BigEndian.Uint16(b[6:])
	d.df, d.more, d.fragmentOffset = flags&0x4000 != 0, flags&0x2000 != 0, int(flags&0x1fff)*8
	d.src, d.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	d.ipSumOK = checksum(0, b[:header]) == 0
	d.l4 = b[header:min(len(b), max(d.length, header))]
}

func (d *dissected) v6(b []byte) {
	word := binary.BigEndian.Uint32(b)
	d.tos, d.ttl, d.proto = uint8(word>>20), b[7], b[6]
	d.length = 40 + int(binary.BigEndian.Uint16(b[4:]))
	d.src, d.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	d.ipSumOK = true
	d.header = b[:40]
	rest := b[40:min(len(b), d.length)]
	for len(rest) >= 8 {
		size := 8 + int(rest[1])*8
		switch d.proto {
		case 0, 43, 60:
		case 44:
			size = 8
			offset := binary.BigEndian.Uint16(rest[2:])
			d.fragmentOffset, d.more = int(offset&^7), offset&1 != 0
			d.ipID = binary.BigEndian.Uint32(rest[4:])
		default:
			size = 0
		}
		if size == 0 || size > len(rest) {
			break
		}
		d.options = append(d.options, d.proto)
		if d.proto == 44 {
			d.options = append(d.options, rest[:4]...) // the identification is in ipID
		} else {
			d.options = append(d.options, rest[:size]...)
		}
		d.proto, rest = rest[0], rest[size:]
		if d.fragmentOffset != 0 {
			break
		}
	}
	d.l4 = rest
}

// numbers finds ports and ids.
func (d *dissected) numbers() {
	switch d.proto {
	case protoTCP, protoUDP, protoSCTP, protoLite:
		if len(d.l4) >= 4 {
			d.sport, d.dport = binary.BigEndian.Uint16(d.l4), binary.BigEndian.Uint16(d.l4[2:])
			d.ports = true
		}
	case protoICMP, protoICMPv6:
		if len(d.l4) >= 8 && !d.icmpError() {
			d.id, d.query = binary.BigEndian.Uint16(d.l4[4:]), true
		}
	}
}

// icmpError tells whether the packet is an ICMP message that quotes another packet.
func (d *dissected) icmpError() bool {
	if len(d.l4) < 8 || d.fragmentOffset != 0 {
		return false
	}
	t := d.l4[0]
	if d.proto == protoICMPv6 {
		return t < 128
	}
	return d.proto == protoICMP && (t == 3 || t == 4 || t == 5 || t == 11 || t == 12)
}

package diff

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strings"
)

// show writes a received IP packet as one line: every field of its headers, whether
// its checksums are right, and a sum of what it carries. Addresses and the ports
// that NAT chose have the names of n.
func show(b []byte, n *names) string { return showPacket(b, n, false) }

func showPacket(b []byte, n *names, quoted bool) string {
	d, ok := dissect(b)
	if !ok {
		return fmt.Sprintf("not IP: %x", b)
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s > %s", protoName(d.proto), endText(n, &d, d.src, d.sport), endText(n, &d, d.dst, d.dport))
	if d.fragmentOffset == 0 {
		d.showL4(&s, n, quoted)
	} else {
		fmt.Fprintf(&s, " payload=%s", digest(d.l4))
	}
	if d.fragmentOffset != 0 || d.more {
		fmt.Fprintf(&s, " fragment=%d+%d", d.fragmentOffset, len(d.l4))
		if d.more {
			s.WriteString(",more")
		}
	}
	d.showIP(&s, n)
	return s.String()
}

func endText(n *names, d *dissected, a netip.Addr, port uint16) string {
	if !d.ports {
		return n.addr(a)
	}
	return n.addr(a) + ":" + n.port(a, port)
}

func (d *dissected) showIP(s *strings.Builder, n *names) {
	fmt.Fprintf(s, " ttl=%d tos=%#x iplen=%d", d.ttl, d.tos, d.length)
	switch {
	case d.family == 6 && d.ipID != 0: // any that the fragments of a datagram share
		fmt.Fprintf(s, " ipid=%s", n.rename(fmt.Sprintf("fragment%d", d.ipID), ""))
	case d.family == 4 && !n.gateways(d.src): // what the gateway makes itself gets any ID
		fmt.Fprintf(s, " ipid=%d", d.ipID)
	}
	if d.df {
		s.WriteString(" df")
	}
	if !d.ipSumOK {
		s.WriteString(" BADIPSUM")
	}
	if len(d.options) > 0 {
		fmt.Fprintf(s, " options=%x", d.options)
	}
	if !d.whole {
		fmt.Fprintf(s, " of-which=%d", len(d.header)+len(d.l4))
	}
}

func (d *dissected) showL4(s *strings.Builder, n *names, quoted bool) {
	b := d.l4
	switch {
	case d.proto == protoTCP && len(b) >= 20:
		showTCP(s, b)
	case (d.proto == protoUDP || d.proto == protoLite) && len(b) >= 8:
		fmt.Fprintf(s, " ulen=%d payload=%s", binary.BigEndian.Uint16(b[4:]), digest(b[8:]))
	case d.proto == protoSCTP && len(b) >= 12:
		fmt.Fprintf(s, " vtag=%d chunks=%x", binary.BigEndian.Uint32(b[4:]), b[12:])
	case (d.proto == protoICMP || d.proto == protoICMPv6) && len(b) >= 8:
		fmt.Fprintf(s, " type=%d code=%d", b[0], b[1])
		if d.query {
			fmt.Fprintf(s, " id=%s seq=%d payload=%s", n.id(d.src, d.dst, d.id), binary.BigEndian.Uint16(b[6:]), digest(b[8:]))
		} else if d.icmpError() {
			fmt.Fprintf(s, " rest=%x quoting (%s)", b[4:8], showPacket(b[8:], n, true))
		} else {
			fmt.Fprintf(s, " payload=%s", digest(b[4:]))
		}
	default:
		if d.ports { // ports have been shown
			b = b[4:]
		}
		fmt.Fprintf(s, " payload=%s", digest(b))
	}
	d.showChecksum(s, n, quoted)
}

func showTCP(s *strings.Builder, b []byte) {
	flags := ""
	for i, letter := range flagLetters {
		if b[13]&(1<<i) != 0 {
			flags += string(letter)
		}
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		header = 20
	}
	fmt.Fprintf(s, " %s seq=%d ack=%d win=%d urg=%d doff=%#x", flags, binary.BigEndian.Uint32(b[4:]),
		binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[14:]), binary.BigEndian.Uint16(b[18:]), b[12])
	if header > 20 {
		fmt.Fprintf(s, " opts=%x", b[20:header])
	}
	if len(b) > header {
		fmt.Fprintf(s, " payload=%s", digest(b[header:]))
	}
}

// showChecksum tells whether the checksum is right, where all bytes of it are there.
// Where they are not, as in most quoted packets, it is shown, unless a port that
// NAT chose is in it.
func (d *dissected) showChecksum(s *strings.Builder, n *names, quoted bool) {
	at, ok := checksumAt(d.proto)
	if !ok || at+2 > len(d.l4) {
		return
	}
	field := binary.BigEndian.Uint16(d.l4[at:])
	switch {
	case d.proto == protoUDP && field == 0:
		s.WriteString(" nosum")
	case !d.whole || d.more:
		if !d.chosen(n) {
			fmt.Fprintf(s, " sum=%#04x", field)
		}
	case d.proto == protoSCTP && len(d.l4) >= 12:
		c := append([]byte(nil), d.l4...)
		copy(c[8:], []byte{0, 0, 0, 0})
		if crc32.Checksum(c, castagnoli) != binary.LittleEndian.Uint32(d.l4[8:]) {
			s.WriteString(" BADSUM")
		}
	case checksum(pseudoSum(d.proto, d.src, d.dst, len(d.l4)), d.l4) != 0:
		s.WriteString(" BADSUM")
		if !quoted && !d.chosen(n) {
			fmt.Fprintf(s, "=%#04x", field)
		}
	}
}

// chosen tells whether NAT chose one of the packet's ports or its id.
func (d *dissected) chosen(n *names) bool {
	return d.ports && (n.chosen(d.src, d.sport) || n.chosen(d.dst, d.dport)) ||
		d.query && (n.chosen(d.src, d.id) || n.chosen(d.dst, d.id))
}

func protoName(proto uint8) string {
	switch proto {
	case protoICMP, protoICMPv6:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoSCTP:
		return "sctp"
	case protoGRE:
		return "gre"
	case protoLite:
		return "udplite"
	}
	return fmt.Sprintf("proto-%d", proto)
}

// digest is a short form of bytes that differs if they do.
func digest(b []byte) string {
	if len(b) <= 8 {
		return fmt.Sprintf("%d/%x", len(b), b)
	}
	return fmt.Sprintf("%d/%08x", len(b), crc32.ChecksumIEEE(b))
}

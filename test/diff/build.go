package diff

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// IP protocol numbers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoICMPv6 = 58
	protoSCTP   = 132
	protoLite   = 136 // UDP-Lite
)

// protocolOf is the IP protocol number of a packet.
func protocolOf(p *Packet, family int) uint8 {
	switch p.Proto {
	case "tcp":
		return protoTCP
	case "udp":
		return protoUDP
	case "gre":
		return protoGRE
	case "udplite":
		return protoLite
	case "sctp":
		return protoSCTP
	case "icmp":
		if family == 6 {
			return protoICMPv6
		}
		return protoICMP
	}
	return uint8(p.Num("proto", 253))
}

// sender is the end that sends a packet.
func sender(p *Packet) Side {
	switch p.Text("via", "") {
	case "client":
		return Inside
	case "server":
		return Outside
	}
	return sideOf(p.Src.Host)
}

// build makes the IP packet that is sent from one end.
func (v *view) build(p *Packet, from Side) []byte {
	proto := protocolOf(p, v.family)
	direct := p.Has("direct")
	src := v.shown(proto, p.Src, p.Dst, from, direct)
	dst := v.shown(proto, p.Dst, p.Src, from, direct)
	if p.Proto == "icmp" && p.Quoted == nil {
		// The id is one number for both directions; NAT may show another one outside.
		id := uint16(p.Num("id", 0))
		src = v.shown(proto, Endpoint{p.Src.Host, id}, p.Dst, from, direct)
		dst = v.shown(proto, Endpoint{p.Dst.Host, id}, p.Src, from, direct)
		if sideOf(p.Dst.Host) == Inside {
			src.port = dst.port
		}
	}
	var l4 []byte
	switch p.Proto {
	case "tcp":
		l4 = buildTCP(p, src.port, dst.port)
	case "udp", "udplite":
		l4 = buildUDP(p, src.port, dst.port)
	case "icmp":
		l4 = v.buildICMP(p, src.port, from)
	case "sctp":
		l4 = buildSCTP(p, src.port, dst.port)
	case "gre":
		l4 = buildGRE(p)
	default:
		l4 = payload(p)
	}
	finishChecksum(p, l4, proto, src.addr, dst.addr)
	return buildIP(p, proto, src.addr, dst.addr, l4)
}

// payload is what the packet carries.
func payload(p *Packet) []byte {
	if text, ok := p.value("data"); ok {
		return []byte(text)
	}
	if text, ok := p.value("hex"); ok {
		b, err := hex.DecodeString(text)
		if err != nil {
			panic("hex=" + text + " was not checked")
		}
		return b
	}
	b := make([]byte, p.Num("len", 0))
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func buildTCP(p *Packet, sport, dport uint16) []byte {
	var opts []byte
	if p.Has("mss") {
		opts = binary.BigEndian.AppendUint16(append(opts, 2, 4), uint16(p.Num("mss", 0)))
	}
	if p.Has("sackok") {
		opts = append(opts, 4, 2)
	}
	if ts, ok := p.value("ts"); ok {
		value, echo, _ := strings.Cut(ts, "/")
		opts = append(opts, 8, 10)
		opts = binary.BigEndian.AppendUint32(opts, number(value))
		opts = binary.BigEndian.AppendUint32(opts, number(echo))
	}
	if p.Has("wscale") {
		opts = append(opts, 3, 3, byte(p.Num("wscale", 0)))
	}
	if sack, ok := p.value("sack"); ok {
		blocks := strings.Split(sack, ",")
		opts = append(opts, 5, byte(2+8*len(blocks)))
		for _, block := range blocks {
			from, to, _ := strings.Cut(block, "-")
			opts = binary.BigEndian.AppendUint32(opts, number(from))
			opts = binary.BigEndian.AppendUint32(opts, number(to))
		}
	}
	for len(opts)%4 != 0 {
		opts = append(opts, 1)
	}
	b := make([]byte, 20, 20+len(opts))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint32(b[4:], p.Num("seq", 0))
	binary.BigEndian.PutUint32(b[8:], p.Num("ack", 0))
	b[12] = byte(p.Num("doff", uint32(5+len(opts)/4))) << 4
	b[13] = tcpFlags(p)
	binary.BigEndian.PutUint16(b[14:], uint16(p.Num("win", 65535)))
	binary.BigEndian.PutUint16(b[18:], uint16(p.Num("urg", 0)))
	return append(append(b, opts...), payload(p)...)
}

// tcpFlags are the flags that the first word gives.
func tcpFlags(p *Packet) (flags byte) {
	if len(p.Words) > 0 && p.Words[0].Value == "" {
		for _, letter := range p.Words[0].Key {
			if bit := strings.IndexRune(flagLetters, letter); bit >= 0 {
				flags |= 1 << bit
			}
		}
	}
	return flags
}

// number reads a part of a word's value; what is no number is 0.
func number(text string) uint32 {
	n, _ := strconv.ParseUint(text, 0, 32)
	return uint32(n)
}

func buildUDP(p *Packet, sport, dport uint16) []byte {
	data := payload(p)
	b := make([]byte, 8, 8+len(data))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(p.Num("ulen", uint32(8+len(data)))))
	return append(b, data...)
}

// buildICMP makes a query, an answer or an error with what it quotes.
func (v *view) buildICMP(p *Packet, id uint16, from Side) []byte {
	b := make([]byte, 8)
	b[0], b[1] = icmpType(p, v.family), byte(p.Num("code", 0))
	if p.Quoted == nil {
		binary.BigEndian.PutUint16(b[4:], id)
		binary.BigEndian.PutUint16(b[6:], uint16(p.Num("icmpseq", 0)))
		return append(b, payload(p)...)
	}
	if v.family == 6 {
		binary.BigEndian.PutUint32(b[4:], p.Num("mtu", 0))
	} else {
		binary.BigEndian.PutUint16(b[6:], uint16(p.Num("mtu", 0)))
	}
	quoted := v.build(p.Quoted, from)
	if limit := p.Num("quote", 0); limit > 0 && int(limit) < len(quoted) {
		quoted = quoted[:limit]
	}
	return append(b, quoted...)
}

// icmpType is the type by its name or number.
func icmpType(p *Packet, family int) uint8 {
	for _, w := range p.Words {
		if t, ok := icmpTypes[family][w.Key]; ok && w.Value == "" {
			return t
		}
	}
	return uint8(p.Num("type", 255))
}

func buildSCTP(p *Packet, sport, dport uint16) []byte {
	b := make([]byte, 12)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint32(b[4:], p.Num("vtag", 0))
	for _, w := range p.Words {
		if t, ok := sctpChunks[w.Key]; ok {
			chunk := []byte{t, 0, 0, 0}
			switch w.Key {
			case "init", "init_ack":
				chunk = binary.BigEndian.AppendUint32(chunk, p.Num("itag", 0))
				chunk = append(chunk, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9)
			case "data":
				chunk = append(chunk, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0)
				chunk = append(chunk, payload(p)...)
				chunk[1] = 3
			case "sack_chunk":
				chunk = append(chunk, make([]byte, 12)...)
			case "shutdown":
				chunk = append(chunk, 0, 0, 0, 1)
			}
			binary.BigEndian.PutUint16(chunk[2:], uint16(len(chunk)))
			for len(chunk)%4 != 0 {
				chunk = append(chunk, 0)
			}
			b = append(b, chunk...)
		}
	}
	return b
}

func buildGRE(p *Packet) []byte {
	if !p.Has("key") {
		return append([]byte{0, 0, 0x08, 0}, payload(p)...)
	}
	b := binary.BigEndian.AppendUint32([]byte{0x20, 0, 0x08, 0}, p.Num("key", 0))
	return append(b, payload(p)...)
}

// finishChecksum writes the checksum of the protocol into its header.
func finishChecksum(p *Packet, l4 []byte, proto uint8, src, dst netip.Addr) {
	at, ok := checksumAt(proto)
	if !ok || at+2 > len(l4) || p.Has("nosum") {
		return
	}
	wrong := uint32(0)
	if p.Has("badsum") {
		wrong = 0x5a5a
	}
	if proto == protoSCTP {
		binary.LittleEndian.PutUint32(l4[at:], crc32.Checksum(l4, castagnoli)^wrong)
		return
	}
	sum := checksum(pseudoSum(proto, src, dst, len(l4)), l4)
	if (proto == protoUDP || proto == protoLite) && sum == 0 {
		sum = 0xffff
	}
	// Wrong by a sum, so that it is wrong by the same after translation, whatever port
	// NAT had chosen.
	off := uint32(sum) + wrong
	binary.BigEndian.PutUint16(l4[at:], uint16(off)+uint16(off>>16))
}

// castagnoli is the polynomial of SCTP's checksum (RFC 9260 appendix A).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumAt is where the checksum of a protocol stands in its header.
func checksumAt(proto uint8) (at int, ok bool) {
	switch proto {
	case protoTCP:
		return 16, true
	case protoUDP, protoLite:
		return 6, true
	case protoICMP, protoICMPv6:
		return 2, true
	case protoSCTP:
		return 8, true
	}
	return 0, false
}

// pseudoSum is the sum over the pseudo header; ICMP of IPv4 has none.
func pseudoSum(proto uint8, src, dst netip.Addr, length int) uint32 {
	if proto == protoICMP {
		return 0
	}
	b := append(src.AsSlice(), dst.AsSlice()...)
	b = append(b, 0, proto, byte(length>>8), byte(length))
	return sum16(0, b)
}

// checksum is the Internet checksum (RFC 1071) over b, begun with start.
func checksum(start uint32, b []byte) uint16 {
	s := sum16(start, b)
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return ^uint16(s)
}

func sum16(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

// partOf reads part=FROM:TO.
func partOf(p *Packet, length int) (from, to int, ok bool) {
	text, ok := p.value("part")
	if !ok {
		return 0, length, false
	}
	if _, err := fmt.Sscanf(text, "%d:%d", &from, &to); err != nil {
		return 0, length, false
	}
	return min(from, length), min(to, length), true
}

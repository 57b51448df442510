package diff

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
)

// buildIP puts the IP header in front of the payload, or of the part of it that is
// sent as a fragment.
func buildIP(p *Packet, proto uint8, src, dst netip.Addr, l4 []byte) []byte {
	from, to, isPart := partOf(p, len(l4))
	more := isPart && to < len(l4)
	part := l4[from:to]
	var b []byte
	if src.Is4() {
		b = buildIPv4(p, proto, src, dst, part, from, more)
	} else {
		b = buildIPv6(p, proto, src, dst, part, from, more, isPart)
	}
	if n := int(p.Num("cut", 0)); n > 0 && n < len(b) {
		b = b[:n]
	}
	return b
}

func buildIPv4(p *Packet, proto uint8, src, dst netip.Addr, part []byte, from int, more bool) []byte {
	b := make([]byte, 20)
	if text, ok := p.value("ipopts"); ok {
		opts, _ := hex.DecodeString(text) // Parse has checked it
		for len(opts)%4 != 0 {
			opts = append(opts, 0)
		}
		b = append(b, opts...)
	}
	b[0] = 0x40 | byte(p.Num("ihl", uint32(len(b)/4)))&0xf
	b[1] = byte(p.Num("tos", 0))
	binary.BigEndian.PutUint16(b[2:], uint16(p.Num("iplen", uint32(len(b)+len(part)))))
	binary.BigEndian.PutUint16(b[4:], uint16(p.Num("ipid", 0)))
	flags := uint16(from / 8)
	if more {
		flags |= 0x2000
	}
	if p.Has("df") {
		flags |= 0x4000
	}
	binary.BigEndian.PutUint16(b[6:], flags)
	b[8], b[9] = byte(p.Num("ttl", 64)), proto
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	sum := checksum(0, b)
	if p.Has("badipsum") {
		sum ^= 0x5a5a
	}
	binary.BigEndian.PutUint16(b[10:], sum)
	return append(b, part...)
}

func buildIPv6(p *Packet, proto uint8, src, dst netip.Addr, part []byte, from int, more, fragment bool) []byte {
	next := proto
	if fragment {
		header := []byte{next, 0, 0, 0}
		offset := uint16(from)
		if more {
			offset |= 1
		}
		binary.BigEndian.PutUint16(header[2:], offset)
		header = binary.BigEndian.AppendUint32(header, p.Num("ipid", 0))
		part, next = append(header, part...), 44
	}
	names := strings.Split(p.Text("ext", ""), ",")
	for i := len(names) - 1; i >= 0; i-- {
		number, known := map[string]byte{"hop": 0, "route": 43, "dst": 60}[names[i]]
		if !known {
			continue
		}
		// Hop-by-hop and destination: one PadN option of 6 bytes. Routing: type 253, no segments left.
		header := []byte{next, 0, 1, 4, 0, 0, 0, 0}
		if number == 43 {
			header = []byte{next, 0, 253, 0, 0, 0, 0, 0}
		}
		part, next = append(header, part...), number
	}
	b := make([]byte, 40)
	binary.BigEndian.PutUint32(b, 6<<28|p.Num("tos", 0)<<20)
	binary.BigEndian.PutUint16(b[4:], uint16(p.Num("iplen", uint32(len(part)))))
	b[6], b[7] = next, byte(p.Num("ttl", 64))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, part...)
}

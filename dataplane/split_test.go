package dataplane

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// long gives a packet a payload of n bytes, no two parts of which are alike.
func long(s spec, n int) spec {
	s.payload = make([]byte, n)
	x := uint32(n)
	for i := range s.payload {
		x = x*1664525 + 1013904223
		s.payload[i] = byte(x >> 24)
	}
	return s
}

// headerLen is the length of the IP header of a frame without options.
func headerLen(frame []byte) int {
	if frame[12] == 0x86 {
		return packet.IPv6Len
	}
	return packet.IPv4MinLen
}

// split cuts the packet in a frame, which may be longer than any wire takes, into
// fragments that carry size bytes each, a multiple of 8.
func split(frame []byte, id uint32, size int) [][]byte {
	var pieces [][]byte
	n := ipLen(frame) - headerLen(frame)
	for from := 0; from < n; from += size {
		to := min(from+size, n)
		pieces = append(pieces, cut(frame, id, from, to, to < n))
	}
	return pieces
}

// ipLen is the length of the IP packet in a frame.
func ipLen(frame []byte) int {
	if frame[12] == 0x86 {
		return packet.IPv6Len + int(packet.IPv6Header(frame[14:]).PayloadLen())
	}
	return int(packet.IPv4Header(frame[14:]).TotalLen())
}

// cut returns the fragment of a packet that carries bytes from to to-1 of what follows
// the IP header.
func cut(frame []byte, id uint32, from, to int, more bool) []byte {
	at := packet.EthernetLen + headerLen(frame)
	data := slices.Clone(frame[at+from : at+to])
	head := slices.Clone(frame[:at])
	flags := uint16(0)
	if frame[12] == 0x86 {
		if more {
			flags = 1
		}
		ext := make([]byte, packet.IPv6FragmentLen)
		ext[0], head[14+6] = head[14+6], 44
		binary.BigEndian.PutUint16(ext[2:], uint16(from)|flags)
		binary.BigEndian.PutUint32(ext[4:], id)
		packet.IPv6Header(head[14:]).SetPayloadLen(uint16(len(ext) + len(data)))
		return slices.Concat(head, ext, data)
	}
	if more {
		flags = 0x2000
	}
	ip := packet.IPv4Header(head[14:])
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(data)))
	binary.BigEndian.PutUint16(ip[4:], uint16(id))
	binary.BigEndian.PutUint16(ip[6:], uint16(from/8)|flags)
	ip.SetChecksum(0)
	ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
	return slices.Concat(head, data)
}

// glue puts fragments together as an end host does, in any order, and returns the
// frame of the whole packet. It fails if they are not exactly one datagram.
func glue(t testing.TB, pieces [][]byte) []byte {
	t.Helper()
	var data, seen []byte
	var first []byte
	total := -1
	for _, f := range pieces {
		var h packet.Headers
		if r := packet.Parse(f, &h); r != packet.ParseOK || h.Fragment == packet.NotFragment {
			t.Fatalf("result %d, %+v: no fragment: %x", r, h, f)
		}
		if h.Family == packet.IPv4 && packet.Verify(f, &h) != packet.SumsOK {
			t.Errorf("wrong checksum of the IP header: %x", f[:34])
		}
		piece, ok := packet.PieceOf(f, &h)
		if !ok {
			t.Fatalf("%+v: no fragment", piece)
		}
		for len(data) < piece.To {
			data, seen = append(data, 0), append(seen, 0)
		}
		copy(data[piece.From:piece.To], f[int(h.End)-(piece.To-piece.From):h.End])
		for i := piece.From; i < piece.To; i++ {
			seen[i]++
		}
		if piece.From == 0 {
			first = f
		}
		if !piece.More {
			total = piece.To
		}
	}
	if total != len(data) || slices.ContainsFunc(seen, func(n byte) bool { return n != 1 }) || first == nil {
		t.Fatalf("%d fragments are not one datagram of %d bytes", len(pieces), total)
	}
	head := slices.Clone(first[:packet.EthernetLen+headerLen(first)])
	if first[12] == 0x86 {
		head[14+6] = first[packet.EthernetLen+packet.IPv6Len]
		packet.IPv6Header(head[14:]).SetPayloadLen(uint16(total))
	} else {
		ip := packet.IPv4Header(head[14:])
		binary.BigEndian.PutUint16(ip[2:], uint16(20+total))
		binary.BigEndian.PutUint16(ip[6:], 0)
		ip.SetChecksum(0)
		ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
	}
	return append(head, data...)
}

// frames returns what was sent by one port; anything sent by another one fails the
// test.
func frames(t testing.TB, out []sent, port int) [][]byte {
	t.Helper()
	var list [][]byte
	for _, s := range out {
		if s.port != port {
			t.Fatalf("sent by port %d, want %d", s.port, port)
		}
		list = append(list, s.frame)
	}
	return list
}

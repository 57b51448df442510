package flowtable

import (
	"encoding/binary"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// frame4 builds an Ethernet frame with an IPv4 packet.
func frame4(proto uint8, l4 []byte) []byte {
	f := make([]byte, 34, 34+len(l4))
	f[12], f[13], f[14] = 8, 0, 0x45
	binary.BigEndian.PutUint16(f[16:], uint16(20+len(l4)))
	f[22], f[23] = 64, proto
	copy(f[26:], []byte{10, 0, 0, 1, 192, 0, 2, 9})
	return append(f, l4...)
}

// frame6 builds an Ethernet frame with an IPv6 packet.
func frame6(proto uint8, l4 []byte) []byte {
	f := make([]byte, 54, 54+len(l4))
	f[12], f[13], f[14] = 0x86, 0xdd, 0x60
	binary.BigEndian.PutUint16(f[18:], uint16(len(l4)))
	f[20], f[21] = proto, 64
	f[22], f[23], f[37] = 0x20, 0x01, 1
	f[38], f[39], f[53] = 0x20, 0x01, 2
	return append(f, l4...)
}

// l4 returns a transport header of 20 bytes with the given first bytes.
func l4(first ...byte) []byte {
	b := make([]byte, 20)
	b[12] = 0x50 // TCP data offset
	copy(b, first)
	return b
}

func TestTupleOf(t *testing.T) {
	src4, dst4 := packet.Addr{Lo: 0x0a000001}, packet.Addr{Lo: 0xc0000209}
	src6, dst6 := packet.Addr{Hi: 0x2001 << 48, Lo: 1}, packet.Addr{Hi: 0x2001 << 48, Lo: 2}
	udp := l4(0x30, 0x39, 0x00, 0x35, 0, 20)
	for _, c := range []struct {
		name  string
		frame []byte
		want  Tuple // zero: no tuple
	}{
		{"tcp", frame4(6, l4(0x30, 0x39, 0x00, 0x50)), Tuple{Src: src4, Dst: dst4, SrcPort: 12345, DstPort: 80, Proto: 6, Family: packet.IPv4}},
		{"udp", frame4(17, udp), Tuple{Src: src4, Dst: dst4, SrcPort: 12345, DstPort: 53, Proto: 17, Family: packet.IPv4}},
		{"udp over IPv6", frame6(17, udp), Tuple{Src: src6, Dst: dst6, SrcPort: 12345, DstPort: 53, Proto: 17, Family: packet.IPv6}},
		{"echo request", frame4(1, l4(8, 0, 0, 0, 0x37, 0xde)), Tuple{Src: src4, Dst: dst4, SrcPort: 0x37de, DstPort: 8 << 8, Proto: 1, Family: packet.IPv4}},
		{"echo reply with a code", frame4(1, l4(0, 3, 0, 0, 0x37, 0xde)), Tuple{Src: src4, Dst: dst4, SrcPort: 0x37de, DstPort: 3, Proto: 1, Family: packet.IPv4}},
		{"echo request over IPv6", frame6(58, l4(128, 0, 0, 0, 0x37, 0xde)), Tuple{Src: src6, Dst: dst6, SrcPort: 0x37de, DstPort: 128 << 8, Proto: 58, Family: packet.IPv6}},
		{"gre", frame4(47, l4(0x20, 0, 8, 0)), Tuple{Src: src4, Dst: dst4, Proto: 47, Family: packet.IPv4}},
		{"sctp", frame4(132, l4(0x30, 0x39, 0, 80)), Tuple{Src: src4, Dst: dst4, SrcPort: 12345, DstPort: 80, Proto: 132, Family: packet.IPv4}},
		{"unreachable", frame4(1, l4(3, 1)), Tuple{}},
		{"redirect", frame4(1, l4(5, 1)), Tuple{}},
		{"neighbour solicitation", frame6(58, l4(135, 0)), Tuple{}},
		{"packet too big", frame6(58, l4(2, 0)), Tuple{}},
	} {
		var h packet.Headers
		if r := packet.Parse(c.frame, &h); r != packet.ParseOK {
			t.Errorf("%s: parse: %v", c.name, r)
			continue
		}
		var got Tuple
		ok := TupleOf(c.frame, &h, &got)
		if ok != (c.want != Tuple{}) || ok && got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, &got, ok, &c.want)
		}
		h.Fragment = packet.FragmentLater
		if TupleOf(c.frame, &h, &got) {
			t.Errorf("%s: a later fragment has a tuple", c.name)
		}
		h.Fragment = packet.NotFragment
		for n := range int(h.L4) + 4 { // must not read beyond the frame
			if h.Proto == 47 || h.Proto == 132 {
				break
			}
			if TupleOf(c.frame[:n:n], &h, &got) {
				t.Errorf("%s: cut to %d bytes it has a tuple", c.name, n)
			}
		}
	}
}

func TestInvert(t *testing.T) {
	a, b := packet.Addr{Lo: 1}, packet.Addr{Lo: 2}
	for _, c := range []struct {
		name     string
		tu, want Tuple
	}{
		{"tcp", Tuple{Src: a, Dst: b, SrcPort: 3, DstPort: 4, Proto: 6}, Tuple{Src: b, Dst: a, SrcPort: 4, DstPort: 3, Proto: 6}},
		{"echo", Tuple{Src: a, Dst: b, SrcPort: 77, DstPort: 8<<8 | 5, Proto: 1}, Tuple{Src: b, Dst: a, SrcPort: 77, DstPort: 0<<8 | 5, Proto: 1}},
		{"timestamp", Tuple{SrcPort: 7, DstPort: 13 << 8, Proto: 1}, Tuple{SrcPort: 7, DstPort: 14 << 8, Proto: 1}},
		{"information", Tuple{SrcPort: 7, DstPort: 15 << 8, Proto: 1}, Tuple{SrcPort: 7, DstPort: 16 << 8, Proto: 1}},
		{"address mask", Tuple{SrcPort: 7, DstPort: 17 << 8, Proto: 1}, Tuple{SrcPort: 7, DstPort: 18 << 8, Proto: 1}},
		{"echo over IPv6", Tuple{SrcPort: 7, DstPort: 128 << 8, Proto: 58}, Tuple{SrcPort: 7, DstPort: 129 << 8, Proto: 58}},
		{"node information", Tuple{SrcPort: 7, DstPort: 139 << 8, Proto: 58}, Tuple{SrcPort: 7, DstPort: 140 << 8, Proto: 58}},
		{"type 8 over IPv6 has no answer", Tuple{SrcPort: 7, DstPort: 8 << 8, Proto: 58}, Tuple{SrcPort: 7, DstPort: 8 << 8, Proto: 58}},
		{"gre", Tuple{Src: a, Dst: b, Proto: 47}, Tuple{Src: b, Dst: a, Proto: 47}},
	} {
		got := c.tu.Invert()
		if got != c.want {
			t.Errorf("%s: %v, want %v", c.name, &got, &c.want)
		}
		if back := got.Invert(); back != c.tu {
			t.Errorf("%s: twice inverted %v, want %v", c.name, &back, &c.tu)
		}
	}
}

func FuzzTupleInvert(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(3), uint64(4), uint16(5), uint16(8<<8), uint8(1))
	f.Add(uint64(1), uint64(2), uint64(3), uint64(4), uint16(5), uint16(128<<8), uint8(58))
	f.Add(uint64(0), uint64(2), uint64(0), uint64(4), uint16(5), uint16(6), uint8(6))
	f.Fuzz(func(t *testing.T, sh, sl, dh, dl uint64, sp, dp uint16, proto uint8) {
		tu := Tuple{Src: packet.Addr{Hi: sh, Lo: sl}, Dst: packet.Addr{Hi: dh, Lo: dl},
			SrcPort: sp, DstPort: dp, Proto: proto, Family: packet.IPv6}
		once := tu.Invert()
		if twice := once.Invert(); twice != tu {
			t.Fatalf("%v inverted twice is %v", &tu, &twice)
		}
		if once.Src != tu.Dst || once.Dst != tu.Src {
			t.Fatalf("addresses of %v: %v", &tu, &once)
		}
	})
}

func TestPacketFormOfTuples(t *testing.T) {
	tb := newTable(t, 10)
	for i, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
		orig := tuple4(77 + i)
		orig.Proto = proto
		reply := orig.Invert()
		reply.Dst, reply.DstPort = packet.Addr{Lo: 0xcb007101}, 4711
		addrs, ports := orig.Src.Lo<<32|orig.Dst.Lo, uint32(orig.SrcPort)<<16|uint32(orig.DstPort)
		var tu Tuple
		tu.Set4(addrs, ports, proto)
		if tu != orig || tb.Hash4(addrs, ports, proto) != tb.Hash(&orig) {
			t.Errorf("%v: hash %x, want that of %v: %x", &tu, tb.Hash4(addrs, ports, proto), &orig, tb.Hash(&orig))
		}
		idx, res := tb.Insert(&orig, &reply, 0)
		if res != InsertOK {
			t.Fatal(res)
		}
		for d := range Dir(2) {
			var want Tuple
			tb.Target(idx, d, &want)
			addrs, ports := tb.Flow(idx).Target4(d)
			tu.Set4(addrs, ports, proto)
			if tu != want {
				t.Errorf("%v: %v, want %v", d, &tu, &want)
			}
		}
	}
}

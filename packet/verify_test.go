package packet

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// sealed computes all checksums of a frame, each by the slow way.
func sealed(t testing.TB, frame []byte) ([]byte, Headers) {
	t.Helper()
	var h Headers
	if r := Parse(frame, &h); r != ParseOK {
		t.Fatalf("result %d", r)
	}
	var pseudo []byte
	l4 := frame[h.L4:h.End]
	if h.Family == IPv4 {
		ip := frame[h.L3:h.L4]
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], slowSum(ip))
		pseudo = join(ip[12:20], []byte{0, h.Proto, byte(len(l4) >> 8), byte(len(l4))})
	} else {
		pseudo = join(frame[h.L3+8:h.L3+40], []byte{0, 0, byte(len(l4) >> 8), byte(len(l4)), 0, 0, 0, h.Proto})
	}
	at := map[uint8]int{ProtoTCP: 16, ProtoUDP: 6, ProtoICMP: 2, ProtoICMPv6: 2, ProtoSCTP: 8}[h.Proto]
	switch h.Proto {
	case ProtoICMP:
		pseudo = nil
	case ProtoSCTP:
		clear(l4[8:12])
		binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, crc32.MakeTable(crc32.Castagnoli)))
		return frame, h
	}
	l4[at], l4[at+1] = 0, 0
	sum := slowSum(join(pseudo, l4))
	if sum == 0 && h.Proto == ProtoUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(l4[at:], sum)
	return frame, h
}

// verified lists frames of all kinds whose checksums are verified.
func verified(n int) map[string][]byte {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte(rand.Uint32())
	}
	icmp, sctp := make([]byte, 8), make([]byte, 12)
	return map[string][]byte{
		"udp":              join(eth4, ip4(17, 8+n), udp(8+n), text),
		"tcp":              join(eth4, ip4(6, 20+n), tcp(20, ACK), text),
		"udp with options": join(eth4, ip4(17, 8+n, 1, 1, 1, 1), udp(8+n), text),
		"tcp with options": join(eth4, ip4(6, 24+n), tcp(24, ACK), text),
		"icmp":             join(eth4, ip4(1, 8+n), icmp, text),
		"sctp":             join(eth4, ip4(132, 12+n), sctp, text),
		"udp over ipv6":    join(eth6, ip6(17, 8+n), udp(8+n), text),
		"tcp over ipv6":    join(eth6, ip6(6, 20+n), tcp(20, ACK), text),
		"icmpv6":           join(eth6, ip6(58, 8+n), icmp, text),
		"sctp over ipv6":   join(eth6, ip6(132, 12+n), sctp, text),
		"behind an option": join(eth6, ip6(60, 16+n), []byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(8+n), text),
	}
}

// Every single changed byte of a packet is noticed, whatever its length; what lies
// behind its end is not looked at. ParsePlain's packets are judged alike.
func TestVerifyFindsEveryChangedByte(t *testing.T) {
	for n := range 80 {
		for name, frame := range verified(n) {
			frame, h := sealed(t, frame)
			frame = append(frame, 0x5a, 0xa5, 0x5a) // Ethernet padding
			check := func(what string, want Sums) {
				t.Helper()
				if got := Verify(frame, &h); got != want {
					t.Fatalf("%s, %d bytes, %s: got %d, want %d", name, n, what, got, want)
				}
				var plain Headers
				if _, _, ok := ParsePlain(frame, &plain); ok {
					if got := VerifyPlain(frame, &plain); got != want {
						t.Fatalf("%s, %d bytes, %s: plain: got %d, want %d", name, n, what, got, want)
					}
				}
			}
			check("as it was", SumsOK)
			for i := int(h.L4); i < int(h.End); i++ {
				if h.Proto == ProtoUDP && (i-int(h.L4))/2 == 2 || h.Proto == ProtoTCP && i == int(h.L4)+12 {
					continue // the length: no longer the same headers
				}
				frame[i] ^= 0x41
				check("changed", SumsTransport)
				frame[i] ^= 0x41
			}
			if h.Family == IPv4 {
				frame[22] ^= 1 // TTL
				check("changed header", SumsHeader)
				frame[22] ^= 1
			}
		}
	}
}

// A UDP checksum of 0 is none, of either family; protocols without one pass.
func TestVerifyPassesWhatHasNoChecksum(t *testing.T) {
	for name, frame := range map[string][]byte{
		"udp":              join(eth4, ip4(17, 9), udp(9), []byte{7}),
		"udp over ipv6":    join(eth6, ip6(17, 9), udp(9), []byte{7}),
		"unknown protocol": join(eth4, ip4(253, 9), make([]byte, 9)),
		"icmp over ipv6":   join(eth6, ip6(1, 9), make([]byte, 9)),
		"icmpv6 over ipv4": join(eth4, ip4(58, 9), make([]byte, 9)),
	} {
		var h Headers
		if r := Parse(frame, &h); r != ParseOK {
			t.Fatalf("%s: result %d", name, r)
		}
		if h.Family == IPv4 {
			ip := IPv4Header(frame[h.L3:h.L4])
			ip.SetChecksum(slowSum(ip))
		}
		if got := Verify(frame, &h); got != SumsOK {
			t.Errorf("%s: got %d", name, got)
		}
		var plain Headers
		if _, _, ok := ParsePlain(frame, &plain); ok && VerifyPlain(frame, &plain) != SumsOK {
			t.Errorf("%s: plain", name)
		}
	}
}

// A sum is the same in one piece and in many of them, if all but the last have
// a multiple of 8 bytes, as fragments do.
func TestTransportSumOfPieces(t *testing.T) {
	for name, frame := range verified(301) {
		frame, h := sealed(t, frame)
		for _, step := range []int{24, 104, 296} {
			whole := h
			whole.End, whole.Beyond = h.L4+uint16(step), h.End-h.L4-uint16(step)
			v := VerifyTransport(frame, &whole)
			for l4 := frame[h.L4:h.End]; len(l4) > 0; l4 = l4[min(step, len(l4)):] {
				v.Add(l4[:min(step, len(l4))])
			}
			if !v.OK() {
				t.Errorf("%s in pieces of %d bytes: wrong", name, step)
			}
		}
	}
}

func TestSumWordsCarries(t *testing.T) {
	b := make([]byte, 200)
	for i := range b {
		b[i] = 0xff
	}
	for n := range b {
		if got, want := Fold(Sum(b[:n], 0xffff)), slowSum(b[:n]); !same(got, want) {
			t.Errorf("%d bytes of 0xff: got %04x, want %04x", n, got, want)
		}
	}
}

func BenchmarkVerifyPlain(b *testing.B) {
	for _, size := range []int{60, 576, 1514} {
		for _, proto := range []string{"udp", "tcp"} {
			b.Run(fmt.Sprintf("%s/frame=%d", proto, size), func(b *testing.B) {
				text := size - plainLen
				if proto == "tcp" {
					text -= 12
				}
				frame, h := sealed(b, verified(text)[proto])
				for b.Loop() {
					if VerifyPlain(frame, &h) != SumsOK {
						b.Fatal("wrong checksum")
					}
				}
			})
		}
	}
}

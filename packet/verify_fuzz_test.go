package packet_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/xdpct/xdpct/packet"
	"github.com/xdpct/xdpct/test/recorded"
)

// FuzzVerify compares the verdict on a frame's checksums with sums over single words.
func FuzzVerify(f *testing.F) {
	for _, frame := range recorded.Few(f, 3) {
		f.Add(frame, uint16(0))
		f.Add(frame, uint16(20))
	}
	f.Fuzz(func(t *testing.T, frame []byte, spoil uint16) {
		var h packet.Headers
		if packet.Parse(frame, &h) != packet.ParseOK || h.Fragment != packet.NotFragment {
			return
		}
		frame = append([]byte(nil), frame[:h.End]...)
		if i := int(spoil) % len(frame); i > packet.EthernetLen {
			frame[i] ^= 1
			if packet.Parse(frame, &h) != packet.ParseOK || h.Fragment != packet.NotFragment || int(h.End) != len(frame) {
				return
			}
		}
		if got, want := packet.Verify(frame, &h), verifySlowly(frame, &h); got != want {
			t.Fatalf("verdict %d, want %d: %x", got, want, frame)
		}
		var plain packet.Headers
		if _, _, ok := packet.ParsePlain(frame, &plain); ok && packet.VerifyPlain(frame, &plain) != packet.Verify(frame, &h) {
			t.Fatalf("verdict %d on a plain packet, want %d", packet.VerifyPlain(frame, &plain), packet.Verify(frame, &h))
		}
	})
}

// verifySlowly adds up word by word (RFC 1071).
func verifySlowly(frame []byte, h *packet.Headers) packet.Sums {
	sum := func(b []byte, start uint32) uint32 {
		for i := range b {
			if i%2 == 0 {
				start += uint32(b[i]) << 8
			} else {
				start += uint32(b[i])
			}
			start = start>>16 + start&0xffff
		}
		return start
	}
	l4, pseudo := frame[h.L4:h.End], uint32(0)
	addrs := frame[h.L3+8:]
	if h.Family == packet.IPv6 {
		addrs = addrs[:32]
	} else {
		if sum(frame[h.L3:h.L4], 0) != 0xffff {
			return packet.SumsHeader
		}
		addrs = frame[h.L3+12 : h.L3+20]
	}
	pseudo = sum(addrs, 0) + uint32(h.Proto) + uint32(len(l4))
	switch {
	case h.Proto == packet.ProtoUDP && l4[6] == 0 && l4[7] == 0:
		return packet.SumsOK
	case h.Proto == packet.ProtoICMP && h.Family == packet.IPv4:
		pseudo = 0
	case h.Proto == packet.ProtoICMPv6 && h.Family == packet.IPv6, h.Proto == packet.ProtoTCP, h.Proto == packet.ProtoUDP:
	case h.Proto == packet.ProtoSCTP:
		b := append([]byte(nil), l4...)
		copy(b[8:12], []byte{0, 0, 0, 0})
		if crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(l4[8:]) {
			return packet.SumsTransport
		}
		return packet.SumsOK
	default:
		return packet.SumsOK
	}
	if sum(l4, pseudo) != 0xffff {
		return packet.SumsTransport
	}
	return packet.SumsOK
}

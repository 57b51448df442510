package nat_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
	"github.com/xdpct/xdpct/test/recorded"
)

// FuzzICMPError translates errors that quote real packets, damaged, cut and with other
// bytes behind them: the quote and the outside change as told and nothing else does, a
// right checksum stays right, and the way back restores every byte.
func FuzzICMPError(f *testing.F) {
	for _, frame := range recorded.Few(f, 4) {
		f.Add(frame[packet.EthernetLen:], uint16(28), uint16(0xffff), uint64(0x0a000001), uint64(0xcb007101), uint16(7000))
		f.Add(frame[packet.EthernetLen:], uint16(600), uint16(30), uint64(0xffffffff), uint64(0), uint16(0))
	}
	f.Fuzz(func(t *testing.T, quoted []byte, length, spoil uint16, a, b uint64, port uint16) {
		quoted = slices.Clone(quoted[:min(len(quoted), int(length))])
		if i := int(spoil); i < len(quoted) && i != 0 {
			quoted[i] ^= 0x40
		}
		frame, ok := errorAround(quoted)
		var h, inner packet.Headers
		var from flowtable.Tuple
		if !ok || packet.Parse(frame, &h) != packet.ParseOK || packet.ParseInner(frame, int(h.Payload), &inner) != packet.ParseOK ||
			inner.Family != h.Family || !flowtable.TupleOf(frame, &inner, &from) {
			return
		}
		to := from
		to.Src, to.Dst = packet.Addr{Lo: a}, packet.Addr{Lo: b}
		if from.Family == packet.IPv4 {
			to.Src.Lo, to.Dst.Lo = a&0xffffffff, b&0xffffffff
		}
		switch from.Proto {
		case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
			to.SrcPort, to.DstPort = port, from.DstPort^1
		case packet.ProtoICMP, packet.ProtoICMPv6:
			to.SrcPort = port
		}
		before := slices.Clone(frame)
		nat.RewriteICMPError(frame, &h, &inner, &from, &to)
		var got flowtable.Tuple
		if !flowtable.TupleOf(frame, &inner, &got) || got != to {
			t.Fatalf("the quote shows %+v, want %+v", got, to)
		}
		if packet.Verify(frame, &h) != packet.SumsOK {
			t.Fatalf("checksum %d is wrong: %x", packet.Verify(frame, &h), frame)
		}
		nat.RewriteICMPError(frame, &h, &inner, &to, &from)
		sameButZeroSums(t, frame, before)
	})
}

// sameButZeroSums compares frames; sums that cannot be told apart may differ: 0 and
// 0xffff.
func sameButZeroSums(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range got {
		at := max(i-1, 0)
		pair := func(b []byte) uint16 { return uint16(b[at])<<8 | uint16(b[min(at+1, len(b)-1)]) }
		next := func(b []byte) uint16 { return uint16(b[i])<<8 | uint16(b[min(i+1, len(b)-1)]) }
		zero := func(x, y uint16) bool { return x^y == 0xffff && (x == 0 || y == 0) }
		if got[i] != want[i] && !zero(pair(got), pair(want)) && !zero(next(got), next(want)) {
			t.Fatalf("byte %d is %02x, want %02x:\n%x\n%x", i, got[i], want[i], got, want)
		}
	}
}

// errorAround is an ICMP error that quotes a packet and goes to its source.
func errorAround(quoted []byte) ([]byte, bool) {
	if len(quoted) < packet.IPv4MinLen || len(quoted) > 1400 {
		return nil, false
	}
	if quoted[0]>>4 == 6 {
		if len(quoted) < packet.IPv6Len {
			return nil, false
		}
		ip := slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, packet.ProtoICMPv6, 64}, quoted[24:40], quoted[8:24])
		packet.IPv6Header(ip).SetPayloadLen(uint16(packet.ICMPLen + len(quoted)))
		m := packet.ICMP(slices.Concat([]byte{1, 4, 0, 0, 0, 0, 0, 0}, quoted))
		src, dst := packet.IPv6Header(ip).Src(), packet.IPv6Header(ip).Dst()
		m.SetChecksum(packet.Fold(packet.Sum(m, packet.PseudoSum(packet.IPv6, src, dst, packet.ProtoICMPv6, len(m)))))
		return slices.Concat(make([]byte, 12), []byte{0x86, 0xdd}, ip, []byte(m)), true
	}
	ip := packet.IPv4Header(slices.Concat([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, packet.ProtoICMP, 0, 0}, quoted[16:20], quoted[12:16]))
	m := packet.ICMP(slices.Concat([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted))
	m.SetChecksum(packet.Fold(packet.Sum(m, 0)))
	ip.SetTotalLen(uint16(len(ip) + len(m)))
	ip.SetChecksum(0)
	ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
	return slices.Concat(make([]byte, 12), []byte{8, 0}, []byte(ip), []byte(m)), true
}

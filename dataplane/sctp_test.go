package dataplane

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// sctpInit is a packet with an INIT chunk (RFC 9260 §3.3.2) and the right CRC.
func sctpInit(t *testing.T, from int, src, dst netip.Addr, sport, dport uint16) []byte {
	t.Helper()
	b := make([]byte, 12+20)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	b[12], b[15] = 1, 20
	binary.BigEndian.PutUint32(b[16:], 0x01020304) // initiate tag
	packet.SCTP(b).SetChecksum(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return build(t, from, spec{src: src, dst: dst, proto: 132, payload: b})
}

// Two clients that use the same port to one server are told apart: one of them gets
// another, and the CRC is right with it.
func TestSCTPPortsAreTranslated(t *testing.T) {
	for workers := 1; workers <= 2; workers++ {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			p := newPath(t, func(o *Options) { o.Queues = workers })
			seen := make(map[uint16]bool)
			for _, src := range []netip.Addr{clientAddr, client2Addr} {
				out := frames(t, p.send(lan, sctpInit(t, lan, src, serverAddr, 7000, 9)), wan)
				if len(out) != 1 {
					t.Fatalf("%d packets sent", len(out))
				}
				var h packet.Headers
				if packet.Parse(out[0], &h) != packet.ParseOK || packet.Verify(out[0], &h) != packet.SumsOK {
					t.Errorf("the checksum is wrong: %x", out[0])
				}
				s := packet.SCTP(out[0][h.L4:])
				seen[s.SrcPort()] = true
				if s.DstPort() != 9 || packet.IPv4Header(out[0][14:]).Src() != packet.AddrOf(poolAddr) {
					t.Errorf("%x", out[0])
				}
				// The answer finds its way back.
				back := frames(t, p.send(wan, sctpInit(t, wan, serverAddr, poolAddr, 9, s.SrcPort())), lan)
				if len(back) != 1 || packet.IPv4Header(back[0][14:]).Dst() != packet.AddrOf(src) || packet.SCTP(back[0][34:]).DstPort() != 7000 {
					t.Errorf("answer: %x", back)
				}
			}
			if len(seen) != 2 || !seen[7000] {
				t.Errorf("ports %v, want 7000 and another", seen)
			}
		})
	}
}

// The CRC of a packet in pieces whose port changes is computed over all of them.
func TestSCTPPortsInPieces(t *testing.T) {
	p := newPath(t, nil)
	x := exchanges(3000)["sctp"].question
	p.send(lan, sctpInit(t, lan, client2Addr, serverAddr, 7000, 53))
	whole := glue(t, frames(t, p.send(lan, split(build(t, lan, x), 1, 1200)...), wan))
	var h packet.Headers
	if packet.Parse(whole, &h) != packet.ParseOK || packet.Verify(whole, &h) != packet.SumsOK {
		t.Error("the checksum is wrong")
	}
	if port := packet.SCTP(whole[h.L4:]).SrcPort(); port == 7000 {
		t.Error("the port of another flow is kept")
	}
	if n := p.counterValue("flows_new"); n != 2 {
		t.Errorf("%d flows, want 2", n)
	}
}

// sumSCTPFrame writes the checksum of an SCTP packet.
func sumSCTPFrame(b []byte) {
	packet.SCTP(b).SetChecksum(0)
	packet.SCTP(b).SetChecksum(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

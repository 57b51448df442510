package dataplane

import (
	"bytes"
	"testing"

	"github.com/xdpct/xdpct/packet"
	"github.com/xdpct/xdpct/test/recorded"
)

// FuzzUnasked is TestNothingUnasked with decisions and whole packets that the fuzzer
// makes. The input is a list of bytes: an odd one lets a real packet, or what has become
// of it, arrive from outside: its length in two bytes, then itself; the next one says
// whether it is aimed at a flow. An even one is a step of a siege. What they draw comes
// from the bytes that follow.
func FuzzUnasked(f *testing.F) {
	opening := bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7}, 12) // translation, and flows from inside
	for i, frame := range recorded.Few(f, 6) {
		input := append(bytes.Clone(opening), byte(i), byte(i>>1))
		for aim := range byte(3) {
			input = append(input, 1, byte(len(frame)>>8), byte(len(frame)))
			input = append(append(input, frame...), aim, byte(i))
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		next := func() int {
			if len(input) == 0 {
				return 0
			}
			b := input[0]
			input = input[1:]
			return int(b)
		}
		s := newSiege(t, func(_ string, n int) int {
			if n > 256 {
				return (next()<<8 | next()) % n
			}
			return next() % n
		})
		defer s.close()
		for range 6 {
			if why := s.fromInside(); why != "" {
				t.Fatal(why)
			}
		}
		for range 40 {
			if len(input) == 0 {
				return
			}
			step := s.step
			if next()&1 == 1 {
				step = func() string {
					n := min((next()<<8|next())%1600, len(input))
					frame := bytes.Clone(input[:n])
					input = input[n:]
					return s.arrive(s.aim(frame))
				}
			}
			if why := step(); why != "" {
				t.Fatal(why)
			}
		}
	})
}

// aim gives a packet the addresses and ports of an answer to a flow, or leaves it as it
// is; checksums are then right.
func (s *siege) aim(frame []byte) []byte {
	keys := s.keys()
	var h packet.Headers
	if s.draw("aimed", 4) == 0 || len(keys) == 0 || packet.Parse(frame, &h) != packet.ParseOK {
		return frame
	}
	k := keys[s.draw("flow", len(keys))]
	if k.remote.Is4() != (h.Family == packet.IPv4) {
		return frame
	}
	l4, src, dst := frame[h.L4:h.End], packet.AddrOf(k.remote), packet.AddrOf(k.local)
	if h.Family == packet.IPv4 {
		ip := packet.IPv4Header(frame[h.L3:h.End])
		ip.SetSrc(src)
		ip.SetDst(dst)
		ip.SetChecksum(0)
		ip.SetChecksum(packet.Fold(packet.Sum(ip[:ip.HeaderLen()], 0)))
	} else {
		packet.IPv6Header(frame[h.L3:]).SetSrc(src)
		packet.IPv6Header(frame[h.L3:]).SetDst(dst)
	}
	if h.Fragment == packet.FragmentLater || h.Proto != k.proto {
		return frame
	}
	sumAt := map[uint8]int{packet.ProtoTCP: 16, packet.ProtoUDP: 6, packet.ProtoICMP: 2, packet.ProtoICMPv6: 2}[h.Proto]
	if sumAt == 0 {
		return frame
	}
	pseudo := packet.PseudoSum(h.Family, src, dst, h.Proto, len(l4))
	if sumAt == 2 {
		l4[4], l4[5] = byte(k.lport>>8), byte(k.lport)
	} else {
		l4[0], l4[1], l4[2], l4[3] = byte(k.rport>>8), byte(k.rport), byte(k.lport>>8), byte(k.lport)
	}
	if h.Proto == packet.ProtoICMP {
		pseudo = 0
	}
	l4[sumAt], l4[sumAt+1] = 0, 0
	sum := packet.Fold(packet.Sum(l4, pseudo))
	l4[sumAt], l4[sumAt+1] = byte(sum>>8), byte(sum)
	return frame
}

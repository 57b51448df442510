package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// A first fragment with the data of the others behind it becomes a packet without a
// fragment header, whatever headers stand around that.
func TestUnfragment(t *testing.T) {
	tcp := make([]byte, packet.TCPMinLen+24)
	tcp[12] = packet.TCPMinLen / 4 << 4
	copy(tcp[packet.TCPMinLen:], "twenty-four bytes of text")
	v4 := func(options int, flags uint16) []byte {
		ip := make([]byte, 20+options)
		ip[0], ip[8], ip[9], ip[15], ip[19] = 0x45+byte(options/4), 64, packet.ProtoTCP, 1, 2
		for i := range options {
			ip[20+i] = 1 // no operation
		}
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+packet.TCPMinLen+8)) // of the first fragment
		binary.BigEndian.PutUint16(ip[6:], flags)
		return ip
	}
	v6 := func(before, after bool) []byte {
		ip := make([]byte, packet.IPv6Len)
		ip[0], ip[7], ip[23], ip[39] = 0x60, 64, 1, 2
		named := &ip[6]
		var ext []byte
		add := func(number byte, on bool, h ...byte) {
			if on {
				*named = number
				ext = append(ext, h...)
				named = &ext[len(ext)-8]
			}
		}
		ext = make([]byte, 0, 64)               // named points into it
		add(0, before, 0, 0, 1, 4, 0, 0, 0, 0)  // hop by hop: padding
		add(60, before, 0, 0, 1, 4, 0, 0, 0, 0) // destination options
		add(44, true, 0, 0, 0, 1, 0, 0, 0, 7)   // fragment, more follow
		add(60, after, 0, 0, 1, 4, 0, 0, 0, 0)  // destination options
		*named = packet.ProtoTCP
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ext)+packet.TCPMinLen+8))
		return append(ip, ext...)
	}
	for name, ip := range map[string][]byte{
		"v4": v4(0, 0x2000), "v4 options, DF": v4(8, 0x6000), "v6": v6(false, false), "v6 before": v6(true, false),
		"v6 after": v6(false, true), "v6 both": v6(true, true),
	} {
		frame := append(make([]byte, 14), ip...)
		frame[12], frame[13] = 0x08, 0
		if ip[0]>>4 == 6 {
			frame[12], frame[13] = 0x86, 0xdd
		}
		frame = append(frame, tcp...)
		var h packet.Headers
		if r := packet.Parse(frame[:len(frame)-16], &h); r != packet.ParseOK || h.Fragment != packet.FragmentFirst {
			t.Fatalf("%s: result %v, fragment %v", name, r, h.Fragment)
		}
		frame = packet.Unfragment(frame, &h)
		r := packet.Parse(frame, &h)
		if r != packet.ParseOK || h.Fragment != packet.NotFragment || int(h.End) != len(frame) || !bytes.Equal(frame[h.L4:h.End], tcp) {
			t.Errorf("%s: result %v, headers %+v: %x", name, r, h, frame)
		}
		if h.Family == packet.IPv4 && packet.Fold(packet.Sum(frame[h.L3:h.L4], 0)) != 0 {
			t.Errorf("%s: wrong checksum of the IP header", name)
		}
		if h.Family == packet.IPv4 && packet.IPv4Header(frame[h.L3:]).DontFragment() != (ip[6]&0x40 != 0) {
			t.Errorf("%s: DF has changed", name)
		}
	}
}

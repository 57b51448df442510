package packet

import (
	"encoding/binary"
	"testing"
)

func TestPieceOf(t *testing.T) {
	v4 := func(offset int, more bool, n int, options ...byte) []byte {
		h := ip4(17, n, options...)
		binary.BigEndian.PutUint16(h[4:], 0xabcd)
		w := uint16(offset / 8)
		if more {
			w |= ipv4MoreFragments
		}
		binary.BigEndian.PutUint16(h[6:], w)
		return join(eth4, h, udp(4000), make([]byte, 60000))[:14+len(h)+n]
	}
	v6 := func(offset int, more bool, n int) []byte {
		w := uint16(offset)
		if more {
			w |= 1
		}
		// hop-by-hop and destination options before the fragment header
		return join(eth6, ip6(0, 24+n), []byte{60, 0, 0, 0, 0, 0, 0, 0}, []byte{44, 0, 0, 0, 0, 0, 0, 0},
			[]byte{17, 0, byte(w >> 8), byte(w), 0xde, 0xad, 0xbe, 0xef}, udp(4000), make([]byte, 60000))[:14+40+24+n]
	}
	const id4, id6 = 0xabcd, 0xdeadbeef
	for _, c := range []struct {
		name  string
		frame []byte
		want  Piece
		ok    bool
	}{
		{"first", v4(0, true, 1480), Piece{id4, 0, 1480, true}, true},
		{"middle", v4(1480, true, 8), Piece{id4, 1480, 1488, true}, true},
		{"last", v4(1480, false, 3), Piece{id4, 1480, 1483, false}, true},
		{"with options", v4(1480, true, 8, 1, 1, 1, 1), Piece{id4, 1480, 1488, true}, true},
		{"not a multiple of 8", v4(1480, true, 9), Piece{id4, 1480, 1489, true}, false},
		{"nothing in it", v4(1480, false, 0), Piece{id4, 1480, 1480, false}, false},
		{"up to the end", v4(65512, false, 3), Piece{id4, 65512, 65515, false}, true},
		{"beyond the end", v4(65512, false, 4), Piece{id4, 65512, 65516, false}, false},
		{"beyond the end with options", v4(65512, false, 3, 1, 1, 1, 1), Piece{id4, 65512, 65515, false}, false},
		{"ipv6 first", v6(0, true, 1232), Piece{id6, 0, 1232, true}, true},
		{"ipv6 last", v6(1232, false, 1), Piece{id6, 1232, 1233, false}, true},
		{"ipv6 not a multiple of 8", v6(1232, true, 1), Piece{id6, 1232, 1233, true}, false},
		{"ipv6 up to the end", v6(65512, false, 7), Piece{id6, 65512, 65519, false}, true},
		{"ipv6 beyond the end", v6(65512, false, 8), Piece{id6, 65512, 65520, false}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Headers
			if r := Parse(c.frame, &h); r != ParseOK || h.Fragment == NotFragment {
				t.Fatalf("result %d: %+v", r, h)
			}
			p, ok := PieceOf(c.frame, &h)
			if p != c.want || ok != c.ok {
				t.Errorf("got %+v %v, want %+v %v", p, ok, c.want, c.ok)
			}
		})
	}
}

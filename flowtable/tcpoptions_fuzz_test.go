package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
	"github.com/xdpct/xdpct/test/recorded"
)

// FuzzTCPOptions reads arbitrary option lists, and those of real segments, and compares
// with a reader that goes byte by byte.
func FuzzTCPOptions(f *testing.F) {
	for _, frame := range recorded.Few(f, 2) {
		var h packet.Headers
		if packet.Parse(frame, &h) == packet.ParseOK && h.Proto == packet.ProtoTCP {
			f.Add(frame[h.L4+packet.TCPMinLen:h.Payload], uint32(1))
		}
	}
	f.Add([]byte{1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 2, 0}, uint32(5))
	f.Fuzz(func(t *testing.T, b []byte, ack uint32) {
		if len(b) > 40 {
			return
		}
		marks, scale, edge := optionsSlowly(b, ack)
		if m, s := synOptions(b); m != marks || s != scale {
			t.Errorf("marks %x, scale %d, want %x and %d", m, s, marks, scale)
		}
		if e := highestSACK(b, ack); e != edge {
			t.Errorf("highest acknowledged %d, want %d", e, edge)
		}
	})
}

func optionsSlowly(b []byte, ack uint32) (marks, scale, edge uint32) {
	edge = ack
	sacked := false
	for i := 0; i < len(b) && b[i] != optionEnd; {
		if b[i] == optionNop {
			i++
			continue
		}
		if i+1 >= len(b) || b[i+1] < 2 || i+int(b[i+1]) > len(b) {
			break
		}
		kind, value := b[i], b[i+2:i+int(b[i+1])]
		switch {
		case kind == optionSACKPerm && len(value) == 0:
			marks |= sideSACK
		case kind == optionScale && len(value) == 1:
			marks |= sideScale
			scale = min(uint32(value[0]), 14)
		case kind == optionSACK && len(value) > 0 && len(value)%8 == 0 && !sacked: // the first list counts
			sacked = true
			for ; len(value) > 0; value = value[8:] {
				right := uint32(value[4])<<24 | uint32(value[5])<<16 | uint32(value[6])<<8 | uint32(value[7])
				if int32(right-edge) > 0 {
					edge = right
				}
			}
		}
		i += int(b[i+1])
	}
	return marks, scale, edge
}

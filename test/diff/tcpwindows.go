package diff

import (
	"fmt"
)

// windowSizes are ways to offer windows: what a SYN says of scaling, the window that
// later segments carry, and what that means in bytes.
var windowSizes = []struct {
	name                         string
	clientScale, serverScale     int // -1: not offered
	win                          int
	clientOpening, serverOpening int // windows of the SYNs, never scaled
	bytes                        int
}{
	{"unscaled", -1, -1, 1000, 1000, 1000, 1000},
	{"scaled", 4, 4, 1000, 500, 500, 16000},
	{"scaled-by-client-only", 4, -1, 1000, 1000, 1000, 1000},
	{"large", 14, 14, 30, 65535, 65535, 491520},
}

// TCPWindows makes scripts that try each bound of the window check from both sides of
// it: the first and last byte that a sender may send, the oldest and newest that it
// may acknowledge.
func TCPWindows() (scripts []*Script) {
	for _, size := range windowSizes {
		for _, from := range []string{"c", "s"} {
			for _, off := range windowOffsets(size.bytes) {
				c := newConversation()
				c.sides["c"].seq, c.sides["s"].seq = 1_000_000, 9_000_000
				c.win = size.clientOpening
				c.sendScaled("c S", size.clientScale)
				c.win = size.serverOpening
				c.sendScaled("s SA", size.serverScale)
				c.win = size.win
				c.send("c A")
				c.send("s PA+100")
				c.send("c PA+100")
				c.send("s A")
				c.sendOff(from, "PA", off.length, off.seq, off.ack)
				other := map[string]string{"c": "s", "s": "c"}[from]
				c.send(other + " A")
				c.send(from + " PA+10")
				scripts = append(scripts, &Script{
					Name:     fmt.Sprintf("%s/%s/%s", size.name, map[string]string{"c": "client", "s": "server"}[from], off),
					Profiles: []string{"snat", "liberal"}, Family: 4, Steps: c.steps,
				})
			}
		}
	}
	return scripts
}

// offset is how far a segment is from the one that is due.
type offset struct{ seq, length, ack int }

// String names it: seq-1+100, ack+1.
func (o offset) String() string {
	if o.ack != 0 {
		return fmt.Sprintf("ack%+d", o.ack)
	}
	return fmt.Sprintf("seq%+d+%d", o.seq, o.length)
}

// windowOffsets are those at the bounds of a window of so many bytes.
func windowOffsets(window int) (offsets []offset) {
	for _, bound := range []int{0, window, 2 * window, -window} {
		for _, near := range []int{-101, -100, -99, -1, 0, 1, 2, 99, 100} {
			offsets = append(offsets, offset{seq: bound + near, length: 100})
			if near >= -1 && near <= 2 {
				offsets = append(offsets, offset{seq: bound + near, length: 1})
			}
		}
	}
	// An acknowledgement may be as old as the window, but at least 66000 bytes (MAXACKWINDOW).
	for _, bound := range []int{-66000, -window} {
		for near := -2; near <= 2; near++ {
			if near+bound != 0 {
				offsets = append(offsets, offset{length: 1, ack: bound + near})
			}
		}
	}
	return append(offsets, offset{length: 1, ack: 1}, offset{length: 1, ack: 2}, offset{length: 1, ack: -1})
}

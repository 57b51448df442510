package dataplane

import (
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// A segment that its connection does not allow is dropped and counted under its
// cause; a good one after it passes, so it has changed nothing.
func TestSegmentsThatDoNotFitAreInvalid(t *testing.T) {
	for cause, s := range map[string]layers.TCP{
		"invalid_tcp_flags":  {SYN: true, FIN: true, Seq: 2},
		"invalid_tcp_state":  {SYN: true, ACK: true, Seq: 2, Ack: 10},
		"invalid_tcp_window": {ACK: true, Seq: 2 + 1<<20, Ack: 10},
		"invalid_tcp_ack":    {ACK: true, Seq: 2, Ack: 10 + 1<<20},
		"invalid_tcp_rst":    {RST: true, Seq: 1},
	} {
		t.Run(cause, func(t *testing.T) {
			p := newPath(t, nil)
			segment := func(l layers.TCP, port int) []byte {
				l.Window = 1000
				if port == wan {
					return build(t, port, spec{src: serverAddr, dst: poolAddr, sport: 80, dport: 7000, tcp: &l})
				}
				return build(t, port, spec{src: clientAddr, dst: serverAddr, sport: 7000, dport: 80, tcp: &l})
			}
			p.send(lan, segment(layers.TCP{SYN: true, Seq: 1}, lan))
			p.send(wan, segment(layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2}, wan))
			p.send(lan, segment(layers.TCP{ACK: true, Seq: 2, Ack: 10}, lan))
			p.send(wan, segment(layers.TCP{ACK: true, Seq: 10, Ack: 2}, wan))
			if out := p.send(lan, segment(s, lan)); len(out) != 0 {
				t.Errorf("%d packets sent, want it dropped", len(out))
			}
			for c, want := range map[string]uint64{cause: 1, "drop_invalid": 1} {
				if n := p.counterValue(c); n != want {
					t.Errorf("%s is %d, want %d", c, n, want)
				}
			}
			if out := p.send(lan, segment(layers.TCP{ACK: true, PSH: true, Seq: 2, Ack: 10}, lan)); len(out) != 1 {
				t.Errorf("a good segment after it: %d packets sent, want 1", len(out))
			}
		})
	}
}

package dataplane

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/nat"
)

// controlText is a segment of the client on a control connection.
func controlText(t testing.TB, from, to netip.AddrPort, seq uint32, text string) []byte {
	t.Helper()
	s := l4(true, from, to, layers.TCP{ACK: true, PSH: true, Seq: seq, Ack: 508})
	s.payload = []byte(text)
	return build(t, lan, s)
}

// openControl opens an FTP control connection, up to the first command; the next byte
// of the client is at 108.
func (p *path) openControl(from, to netip.AddrPort) {
	p.t.Helper()
	q := p.pass(lan, true, from, to, layers.TCP{SYN: true, Seq: 99})
	p.pass(wan, true, q[1], q[0], layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 100})
	p.pass(lan, true, from, to, layers.TCP{ACK: true, Seq: 100, Ack: 500})
	greeting := l4(true, q[1], q[0], layers.TCP{ACK: true, PSH: true, Seq: 500, Ack: 100})
	greeting.payload = []byte("220 hi\r\n")
	p.check(p.send(wan, build(p.t, wan, greeting)), lan)
	p.check(p.send(lan, controlText(p.t, from, to, 100, "USER x\r\n")), wan)
}

// A command in fragments is put together, read and translated, and leaves in one
// packet; so does its repetition, in whichever fragments it comes.
func TestFTPTextInFragments(t *testing.T) {
	for _, tt := range []struct {
		client, server netip.Addr
		text, want     string
	}{
		{clientAddr, serverAddr, portCommand, portOutside},
		{client6Addr, server6Addr, "EPRT |2|fd00:1:2::3|6400|\r\n", "EPRT |2|2001:db8:98::32|6400|\r\n"},
	} {
		for _, size := range []int{24, 32} {
			for workers := 1; workers <= 2; workers++ {
				t.Run(fmt.Sprintf("%s/%d/workers=%d", tt.client, size, workers), func(t *testing.T) {
					p := newPath(t, func(o *Options) { natBoth(o); o.Queues = workers })
					p.queue = func(int, []byte) int { return rand.IntN(workers) }
					from, to := at(tt.client, 40000), at(tt.server, 21)
					p.openControl(from, to)
					for id := range uint32(4) {
						pieces := split(controlText(t, from, to, 108, tt.text), 70+id, size)
						slices.Reverse(pieces)
						tcp := p.check(p.send(lan, pieces...), wan).Layer(layers.LayerTypeTCP).(*layers.TCP)
						if string(tcp.Payload) != tt.want || tcp.Seq != 108 {
							t.Errorf("left as %q at %d", tcp.Payload, tcp.Seq)
						}
					}
					if n := p.Expectations().Len(); n != 1 || p.counterValue("ftp_repeated") != 3 || p.counterValue("fragments_joined") != 4 {
						t.Errorf("%d expectations, %d repeated, %d joined", n, p.counterValue("ftp_repeated"), p.counterValue("fragments_joined"))
					}
					p.checkLedger(t, 0)
				})
			}
		}
	}
}

// What is longer than the way out cannot be read: it is kept back if it would have to be
// translated, else it leaves as it came.
func TestFTPLongTextInFragments(t *testing.T) {
	for _, translated := range []bool{true, false} {
		p := newPath(t, func(o *Options) {
			if translated {
				natBoth(o)
			} else {
				o.NAT.SNAT = []nat.Pool{mustPool(poolAddr.String())} // IPv4 only
			}
		})
		from, to := at(client6Addr, 40000), at(server6Addr, 21)
		p.openControl(from, to)
		text := "EPRT |2|fd00:1:2::3|6400|\r\nSITE " + strings.Repeat("x", 1500) + "\r\n"
		pieces := split(controlText(t, from, to, 108, text), 7, 800)
		out := p.send(lan, pieces...)
		left := len(pieces)
		if translated {
			left = 0
		}
		if len(out) != left || p.counterValue("ftp_fragment") != 1 || p.counterValue("drop_helper") != uint64(len(pieces)-left) {
			t.Errorf("translated %v: %d pieces left, want %d; ftp_fragment %d, drop_helper %d", translated, len(out), left,
				p.counterValue("ftp_fragment"), p.counterValue("drop_helper"))
		}
		if n := p.Expectations().Len(); n != 0 {
			t.Errorf("%d expectations", n)
		}
		p.checkLedger(t, 0)
	}
}

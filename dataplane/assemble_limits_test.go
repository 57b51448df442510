package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/packet"
)

func TestFragmentsWaitForTheirTime(t *testing.T) {
	for name, limit := range map[string]time.Duration{"udp": 30 * time.Second, "udp over ipv6": 60 * time.Second} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, natBoth)
			s := exchanges(3000)[name].question
			pieces := split(build(t, lan, s), 1, 1200)
			p.send(lan, pieces[0])
			p.advance(limit - time.Second)
			p.checkLedger(t, 1)
			p.send(lan, pieces[1])
			p.advance(2 * time.Second) // the first one counts
			if n := p.counterValue("drop_fragment_timeout"); n != 2 {
				t.Errorf("%d pieces timed out, want 2", n)
			}
			if out := p.send(lan, pieces[2]); len(out) != 0 {
				t.Errorf("%d packets sent", len(out))
			}
			p.checkLedger(t, 1)
		})
	}
}

func TestFloodsOfFragments(t *testing.T) {
	floods := map[string]func(i int) netip.Addr{
		"one pair":   func(int) netip.Addr { return serverAddr },
		"many pairs": func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}) },
	}
	for name, dst := range floods {
		for workers := 1; workers <= 2; workers++ {
			t.Run(fmt.Sprintf("%s/workers=%d", name, workers), func(t *testing.T) {
				p := newPath(t, func(o *Options) { o.Queues = workers })
				p.queue = func(int, []byte) int { return rand.IntN(workers) }
				honest := long(udp(7000, 53), 3000)
				honest.src = client2Addr
				for i := range 3000 {
					s := long(udp(7000, 53), 600)
					s.dst = dst(i)
					p.send(lan, split(build(t, lan, s), uint32(i), 304)[i%2])
					if i%500 == 499 {
						if out := p.send(lan, build(t, lan, udp(9000, 53))); len(out) != 1 {
							t.Fatalf("after %d: a whole packet did not pass", i)
						}
						pieces := split(build(t, lan, honest), uint32(i), 1200)
						checkPieces(t, frames(t, p.send(lan, pieces...), wan), pieces, translatedFrame(t, lan, honest))
					}
				}
				p.advance(100 * time.Millisecond)
				l := p.Ledger()
				if l.Missing != 0 || l.Aside == 0 || l.Aside > asideFrames {
					t.Errorf("%+v", l)
				}
				dropped := p.counterValue("drop_fragment_full") + p.counterValue("drop_fragment_pair")
				if dropped+uint64(l.Aside) != 3000 {
					t.Errorf("%d dropped, %d aside of 3000", dropped, l.Aside)
				}
				p.advance(31 * time.Second)
				p.checkLedger(t, 0)
			})
		}
	}
}

func TestDatagramsInPiecesMayBeInvalid(t *testing.T) {
	damage := func(change func(f []byte)) [][]byte {
		f := build(t, lan, long(udp(7000, 53), 3000))
		change(f)
		return split(f, 1, 1200)
	}
	for name, c := range map[string]struct {
		pieces [][]byte
		cause  string
	}{
		"checksum":         {damage(func(f []byte) { f[2000] ^= 1 }), "invalid_checksum"},
		"udp length":       {damage(func(f []byte) { binary.BigEndian.PutUint16(f[38:], 3009) }), "invalid_length"},
		"tiny first piece": {split(build(t, lan, spec{src: clientAddr, dst: serverAddr, sport: 1, dport: 2, tcp: &layers.TCP{SYN: true}}), 1, 16), "invalid_truncated"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, nil)
			if out := p.send(lan, c.pieces...); len(out) != 0 {
				t.Errorf("%d packets sent", len(out))
			}
			if p.counterValue(c.cause) != 1 || p.counterValue("drop_invalid") == 0 || p.counterValue("flows_new") != 0 {
				t.Errorf("%s %d, drop_invalid %d", c.cause, p.counterValue(c.cause), p.counterValue("drop_invalid"))
			}
			p.advance(31 * time.Second)
			p.checkLedger(t, 0)
		})
	}
	t.Run("passed bare", func(t *testing.T) {
		p := newPath(t, func(o *Options) { o.PassInvalid = true })
		pieces := damage(func(f []byte) { f[2000] ^= 1 })
		out := frames(t, p.send(lan, pieces...), wan)
		if len(out) != 3 || string(out[2][26:]) != string(pieces[2][26:]) {
			t.Errorf("%d packets sent", len(out))
		}
		p.checkLedger(t, 0)
	})
}

func TestFragmentsDoNotAllocate(t *testing.T) {
	p := newPath(t, natBoth)
	for _, s := range []spec{long(udp(7000, 53), 3000), long(spec{src: client6Addr, dst: server6Addr, sport: 7000, dport: 53}, 3000)} {
		pieces := split(build(t, lan, s), 1, 1200)
		p.checkNoAllocs(t, func(i int) []byte { return pieces[i%3] })
		p.checkNoAllocs(t, func(i int) []byte {
			f := pieces[0]
			if s.src.Is4() {
				f = pieces[0]
				ip := packet.IPv4Header(f[14:34])
				binary.BigEndian.PutUint16(ip[4:], uint16(i))
				ip.SetChecksum(0)
				ip.SetChecksum(packet.Fold(packet.Sum(ip, 0)))
			} else {
				binary.BigEndian.PutUint32(f[14+44:], uint32(i))
			}
			return f
		})
	}
}

// If a later piece has no hop left, all are dropped, without an answer.
func TestLaterPieceWithoutHops(t *testing.T) {
	for name, s := range map[string]spec{"ipv4": long(udp(7000, 53), 3000), "ipv6": exchanges(3000)["udp over ipv6"].question} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, natBoth)
			pieces := split(build(t, lan, s), 1, 1200)
			s.ttl = 1
			pieces[1] = split(build(t, lan, s), 1, 1200)[1]
			if out := p.send(lan, pieces...); len(out) != 0 {
				t.Errorf("%d packets sent", len(out))
			}
			if n := p.counterValue("drop_ttl_expired"); n != 3 {
				t.Errorf("drop_ttl_expired is %d, want 3", n)
			}
			p.checkLedger(t, 0)
		})
	}
}

// Nobody outside can complete, or spoil, a datagram from inside.
func TestSidesAreKeptApart(t *testing.T) {
	p := newPath(t, nil)
	s := long(udp(7000, 53), 3000)
	pieces := split(build(t, lan, s), 1, 1200)
	forged := split(build(t, wan, s), 1, 1200)
	if out := p.send(lan, pieces[0], pieces[1]); len(out) != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	if out := p.send(wan, forged[2], forged[0], cut(build(t, wan, s), 1, 8, 1000, true)); len(out) != 0 {
		t.Fatalf("%d packets sent", len(out))
	}
	checkPieces(t, frames(t, p.send(lan, pieces[2]), wan), pieces, translatedFrame(t, lan, s))
}

package dataplane

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// FuzzPath sends arbitrary frames through two workers, several in a row: whatever they
// are, no worker stumbles, every frame that was received is sent or counted as dropped,
// and every frame of the UMEM is in its place afterwards.
func FuzzPath(f *testing.F) {
	chain := func(frames ...[]byte) (script []byte) {
		for _, frame := range frames {
			script = append(script, byte(len(frame)>>8), byte(len(frame)))
			script = append(script, frame...)
		}
		return script
	}
	f.Add(chain(split(build(f, lan, long(udp(7000, 53), 300)), 1, 104)...))
	f.Add(chain(split(build(f, wan, long(spec{src: server6Addr, dst: client6Addr, sport: 1, dport: 2}, 300)), 1, 104)...))
	f.Add(chain(build(f, lan, udp(7000, 53)), build(f, wan, answer(53, 7000))))
	f.Add(chain(build(f, lan, spec{src: clientAddr, dst: serverAddr, sport: 40000, dport: 21, tcp: &layers.TCP{SYN: true}, payload: []byte("PORT 1")})))
	f.Add(chain(build(f, wan, spec{src: serverAddr, dst: poolAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, payload: make([]byte, 40)})))
	f.Add(chain(build(f, lan, spec{src: client6Addr, dst: server6Addr, proto: 43, payload: []byte{44, 0, 4, 0, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8}})))
	p := newPath(f, func(o *Options) { natBoth(o); o.Queues, o.SkipChecksums, o.PassInvalid = 2, true, true })
	f.Fuzz(func(t *testing.T, script []byte) {
		p.t = t
		before := p.balance()
		for i := 0; len(script) >= 2 && i < 100; i++ {
			port := int(script[0] >> 7) // set by the fuzzer: the other side
			n := min((int(script[0]&0x7f)<<8|int(script[1]))%1500, len(script)-2)
			frame := script[2 : 2+n]
			script = script[2+n:]
			p.deliver(port, i%2, frame)
			if i%7 == 6 {
				p.run()
			}
		}
		p.run()
		p.advance(62 * time.Second) // what waits for fragments and neighbours gives up
		p.checkLedger(t, 0)
		if after := p.balance(); after != before {
			t.Errorf("%d packets came and neither left nor were counted as dropped", int64(after-before))
		}
	})
}

// balance is how many packets came and neither left nor were dropped; those that the
// gateway makes itself do not count.
func (p *path) balance() uint64 {
	n := p.received() + p.counterValue("icmp_sent")
	for r := range numDropReasons {
		n -= p.counterValue(r.String())
	}
	for port := range p.ports {
		for _, w := range p.workers {
			n -= w.count.portTX[port].Load()
		}
	}
	return n
}

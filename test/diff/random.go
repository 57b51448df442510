package diff

import (
	"fmt"
	"math/rand/v2"
)

// Random makes a script from a seed: packets as real hosts send them, with mistakes,
// losses, repetitions and forgeries strewn in.
func Random(seed uint64, profile string, family int) *Script {
	r := rand.New(rand.NewPCG(seed, 0x78647063))
	s := &Script{Name: fmt.Sprintf("random/%d", seed), Profiles: []string{profile}, Family: family}
	switch kind := r.IntN(20); {
	case kind < 11:
		s.Steps = randomTCP(r)
	case kind < 14:
		s.Steps = randomUDP(r)
	case kind < 16:
		s.Steps = randomICMP(r, family)
	case kind < 18:
		s.Steps = randomSCTP(r)
	case family == 4:
		s.Steps = randomFragments(r)
	default: // IPv6: see fragments-as-they-came in docs/deviations.md
		s.Steps = randomTCP(r)
	}
	return s
}

// randomSteps is about how many steps a random script has.
const randomSteps = 16

// peer is one side of a random TCP connection.
type peer struct {
	name     string
	end      Endpoint
	seq, ack uint32
	wscale   int // -1: none offered
	sackok   bool
	fin      bool
	opened   bool
}

// randomConnection simulates two honest hosts; what the wire shows of them has faults.
type randomConnection struct {
	r     *rand.Rand
	peers [2]*peer // client, server
	steps []Step
	sent  []*Packet
}

func randomTCP(r *rand.Rand) []Step {
	c := &randomConnection{r: r}
	for i, name := range []string{"client", "server"} {
		port := [...]uint16{4000, 80}[i]
		p := &peer{name: name, end: Endpoint{name, port}, seq: r.Uint32(), wscale: r.IntN(16) - 1, sackok: r.IntN(2) == 0}
		if r.IntN(3) == 0 {
			p.seq = -uint32(r.IntN(3000)) // soon to wrap around
		}
		c.peers[i] = p
	}
	switch r.IntN(8) {
	case 0: // in the middle
		for _, p := range c.peers {
			p.opened = true
		}
		c.meet()
	case 1: // both open at once
		c.open(0)
		c.open(1)
	default:
		c.open(0)
		if r.IntN(8) > 0 {
			c.answer()
		}
	}
	for len(c.steps) < randomSteps {
		c.turn()
	}
	return c.steps
}

// meet makes both sides know where the other one is.
func (c *randomConnection) meet() {
	for i, p := range c.peers {
		p.ack = c.peers[1-i].seq
	}
}

func (c *randomConnection) open(side int) {
	me := c.peers[side]
	p := c.segment(side, "S", 0)
	me.options(p)
	c.emit(p)
	me.seq++
	me.opened = true
}

func (c *randomConnection) answer() {
	me := c.peers[1]
	c.meet()
	p := c.segment(1, "SA", 0)
	me.options(p)
	c.emit(p)
	me.seq++
	me.opened = true
	c.meet()
	c.emit(c.segment(0, "A", 0))
}

func (p *peer) options(to *Packet) {
	to.Set("mss", "1460")
	if p.sackok {
		to.Words = append(to.Words, Word{Key: "sackok"})
	}
	if p.wscale >= 0 {
		to.Set("wscale", fmt.Sprint(p.wscale))
	}
}

// segment is what a side would send now.
func (c *randomConnection) segment(side int, flags string, length int) *Packet {
	me, other := c.peers[side], c.peers[1-side]
	p := &Packet{Proto: "tcp", Src: me.end, Dst: other.end, Words: []Word{{Key: flags}}}
	p.Set("seq", fmt.Sprint(me.seq))
	if flags != "S" && flags != "R" {
		p.Set("ack", fmt.Sprint(me.ack))
	}
	p.Set("win", fmt.Sprint([]int{65535, 29200, 501, 1000, 0}[c.r.IntN(5)]))
	if length > 0 {
		p.Set("len", fmt.Sprint(length))
	}
	return p
}

// emit sends a packet, mostly as it is: sometimes it is lost before the gateway, or
// comes twice, or something in it is wrong.
func (c *randomConnection) emit(p *Packet) {
	switch c.r.IntN(20) {
	case 0: // lost
		return
	case 1:
		c.put(p)
	case 2, 3:
		p = c.spoil(p)
	}
	c.put(p)
}

func (c *randomConnection) put(p *Packet) {
	c.steps = append(c.steps, Step{Packet: p})
	c.sent = append(c.sent, p)
}

// spoil changes one thing.
func (c *randomConnection) spoil(p *Packet) *Packet {
	p = p.Clone()
	distances := []int64{1, -1, 100, -100, 1460, 40_000, -40_000, 70_000, -70_000, 1 << 20, -(1 << 20), 1 << 30, 1 << 31}
	off := distances[c.r.IntN(len(distances))]
	switch c.r.IntN(5) {
	case 0, 1:
		p.Set("seq", fmt.Sprint(uint32(int64(p.Num("seq", 0))+off)))
	case 2, 3:
		if p.Has("ack") {
			p.Set("ack", fmt.Sprint(uint32(int64(p.Num("ack", 0))+off)))
		}
	default:
		flags := []string{"S", "SA", "FA", "A", "R", "RA", "PA", "F", "0", "SF", "FPU", "SR", "AU", "PAEC"}
		p.Words[0] = Word{Key: flags[c.r.IntN(len(flags))]}
	}
	return p
}

// turn lets one side do one thing.
func (c *randomConnection) turn() {
	side := c.r.IntN(2)
	me, other := c.peers[side], c.peers[1-side]
	switch kind := c.r.IntN(20); {
	case !me.opened:
		c.open(side)
	case kind < 7 && !me.fin: // data
		length := []int{1, 100, 1000, 1400}[c.r.IntN(4)]
		c.emit(c.segment(side, "PA", length))
		me.seq += uint32(length)
	case kind < 13: // acknowledgement
		me.ack = other.seq
		p := c.segment(side, "A", 0)
		if me.sackok && other.sackok && c.r.IntN(4) == 0 {
			p.Set("sack", fmt.Sprintf("%d-%d", other.seq-500, other.seq))
			p.Set("ack", fmt.Sprint(other.seq-1000))
		}
		c.emit(p)
	case kind < 15 && !me.fin:
		c.emit(c.segment(side, "FA", 0))
		me.seq++
		me.fin = true
	case kind == 15:
		c.emit(c.segment(side, []string{"R", "RA"}[c.r.IntN(2)], 0))
	case kind == 16: // a new connection on the same ports
		me.seq += uint32(c.r.IntN(1 << 20))
		me.fin = false
		c.open(side)
	case kind == 17 && len(c.sent) > 0: // something old once more
		c.put(c.sent[c.r.IntN(len(c.sent))])
	case kind == 18 && len(c.sent) > 0: // from the wrong side
		p := c.sent[c.r.IntN(len(c.sent))].Clone()
		p.Src, p.Dst = p.Dst, p.Src
		c.put(p)
	case kind == 19:
		c.emit(c.keepalive(side))
	}
}

func (c *randomConnection) keepalive(side int) *Packet {
	p := c.segment(side, "A", 0)
	p.Set("seq", fmt.Sprint(c.peers[side].seq-1))
	return p
}

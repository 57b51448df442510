package diff

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Script is one behaviour, packet by packet.
type Script struct {
	// Name tells the script from all others.
	Name string
	// Profiles are the names of the configurations that it runs with.
	Profiles []string
	// Family is 4 or 6: the IP version of all its packets.
	Family int
	// Number is the number whose addresses its recorded packets carry; 0 = none.
	Number int
	// Steps are what happens, in this order.
	Steps []Step
}

// Step is one thing that happens: a packet or a pause.
type Step struct {
	// Packet is what is sent; nil if the step is a pause or Recorded is sent.
	Packet *Packet
	// Recorded is an IP packet that is sent as it is.
	Recorded []byte
	// Wait is how long nothing happens; 0 if a packet is sent.
	Wait time.Duration
	// Differs names the deviation (docs/deviations.md) that makes xdpct differ
	// from the kernel at this step; empty if it must not differ.
	Differs string
}

// pause tells whether nothing is sent.
func (s Step) pause() bool { return s.Packet == nil && s.Recorded == nil }

// outgoing is what is sent, as it has to look from its end; nothing for a pause.
func (s Step) outgoing(v *view) (o outgoing, ok bool) {
	switch {
	case s.Packet != nil:
		from := sender(s.Packet)
		return outgoing{from, v.build(s.Packet, from)}, true
	case s.Recorded != nil:
		d, _ := dissect(s.Recorded)
		if d.src == v.address("client") {
			return outgoing{Inside, s.Recorded}, true
		}
		return outgoing{Outside, s.Recorded}, true
	}
	return o, false
}

// Packet is a packet as its sender's side of the gateway names the hosts.
type Packet struct {
	// Proto is tcp, udp, udplite, icmp (of the script's family), sctp, gre or ip (any
	// other protocol, named by proto=).
	Proto    string
	Src, Dst Endpoint
	// Words are all else that was said about the packet, in this order.
	Words []Word
	// Quoted is the packet that an ICMP error is about.
	Quoted *Packet
}

// Endpoint is a host and its port.
type Endpoint struct {
	Host string
	Port uint16 // 0 if the protocol has none
}

// Word is KEY or KEY=VALUE.
type Word struct{ Key, Value string }

// Has tells whether the key was given.
func (p *Packet) Has(key string) bool {
	_, ok := p.value(key)
	return ok
}

func (p *Packet) value(key string) (string, bool) {
	for _, w := range p.Words {
		if w.Key == key {
			return w.Value, true
		}
	}
	return "", false
}

// Text is the value of a key, or otherwise if it was not given.
func (p *Packet) Text(key, otherwise string) string {
	if v, ok := p.value(key); ok {
		return v
	}
	return otherwise
}

// Num is the number that was given for a key, or otherwise. Parse has checked that
// it is one.
func (p *Packet) Num(key string, otherwise uint32) uint32 {
	v, ok := p.value(key)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 0, 32)
	if err != nil {
		panic(fmt.Sprintf("%s=%s was not checked: %v", key, v, err))
	}
	return uint32(n)
}

// Set changes or adds a word.
func (p *Packet) Set(key, value string) {
	for i := range p.Words {
		if p.Words[i].Key == key {
			p.Words[i].Value = value
			return
		}
	}
	p.Words = append(p.Words, Word{key, value})
}

// Clone is a packet of its own with the same content.
func (p *Packet) Clone() *Packet {
	c := *p
	c.Words = append([]Word(nil), p.Words...)
	if p.Quoted != nil {
		c.Quoted = p.Quoted.Clone()
	}
	return &c
}

// String is the packet as Parse reads it.
func (p *Packet) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s > %s", p.Proto, p.Src, p.Dst)
	for _, w := range p.Words {
		b.WriteByte(' ')
		b.WriteString(w.Key)
		if w.Value != "" {
			b.WriteByte('=')
			b.WriteString(w.Value)
		}
	}
	if p.Quoted != nil {
		fmt.Fprintf(&b, " quoting (%s)", p.Quoted)
	}
	return b.String()
}

// String is HOST or HOST:PORT.
func (e Endpoint) String() string {
	if e.Port == 0 {
		return e.Host
	}
	return e.Host + ":" + strconv.Itoa(int(e.Port))
}

// String is the step as Parse reads it.
func (s Step) String() string {
	text := "wait " + s.Wait.String()
	if s.Packet != nil {
		text = s.Packet.String()
	} else if s.Recorded != nil {
		text = fmt.Sprintf("# recorded: %s", show(s.Recorded, &names{}))
	}
	if s.Differs != "" {
		text += "\ndiffers " + s.Differs
	}
	return text
}

// String is the script as Parse reads it.
func (s *Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "script %s\non %s\nfamily %d\n", s.Name, strings.Join(s.Profiles, " "), s.Family)
	for _, step := range s.Steps {
		b.WriteString(step.String())
		b.WriteByte('\n')
	}
	return b.String()
}

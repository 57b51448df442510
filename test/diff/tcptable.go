package diff

import (
	"fmt"
	"strings"
)

// This file makes the scripts that walk through the kernel's TCP table cell by
// cell: each state that a connection can be in, each direction, each kind of segment.

// Where both sides are in their sequence space when the scripts begin, and how far
// their first SYNs are from what comes later.
const (
	clientISN = 1000
	serverISN = 9000
)

// tcpSide is where one side of a connection is: next to send, next expected.
type tcpSide struct{ seq, ack uint32 }

// tcpState is a way into a state of the table.
type tcpState struct {
	name string
	// path are the segments that lead there, as DIRECTION FLAGS: "c SA" is a SYN/ACK
	// from the client. They carry the numbers that the sides are at.
	path []string
}

// handshake opens a connection.
var handshake = []string{"c S", "s SA", "c A"}

func after(path []string, more ...string) []string {
	return append(append([]string(nil), path...), more...)
}

// tcpStates are all states of the table, some by several ways, which differ in what
// the gateway remembers: who closed, whether the flow is assured, who sent the RST.
var tcpStates = []tcpState{
	{"none", nil},
	{"syn-sent", []string{"c S"}},
	{"syn-recv", handshake[:2]},
	{"established", handshake},
	{"established-with-data", after(handshake, "c PA+100", "s A", "s PA+200", "c A")},
	{"established-unacked", after(handshake, "c PA+100")},
	{"picked-up", []string{"c A"}},
	{"picked-up-answered", []string{"c A", "s A"}},
	{"fin-wait", after(handshake, "c FA")},
	{"fin-wait-by-server", after(handshake, "s FA")},
	{"close-wait", after(handshake, "c FA", "s A")},
	{"close-wait-by-server", after(handshake, "s FA", "c A")},
	{"last-ack", after(handshake, "c FA", "s A", "s FA")},
	{"last-ack-by-server", after(handshake, "s FA", "c A", "c FA")},
	{"time-wait", after(handshake, "c FA", "s A", "s FA", "c A")},
	{"time-wait-by-server", after(handshake, "s FA", "c A", "c FA", "s A")},
	{"close", after(handshake, "c R")},
	{"close-by-server", after(handshake, "s R")},
	{"close-refused", []string{"c S", "s RA"}},
	{"close-after-fin", after(handshake, "c FA", "s R")},
	{"syn-sent2", []string{"c S", "s S"}},
	{"simultaneous-open", []string{"c S", "s S", "c SA", "s SA"}},
}

// tcpSegments are the segments that are tried in each state, as TCP flags, length,
// and offsets of seq and ack from where the sender is.
var tcpSegments = []struct {
	name     string
	flags    string
	length   int
	seq, ack int
}{
	{name: "syn", flags: "S", seq: 0},
	{name: "syn-new-isn", flags: "S", seq: 500_000},
	{name: "syn-old-isn", flags: "S", seq: -500_000},
	{name: "synack", flags: "SA"},
	{name: "fin", flags: "FA"},
	{name: "ack", flags: "A"},
	{name: "rst", flags: "R"},
	{name: "rst-ack", flags: "RA"},
	{name: "data", flags: "PA", length: 50},
	{name: "rst-in-window", flags: "R", seq: 100},
	{name: "rst-old", flags: "R", seq: -100},
	{name: "rst-far", flags: "R", seq: 1_000_000},
	{name: "keepalive", flags: "A", seq: -1},
	{name: "old-data", flags: "PA", length: 50, seq: -200_000},
	{name: "data-beyond-window", flags: "PA", length: 50, seq: 200_000},
	{name: "ack-of-unsent", flags: "A", ack: 10_000},
	{name: "ack-too-old", flags: "A", ack: -200_000},
}

// TCPTable makes a script for each state, direction and segment. After the segment
// each side sends once more, which shows what the gateway has remembered.
func TCPTable() (scripts []*Script) {
	for _, state := range tcpStates {
		for _, from := range []string{"c", "s"} {
			for _, segment := range tcpSegments {
				c := newConversation()
				for _, step := range state.path {
					c.send(step)
				}
				c.sendOff(from, segment.flags, segment.length, segment.seq, segment.ack)
				other := map[string]string{"c": "s", "s": "c"}[from]
				c.send(other + " A")
				c.send(from + " PA+10")
				c.send(other + " A")
				scripts = append(scripts, &Script{
					Name:     fmt.Sprintf("%s/%s/%s", state.name, map[string]string{"c": "client", "s": "server"}[from], segment.name),
					Profiles: []string{"snat", "strict", "liberal"}, Family: 4, Steps: c.steps,
				})
			}
		}
	}
	return scripts
}

// TCPFlags makes scripts with each of the 64 sets of flags: as first packet, and
// from both sides in an established connection.
func TCPFlags() (scripts []*Script) {
	for bits := range 64 {
		flags := ""
		for i, letter := range flagLetters[:6] {
			if bits>>i&1 != 0 {
				flags += string(letter)
			}
		}
		if flags == "" {
			flags = "0"
		}
		first := newConversation()
		first.sendOff("c", flags, 0, 0, 0)
		first.send("s A")
		both := newConversation()
		for _, step := range handshake {
			both.send(step)
		}
		both.sendOff("s", flags, 0, 0, 0)
		both.sendOff("c", flags, 0, 0, 0)
		for name, c := range map[string]*conversationScript{"first": first, "established": both} {
			scripts = append(scripts, &Script{Name: name + "/" + flags, Profiles: []string{"snat"}, Family: 4, Steps: c.steps})
		}
	}
	return scripts
}

// conversationScript writes the steps of a connection between client and server,
// with the numbers that honest sides would have.
type conversationScript struct {
	sides map[string]*tcpSide
	win   int // that segments carry
	steps []Step
}

func newConversation() *conversationScript {
	return &conversationScript{sides: map[string]*tcpSide{"c": {seq: clientISN}, "s": {seq: serverISN}}, win: 30000}
}

// send adds a segment, "c PA+100", and moves both sides on.
func (c *conversationScript) send(step string) {
	from, rest, _ := strings.Cut(step, " ")
	flags, length, _ := strings.Cut(rest, "+")
	n := int(number(length))
	c.sendOff(from, flags, n, 0, 0)
	me, peer := c.sides[from], c.sides[map[string]string{"c": "s", "s": "c"}[from]]
	me.seq += uint32(n)
	if strings.ContainsAny(flags, "SF") {
		me.seq++
	}
	peer.ack = me.seq
}

// sendScaled is send with the option to scale windows; -1: without.
func (c *conversationScript) sendScaled(step string, scale int) {
	c.send(step)
	if scale >= 0 {
		c.steps[len(c.steps)-1].Packet.Set("wscale", fmt.Sprint(scale))
	}
}

// sendOff adds a segment whose numbers are off those that the sender is at, and
// moves nobody.
func (c *conversationScript) sendOff(from, flags string, length, seq, ack int) {
	me := c.sides[from]
	p := &Packet{Proto: "tcp", Src: Endpoint{"client", 4000}, Dst: Endpoint{"server", 80}, Words: []Word{{Key: flags}}}
	if from == "s" {
		p.Src, p.Dst = p.Dst, p.Src
	}
	p.Set("seq", fmt.Sprint(me.seq+uint32(seq)))
	if strings.Contains(flags, "A") {
		p.Set("ack", fmt.Sprint(me.ack+uint32(ack)))
	}
	p.Set("win", fmt.Sprint(c.win))
	if length > 0 {
		p.Set("len", fmt.Sprint(length))
	}
	c.steps = append(c.steps, Step{Packet: p})
}

package helpers_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// stream is one direction of a control connection, from a sender over the helper
// and sequence adjustment to a receiver. The sender divides and repeats its text
// as it likes; segments are lost.
type stream struct {
	e       *session
	d       flowtable.Dir
	isn     uint32
	text    []byte // what the sender has to say
	want    []byte // what the receiver has to get
	sent    int    // up to where it was sent, bytes of text
	acked   int    // up to where it is acknowledged, as the sender knows
	have    []byte // what the receiver has got, without holes
	later   map[int]byte
	maxSize int
	urgent  int // up to where the text is urgent, as telnet signals are; at the end of a line
}

// say adds a line, and what the other side must get of it.
func (x *stream) say(text, want string) {
	x.text, x.want = append(x.text, text...), append(x.want, want...)
}

// send passes text[from:to]; the receiver gets it unless it is lost.
func (x *stream) send(from, to int, lost bool) {
	e := x.e
	to = min(to, from+x.limit())
	flags := packet.ACK
	if from < x.urgent {
		flags |= packet.URG
		e.urgent = uint16(x.urgent - from)
	}
	_, v := e.pass(x.d, e.frame(x.d, x.isn+uint32(from), flags, string(x.text[from:to])))
	x.sent = max(x.sent, to)
	if v == drop || lost || x.gaveUp() {
		return
	}
	ext := e.table.Ext(e.idx)
	nat.AdjustTCP(e.c.Frame, &e.h, ext, x.d)
	e.checkSum(e.h)
	got := e.c.Frame[e.h.Payload:e.h.End]
	if x.maxSize != 0 && int(e.h.End-e.h.L3) > x.maxSize {
		e.t.Fatalf("packet of %d bytes, MTU %d", e.h.End-e.h.L3, x.maxSize)
	}
	at := int(int32(packet.TCP(e.c.Frame[e.h.L4:]).Seq() - x.isn))
	x.checkUrgent(at, at+len(got))
	for i, ch := range got {
		if at+i >= len(x.want) || x.want[at+i] != ch {
			e.t.Fatalf("text[%d:%d] %q arrives at %d as %q; the stream is\n%q", from, to, x.text[from:to], at, got, x.want)
		}
		x.later[at+i] = ch
	}
	for {
		ch, ok := x.later[len(x.have)]
		if !ok {
			return
		}
		x.have = append(x.have, ch)
	}
}

// checkUrgent: the segment that brings text[at:next] to the receiver tells where the
// urgent text ends if it has that end, and never says that it is elsewhere.
func (x *stream) checkUrgent(at, next int) {
	t := packet.TCP(x.e.c.Frame[x.e.h.L4:])
	end, told := len(translate(x.text[:x.urgent])), t.Flags()&packet.URG != 0
	if got := at + int(t.Urgent()); told && got != end {
		x.e.t.Fatalf("urgent pointer from %d to %d, want %d", at, got, end)
	}
	if !told && at < end && end <= next {
		x.e.t.Fatalf("text[%d:%d] has urgent data up to %d and does not say so", at, next, end)
	}
}

// acknowledge lets the receiver acknowledge all that it has; the sender hears
// of it unless that is lost.
func (x *stream) acknowledge(lost bool) {
	e, d := x.e, x.d.Opposite()
	e.seq[x.d] = x.isn + uint32(len(x.have)) // goes out as ACK
	frame := e.frame(d, 1, packet.ACK, "")
	if _, v := e.pass(d, frame); v != accept {
		e.t.Fatalf("acknowledgement: verdict %d", v)
	}
	nat.AdjustTCP(e.c.Frame, &e.h, e.table.Ext(e.idx), d)
	ack := int(int32(packet.TCP(e.c.Frame[e.h.L4:]).Ack() - x.isn))
	if ack < 0 || ack > x.sent {
		e.t.Fatalf("%d of %d bytes acknowledged", ack, x.sent)
	}
	if got := translate(x.text[:ack]); string(got) != string(x.have) {
		e.t.Fatalf("acknowledged as %q, the receiver has %q", got, x.have)
	}
	if !lost && ack > x.acked {
		x.acked = ack
	}
}

// gaveUp tells whether the sender repeated a piece of a command until it was
// forwarded as it is: a command that never comes whole is not translated.
func (x *stream) gaveUp() bool { return x.e.counters.Load(helpers.IDFTP, helpers.CauseSplit) != 0 }

// translate is what the helper must make of whole lines: the slow, obvious way.
func translate(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("PORT 10,99,1,2,"), []byte("PORT 203,0,113,200,"))
	return bytes.ReplaceAll(b, []byte("EPRT |1|10.99.1.2|"), []byte("EPRT |1|203.0.113.200|"))
}

// step does one thing that a sender, a receiver or the net may do.
func (x *stream) step(op, size byte) {
	room := max(int(size)%120, 1)
	lost := op&0x80 != 0
	switch op & 7 {
	case 0, 1, 2: // something new
		x.send(x.sent, min(x.sent+room, len(x.text)), lost)
	case 3, 4: // again, what is not acknowledged; perhaps with something new
		if len(x.text) > x.acked {
			from := x.acked
			if op&8 != 0 && x.sent > from {
				from += int(op>>4&7) * (x.sent - from) / 8
			}
			x.send(from, min(from+room, len(x.text)), lost)
		}
	case 5: // the sender lets the rest wait, and comes to it later
		if from := min(x.sent+room, len(x.text)); from < len(x.text) && op&8 != 0 {
			x.send(from, min(from+20, len(x.text)), lost)
		}
	default:
		x.acknowledge(lost)
	}
}

// finish lets the sender repeat, one window at a time, until all is there.
func (x *stream) finish() {
	for try := 0; x.acked < len(x.text); try++ {
		if try > 20*len(x.text) {
			x.e.t.Fatalf("stuck at %d of %d bytes: %q", x.acked, len(x.text), x.text[x.acked:])
		}
		x.send(x.acked, min(x.acked+100, len(x.text)), false)
		x.acknowledge(false)
		x.e.c.Now++
	}
	if string(x.have) != string(x.want) {
		x.e.t.Fatalf("the receiver has\n%q, want\n%q", x.have, x.want)
	}
}

// modelLines are what a client may say; the first must come first.
var modelLines = []string{
	"USER anna\r\n", "PORT 10,99,1,2,25,0\r\n", "EPRT |1|10.99.1.2|6401|\r\n", "NOOP\r\n", "PORT 10,99,1,2,200,7\r\n",
	"STOR PORT 10,9\r\n", "\r\n", "PASV\r\n",
}

// newStream makes the stream of a client whose lines script chooses.
func newStream(t testing.TB, script []byte, isn uint32) *stream {
	t.Helper()
	s := snat4
	s.public, s.pool = "203.0.113.200:35002", "203.0.113.200"
	e := newSession(t, s)
	x := &stream{e: e, d: orig, isn: isn, later: map[int]byte{}}
	f := e.table.Flow(e.idx)
	f.SetState(uint8(flowtable.TCPSynSent))
	e.pass(orig, e.frame(orig, isn-1, packet.SYN, ""))
	e.established()
	x.say(modelLines[0], modelLines[0])
	for i, k := range script[:min(len(script), 12)] {
		line := modelLines[int(k)%len(modelLines)]
		x.say(line, string(translate([]byte(line))))
		if i == len(script)/2 {
			x.urgent = len(x.text)
		}
	}
	return x
}

// runStream plays a script: lines, then steps of two bytes each.
func runStream(t testing.TB, isn uint32, mtu byte, script []byte) {
	t.Helper()
	n := min(len(script)/3, 12)
	x := newStream(t, script[:n], isn)
	if mtu != 0 {
		x.maxSize = 100 + int(mtu)%100
		x.e.c.MTU = uint16(x.maxSize)
	}
	for rest := script[n:min(len(script), 200)]; len(rest) >= 2; rest = rest[2:] {
		x.step(rest[0], rest[1])
		if x.gaveUp() {
			return
		}
	}
	x.finish()
}

// limit is the longest text that goes into a packet.
func (x *stream) limit() int {
	if x.maxSize == 0 {
		return 1000
	}
	return x.maxSize - 40
}

// FuzzFTPStream: whatever the segments, losses and repetitions, the receiver gets
// every line, translated, without a hole or an overlap, the sender hears only
// of what has arrived, nobody waits for ever, and no packet exceeds the MTU.
func FuzzFTPStream(f *testing.F) {
	f.Add(uint32(1000), byte(0), []byte{1, 2, 3, 0, 200, 0, 200, 6, 0})
	f.Add(uint32(0xffffffe0), byte(7), []byte{1, 1, 1, 1, 2, 4, 0, 10, 0, 13, 0x80, 7, 3, 30, 4, 9, 6, 0, 11, 100})
	f.Fuzz(func(t *testing.T, isn uint32, mtu byte, script []byte) { runStream(t, isn, mtu, script) })
}

func TestFTPStreamModel(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 4))
		script := make([]byte, 20+rng.IntN(100))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runStream(t, rng.Uint32()|0xfffffe00, byte(seed%3)*byte(seed), script) })
		if t.Failed() {
			return
		}
	}
}

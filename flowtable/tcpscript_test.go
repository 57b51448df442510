package flowtable

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// tcpSpec is a segment to be built.
type tcpSpec struct {
	flags    uint8
	seq, ack uint32
	win      uint16
	payload  int
	options  []byte
}

// build returns the segment and where its headers are.
func (s tcpSpec) build() ([]byte, packet.Headers) {
	for len(s.options)%4 != 0 {
		s.options = append(s.options, optionNop)
	}
	b := make([]byte, packet.TCPMinLen, packet.TCPMinLen+len(s.options)+s.payload)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	b[12], b[13] = uint8(5+len(s.options)/4)<<4, s.flags
	binary.BigEndian.PutUint16(b[14:], s.win)
	b = append(append(b, s.options...), make([]byte, s.payload)...)
	frame := frame4(packet.ProtoTCP, b)
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		panic("a segment for a test does not parse")
	}
	return frame, h
}

// TestTCPScripts plays testdata/tcp/*.txt. A line is
//
//	seconds direction flags [field=value ...] -> outcome state timeout status changes
//
// seconds: since the line before; direction: > original, < reply; flags: S F R
// A P U or none. Fields: seq and ack count from the first sequence number of
// their sender (0 is its SYN) and are what a well-behaved host would send, if left
// out; win (65535), len (0), opt: comma-separated out of ws<scale>, sack (permitted),
// ts, and sack<left>-<right> (a block). zero=seq,ack sets the number on the wire to 0.
//
// status: of + letters: r seen reply, a assured; changes: state, reply, assured,
// joined by commas, or -. The first line that starts a flow has the outcome "new"
// or "reject". Lines starting with # are comments, "set loose off", "set liberal on",
// "set ignore-invalid-rst on" and "set max-retrans N" change settings.
//
// Each script is played with several first numbers, so that they wrap.
func TestTCPScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/tcp/*.txt")
	if err != nil || len(files) < 8 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			for _, first := range [][2]uint32{{1000, 77_000_000}, {0xffffffff, 0xfffffffe}, {0x7fffffff, 0xffffff00}, {0xfffff000, 0x7ffffff0}} {
				playTCP(t, file, first)
			}
		})
	}
}

// tcpPlayer holds the state of one script.
type tcpPlayer struct {
	tr    *Tracker
	tb    *Table
	idx   uint32
	now   Tick
	first [2]uint32 // sequence number of the SYN of each side
	next  [2]uint32 // what each side sends next, from first
}

func playTCP(t *testing.T, file string, first [2]uint32) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := &tcpPlayer{tr: NewTracker(), tb: newTable(t, 1), now: 1000, first: first}
	scanner := bufio.NewScanner(f)
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		switch {
		case line == "" || line[0] == '#':
		case strings.HasPrefix(line, "set "):
			p.set(t, strings.Fields(line)[1:])
		default:
			input, want, ok := strings.Cut(line, "->")
			if !ok {
				t.Fatalf("%s:%d: no arrow", file, n)
			}
			got := p.play(t, strings.Fields(input))
			if want = strings.Join(strings.Fields(want), " "); got != want {
				t.Errorf("%s:%d (first %#x): %s\n got %s\nwant %s", file, n, first, strings.TrimSpace(input), got, want)
			}
		}
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
}

// set changes a setting.
func (p *tcpPlayer) set(t *testing.T, args []string) {
	t.Helper()
	switch on := args[1] == "on"; args[0] {
	case "loose":
		p.tr.TCPLoose = on
	case "liberal":
		p.tr.TCPLiberal = on
	case "ignore-invalid-rst":
		p.tr.TCPIgnoreInvalidRST = on
	case "max-retrans":
		p.tr.TCPMaxRetrans = uint8(number(t, args[1]))
	default:
		if err := p.tr.Timeouts.Set(args[0], Tick(number(t, args[1])*TicksPerSecond).Duration()); err != nil {
			t.Fatal(err)
		}
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// play applies one segment and renders what happened.
func (p *tcpPlayer) play(t *testing.T, in []string) string {
	t.Helper()
	seconds, err := strconv.ParseFloat(in[0], 64)
	if err != nil || len(in) < 3 {
		t.Fatalf("bad line %q", in)
	}
	p.now += Tick(seconds * TicksPerSecond)
	d := DirOriginal
	if in[1] == "<" {
		d = DirReply
	}
	frame, h := p.segment(t, d, in[2], in[3:]).build()
	if p.idx != 0 && p.tb.Flow(p.idx).Expired(p.now) {
		p.tb.Remove(p.idx)
		p.idx = 0
	}
	if p.idx == 0 {
		return p.start(t, frame, &h)
	}
	s := p.tr.Advance(p.tb, p.idx, d, frame, &h, p.now)
	out := fmt.Sprintf("%v %s", s.Outcome, p.describe(s.Changes))
	switch s.Outcome {
	case OutcomeInvalid:
		out = fmt.Sprintf("invalid %v", s.Cause)
		if p.tb.Flow(p.idx).LastSeen == p.now && seconds > 0 { // the time-out was lowered
			out += " " + p.describe(0)
		}
	case OutcomeRestart:
		p.tb.Remove(p.idx)
		p.idx = 0
		return "restart " + p.start(t, frame, &h)
	case OutcomeDestroy:
		p.tb.Remove(p.idx)
		p.idx = 0
	}
	return out
}

// segment returns the segment that a line describes.
func (p *tcpPlayer) segment(t *testing.T, d Dir, flags string, fields []string) tcpSpec {
	t.Helper()
	s := tcpSpec{win: 65535}
	for _, c := range strings.Trim(flags, "-") {
		s.flags |= map[rune]uint8{'S': packet.SYN, 'F': packet.FIN, 'R': packet.RST, 'A': packet.ACK,
			'P': packet.PSH, 'U': packet.URG}[c]
	}
	o := d.Opposite()
	s.seq, s.ack = p.first[d]+p.next[d], p.first[o]+p.next[o]
	if s.flags&packet.ACK == 0 {
		s.ack = 0
	}
	own := s.seq
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "seq":
			s.seq = p.first[d] + uint32(number(t, value))
		case "ack":
			s.ack = p.first[o] + uint32(number(t, value))
		case "win":
			s.win = uint16(number(t, value))
		case "len":
			s.payload = int(number(t, value))
		case "opt":
			s.options = p.options(t, o, value)
		case "zero":
			if strings.Contains(value, "seq") {
				s.seq = 0
			}
			if strings.Contains(value, "ack") {
				s.ack = 0
			}
		default:
			t.Fatalf("field %q", field)
		}
	}
	end := s.seq + uint32(s.payload) + uint32(s.flags>>1&1) + uint32(s.flags&1)
	if s.seq == own {
		p.next[d] = end - p.first[d]
	}
	return s
}

// options builds the options of a segment; SACK blocks count as o does.
func (p *tcpPlayer) options(t *testing.T, o Dir, text string) (b []byte) {
	t.Helper()
	for _, name := range strings.Split(text, ",") {
		left, right, block := strings.Cut(strings.TrimPrefix(name, "sack"), "-")
		switch {
		case name == "sack":
			b = append(b, optionNop, optionNop, optionSACKPerm, 2)
		case name == "ts":
			b = append(b, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)
		case block:
			b = append(b, optionNop, optionNop, optionSACK, 2+sackBlock)
			b = binary.BigEndian.AppendUint32(b, p.first[o]+uint32(number(t, left)))
			b = binary.BigEndian.AppendUint32(b, p.first[o]+uint32(number(t, right)))
		case strings.HasPrefix(name, "ws"):
			b = append(b, optionNop, optionScale, 3, uint8(number(t, name[2:])))
		default:
			t.Fatalf("option %q", name)
		}
	}
	return b
}

// start lets the segment make a flow.
func (p *tcpPlayer) start(t *testing.T, frame []byte, h *packet.Headers) string {
	t.Helper()
	state, timeout, cause := p.tr.Start(frame, h)
	if cause != InvalidNone {
		return "reject " + cause.String()
	}
	tu := tuple4(1)
	tu.Proto = packet.ProtoTCP
	p.idx = mustInsert(t, p.tb, tu, timeout, p.now)
	p.tb.Flow(p.idx).SetState(state)
	p.tb.Flow(p.idx).AddStatus(StatusConfirmed)
	p.tr.Begin(p.tb, p.idx, frame, h)
	return "new " + p.describe(0)
}

// describe renders state, time left, status and changes.
func (p *tcpPlayer) describe(c Changes) string {
	f := p.tb.Flow(p.idx)
	status := ""
	if f.Status()&StatusSeenReply != 0 {
		status += "r"
	}
	if f.Status()&StatusAssured != 0 {
		status += "a"
	}
	var changes []string
	for i, name := range []string{"state", "reply", "assured"} {
		if c>>i&1 != 0 {
			changes = append(changes, name)
		}
	}
	if len(changes) == 0 {
		changes = []string{"-"}
	}
	return fmt.Sprintf("%v %d +%s %s", TCPState(f.State()), (f.Deadline() - p.now).Seconds(), status, strings.Join(changes, ","))
}

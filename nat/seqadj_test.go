package nat_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// tcpFrame builds a segment; sack holds the edges of SACK blocks and nops the
// number of padding options before them.
func tcpFrame(t testing.TB, seq, ack uint32, payload []byte, nops int, sack ...uint32) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, 5}, DstIP: []byte{198, 51, 100, 1}}
	l := &layers.TCP{SrcPort: 40000, DstPort: 21, Seq: seq, Ack: ack, ACK: true, Window: 500}
	mustDo(t, l.SetNetworkLayerForChecksum(ip))
	for range nops {
		l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
	}
	if len(sack) > 0 {
		var b []byte
		for _, e := range sack {
			b = binary.BigEndian.AppendUint32(b, e)
		}
		l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindSACK, OptionLength: uint8(len(b) + 2), OptionData: b})
	}
	return ethernet(serialize(t, ip, l, gopacket.Payload(payload)))
}

func TestAdjustTCP(t *testing.T) {
	// Original direction: 4 bytes at 1000 became 6, 5 bytes at 2000 became 2.
	const orig = flowtable.DirOriginal
	ext := new(flowtable.Ext)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 1000, Old: 4, New: 6}, 900)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 1500, Old: 3, New: 3}, 900)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 2000, Old: 5, New: 2}, 900)
	for _, tt := range []struct{ seq, want uint32 }{
		{990, 990}, {1000, 1000}, {1004, 1006}, {1500, 1502}, {1503, 1505}, {2000, 2002}, {2005, 2004}, {3000, 2999},
	} {
		frame := tcpFrame(t, tt.seq, 77, nil, 0)
		h := mustParse(t, frame)
		nat.AdjustTCP(frame, &h, ext, orig)
		if got := packet.TCP(frame[h.L4:]).Seq(); got != tt.want {
			t.Errorf("seq %d became %d, want %d", tt.seq, got, tt.want)
		}
		if got := packet.TCP(frame[h.L4:]).Ack(); got != 77 {
			t.Errorf("ack 77 became %d", got)
		}
		checkSums(t, frame, &h)
	}
	// Within a changed text: its start.
	for _, tt := range []struct{ ack, want uint32 }{
		{990, 990}, {1000, 1000}, {1001, 1000}, {1005, 1000}, {1006, 1004}, {1502, 1500}, {1503, 1500}, {2002, 2000},
		{2003, 2000}, {2004, 2005}, {2500, 2501},
	} {
		for nops := range 4 {
			frame := tcpFrame(t, 5, tt.ack, nil, nops, tt.ack, tt.ack, 2500, 2600)
			h := mustParse(t, frame)
			nat.AdjustTCP(frame, &h, ext, flowtable.DirReply)
			if want := tcpFrame(t, 5, tt.want, nil, nops, tt.want, tt.want, 2501, 2601); !bytes.Equal(frame, want) {
				t.Errorf("ack %d after %d nops:\n% x, want\n% x", tt.ack, nops, frame, want)
			}
		}
	}
}

// TestAdjustTCPUrgent: the urgent pointer stays at its byte, however the text before that
// has grown, in this segment or between this and a later one.
func TestAdjustTCPUrgent(t *testing.T) {
	const orig = flowtable.DirOriginal
	ext := new(flowtable.Ext)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 1000, Old: 4, New: 6}, 900)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 2000, Old: 5, New: 2}, 900)
	nat.AddSeqChange(ext, orig, flowtable.SeqChange{Start: 3000, Old: 1, New: 101}, 900)
	for _, tt := range []struct {
		seq       uint32
		old, want uint16
	}{
		{990, 5, 5}, {990, 10, 10}, {990, 14, 16}, {1000, 9, 11}, {1004, 9, 9}, {1990, 15, 12}, {990, 1015, 1014},
		{2005, 996, 1096}, {3001, 65535, 65535}, {2990, 65500, 65535},
	} {
		frame := tcpFrame(t, tt.seq, 77, nil, 0)
		h := mustParse(t, frame)
		tcp := packet.TCP(frame[h.L4:])
		tcp[13] |= packet.URG
		tcp.SetUrgent(tt.old)
		tcp.SetChecksum(packet.Delta(0).Add16(0, uint16(packet.URG)).Add16(0, tt.old).Apply(tcp.Checksum()))
		nat.AdjustTCP(frame, &h, ext, orig)
		if got := tcp.Urgent(); got != tt.want {
			t.Errorf("urgent pointer %d from %d became %d, want %d", tt.old, tt.seq, got, tt.want)
		}
		checkSums(t, frame, &h)
	}
}

// TestAddSeqChangeForgets: the oldest change makes room once it is acknowledged,
// and what follows it stays shifted.
func TestAddSeqChangeForgets(t *testing.T) {
	ext := new(flowtable.Ext)
	const d = flowtable.DirReply
	add := func(start, acked uint32) bool {
		return nat.AddSeqChange(ext, d, flowtable.SeqChange{Start: start, Old: 1, New: 2}, acked)
	}
	for start := uint32(1); start <= flowtable.SeqChanges; start++ {
		if !add(start*10, 0) {
			t.Fatalf("change %d is refused", start)
		}
	}
	if add(100, 10) || ext.SeqAdj[d].Changes[0].Start != 10 {
		t.Error("a change that is not acknowledged is forgotten")
	}
	if !add(100, 11) || ext.SeqAdj[d].Base != 1 || ext.SeqAdj[d].Changes[flowtable.SeqChanges-1].Offset != flowtable.SeqChanges+1 {
		t.Errorf("%+v", ext.SeqAdj[d])
	}
}

// TestAdjustTCPBadOptions: broken option lists are left alone, without panic.
func TestAdjustTCPBadOptions(t *testing.T) {
	ext := new(flowtable.Ext)
	nat.AddSeqChange(ext, flowtable.DirReply, flowtable.SeqChange{Start: 1, Old: 1, New: 5}, 1)
	for _, options := range [][]byte{
		{5}, {5, 0, 1, 1}, {5, 1, 1, 1}, {5, 40, 1, 1}, {1, 1, 1, 5}, {0, 5, 10, 1}, {2, 4, 5, 180, 5, 6, 0, 0},
	} {
		for len(options)%4 != 0 {
			options = append(options, 1)
		}
		frame := tcpFrame(t, 9, 9, options, 0)
		h := mustParse(t, frame)
		frame[h.L4+12] = byte(5+len(options)/4) << 4
		h = mustParse(t, frame)
		nat.AdjustTCP(frame, &h, ext, flowtable.DirOriginal)
		if !bytes.Equal(frame[h.L4+20:h.Payload], options) && options[0] != 2 {
			t.Errorf("options % x became % x", options, frame[h.L4+20:h.Payload])
		}
	}
}

// line is a piece of text that one side sends, before and after translation.
type line struct {
	seq      uint32 // as the sender counts
	old, new []byte
	noted    bool // its change is recorded
}

// endpoints is a sender and a receiver with the gateway between them. The
// receiver must see the translated stream without hole or overlap, the
// sender acknowledgements for exactly the lines that have arrived.
type endpoints struct {
	t        *testing.T
	dir      flowtable.Dir
	isn      uint32
	ext      flowtable.Ext
	lines    []line
	stream   []byte // what the receiver must see in the end
	arrived  []bool // by line
	acked    int    // lines the sender knows to have arrived
	delivery int    // lines without a hole at the receiver
}

// push queues a line.
func (e *endpoints) push(old, new []byte) {
	seq := e.isn
	for _, l := range e.lines {
		seq += uint32(len(l.old))
	}
	e.lines = append(e.lines, line{seq: seq, old: old, new: new})
	e.stream = append(e.stream, new...)
	e.arrived = append(e.arrived, false)
}

// send passes line i through the gateway; it arrives unless lost.
func (e *endpoints) send(i int, lost bool) {
	t, l := e.t, &e.lines[i]
	frame := tcpFrame(t, l.seq, 1, l.old, 0)
	h := mustParse(t, frame)
	if !bytes.Equal(l.old, l.new) {
		n, ok := nat.ReplaceText(frame, &h, int(h.Payload), len(l.old), l.new)
		if !ok {
			t.Fatal("no room")
		}
		frame = frame[:n]
		change := flowtable.SeqChange{Start: l.seq, Old: uint8(len(l.old)), New: uint8(len(l.new))}
		if !l.noted && !nat.AddSeqChange(&e.ext, e.dir, change, e.isn+e.position(e.acked, false)) {
			return // not now: the sender repeats it
		}
		l.noted = true
	}
	nat.AdjustTCP(frame, &h, &e.ext, e.dir)
	checkSums(t, frame, &h)
	if lost {
		return
	}
	pos := int64(packet.TCP(frame[h.L4:]).Seq() - e.isn)
	got := frame[h.Payload:h.End]
	if pos+int64(len(got)) > int64(len(e.stream)) || !bytes.Equal(got, e.stream[pos:pos+int64(len(got))]) {
		t.Fatalf("line %d arrives at %d as %q; the stream is %q", i, pos, got, e.stream)
	}
	e.arrived[i] = true
	for e.delivery < len(e.lines) && e.arrived[e.delivery] {
		e.delivery++
	}
}

// passed tells whether the gateway knows what to do with a line.
func (l *line) passed() bool { return l.noted || bytes.Equal(l.old, l.new) }

// position returns the offset of line i in the old or the new stream.
func (e *endpoints) position(i int, translated bool) (n uint32) {
	for _, l := range e.lines[:i] {
		if translated {
			n += uint32(len(l.new))
		} else {
			n += uint32(len(l.old))
		}
	}
	return n
}

// acknowledge lets the receiver acknowledge what it has, with a SACK block
// for the last line if that came out of order.
func (e *endpoints) acknowledge() {
	t, last := e.t, len(e.lines)-1
	edges := func(translated bool) (ack uint32, sack []uint32) {
		ack = e.isn + e.position(e.delivery, translated)
		if last >= e.delivery && e.arrived[last] {
			sack = []uint32{e.isn + e.position(last, translated), e.isn + e.position(last+1, translated)}
		}
		return ack, sack
	}
	ack, sack := edges(true)
	frame := tcpFrame(t, 1, ack, nil, e.delivery&3, sack...)
	h := mustParse(t, frame)
	nat.AdjustTCP(frame, &h, &e.ext, e.dir.Opposite())
	ack, sack = edges(false)
	if want := tcpFrame(t, 1, ack, nil, e.delivery&3, sack...); !bytes.Equal(frame, want) {
		t.Fatalf("acknowledgement of %d lines:\n% x, want\n% x", e.delivery, frame, want)
	}
	e.acked = e.delivery
}

// run plays a script: each byte is one step.
func (e *endpoints) run(script []byte) {
	for i, op := range script {
		switch op & 3 {
		case 0, 1: // a new line, unless one before it has not passed the gateway
			if n := len(e.lines); n > 0 && !e.lines[n-1].passed() {
				continue
			}
			n := int(op>>2)&7 + 1
			old := bytes.Repeat([]byte{'a' + byte(i%26)}, n)
			text := old
			if op&1 == 1 {
				text = bytes.Repeat([]byte{'A' + byte(i%26)}, int(op>>5)+1)
			}
			e.push(old, text)
			e.send(len(e.lines)-1, op&0x40 != 0)
		case 2: // retransmit a line that is not acknowledged
			if e.acked < len(e.lines) {
				e.send(e.acked+int(op>>2)%(len(e.lines)-e.acked), op&0x80 != 0)
			}
		case 3:
			e.acknowledge()
		}
	}
	for range 2 { // the last change may have had to wait for room
		for i := e.acked; i < len(e.lines); i++ {
			e.send(i, false)
		}
		e.acknowledge()
	}
	if e.delivery != len(e.lines) {
		e.t.Fatalf("%d of %d lines delivered", e.delivery, len(e.lines))
	}
}

func FuzzSeqAdj(f *testing.F) {
	f.Add(uint32(1000), false, []byte{1, 3, 0x45, 2, 2, 3, 0xe1, 0, 4, 3, 0x21, 3})
	f.Add(uint32(math.MaxUint32-3), true, []byte{0xfd, 2, 3, 0x1d, 0x40, 0x44, 2, 6, 3})
	f.Fuzz(func(t *testing.T, isn uint32, reply bool, script []byte) {
		e := &endpoints{t: t, isn: isn}
		if reply {
			e.dir = flowtable.DirReply
		}
		e.run(script[:min(len(script), 64)])
	})
}

func TestSeqAdjStream(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		script := make([]byte, 40)
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		e := &endpoints{t: t, isn: rng.Uint32() | 0xffffff00, dir: flowtable.Dir(seed & 1)}
		e.run(script)
	}
}

package control_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden; review the diff")

// The moment of all golden listings.
const goldenNow flowtable.Tick = 1000 * flowtable.TicksPerSecond

var goldenWall = time.Date(2026, 11, 22, 21, 50, 11, 15737000, time.UTC)

func helperName(id uint8) string {
	if id == 1 {
		return "ftp"
	}
	return ""
}

// mustTuple makes a tuple from addresses and what stands for ports.
func mustTuple(proto uint8, src, dst string, sport, dport uint16) flowtable.Tuple {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	return flowtable.Tuple{
		Src: packet.AddrOf(s), Dst: packet.AddrOf(d), SrcPort: sport, DstPort: dport,
		Proto: proto, Family: packet.FamilyOf(s),
	}
}

// snapshotOf makes a snapshot of a flow seen three seconds ago.
func snapshotOf(orig, reply flowtable.Tuple, timeout uint32, st flowtable.Status, state flowtable.TCPState) flowtable.Snapshot {
	return flowtable.Snapshot{
		Orig: orig, Reply: reply, Timeout: timeout, FullTimeout: flowtable.Tick(timeout+1) * flowtable.TicksPerSecond,
		Created: goldenNow - 75*flowtable.TicksPerSecond, LastSeen: goldenNow - 3*flowtable.TicksPerSecond,
		ID: 1226376432, Index: 7, Status: st, Proto: orig.Proto, State: uint8(state),
	}
}

const (
	replied = flowtable.StatusConfirmed | flowtable.StatusSeenReply
	assured = replied | flowtable.StatusAssured
)

// goldenFlows are one flow of each kind, addresses and states as a kernel shows
// them in its own listing.
func goldenFlows() []flowtable.Snapshot {
	ftp := snapshotOf(mustTuple(6, "10.1.2.3", "203.0.113.47", 39714, 21),
		mustTuple(6, "203.0.113.47", "198.51.100.32", 21, 39714), 119, assured|flowtable.StatusSNAT|flowtable.StatusHelper, flowtable.TCPTimeWait)
	ftp.Helper = 1
	return []flowtable.Snapshot{
		snapshotOf(mustTuple(6, "10.99.1.2", "10.99.2.2", 35002, 5001),
			mustTuple(6, "10.99.2.2", "10.99.2.1", 5001, 35002), 431998, assured|flowtable.StatusSNAT, flowtable.TCPEstablished),
		snapshotOf(mustTuple(17, "10.99.1.2", "10.99.2.2", 6003, 5003),
			mustTuple(17, "10.99.2.2", "10.99.2.1", 5003, 6003), 29, flowtable.StatusConfirmed|flowtable.StatusSNAT, 0),
		snapshotOf(mustTuple(1, "10.99.1.2", "10.99.2.2", 14302, 8<<8),
			mustTuple(1, "10.99.2.2", "10.99.2.1", 14302, 0), 29, replied|flowtable.StatusSNAT, 0),
		snapshotOf(mustTuple(58, "fd99:1::2", "fd99:2::2", 14303, 128<<8),
			mustTuple(58, "fd99:2::2", "fd99:1::2", 14303, 129<<8), 29, replied|flowtable.StatusIPv6, 0),
		snapshotOf(mustTuple(47, "10.99.1.2", "10.99.2.2", 0, 0),
			mustTuple(47, "10.99.2.2", "10.99.2.1", 0, 0), 29, flowtable.StatusConfirmed, 0),
		snapshotOf(mustTuple(253, "10.99.1.2", "10.99.2.2", 0, 0),
			mustTuple(253, "10.99.2.2", "10.99.2.1", 0, 0), 599, flowtable.StatusConfirmed, 0),
		ftp,
	}
}

// countedEvents show counts at the end of a flow, and nowhere else.
func countedEvents() []flowtable.Event {
	at := goldenWall.UnixNano()
	return []flowtable.Event{
		{Kind: flowtable.EventNew, Time: at, Left: 30, Flow: running()},
		{Kind: flowtable.EventUpdate, Time: at, Left: 120, Flow: running()},
		{Kind: flowtable.EventDestroy, Time: at, Flow: counted()},
		{Kind: flowtable.EventDestroy, Time: at, Left: 7, Evicted: true, Flow: counted()},
		// By the gateway itself, when its address goes: no process did it.
		{Kind: flowtable.EventDestroy, Time: at, Left: 8, Deleted: true, Flow: counted()},
	}
}

// running is counted, and goes on.
func running() flowtable.Snapshot {
	s := counted()
	s.Start, s.Stop = goldenWall.UnixNano()-3_015_737_001, 0
	s.Timeout = 29
	return s
}

// counted is a flow of a gateway that counts and keeps timestamps; the kernel
// showed these figures of one that expired.
func counted() flowtable.Snapshot {
	s := snapshotOf(mustTuple(17, "10.1.2.3", "203.0.113.47", 35001, 9999),
		mustTuple(17, "203.0.113.47", "198.51.100.32", 9999, 35001), 0, flowtable.StatusConfirmed|flowtable.StatusSNAT, 0)
	s.Counted, s.Packets[0], s.Bytes[0] = true, 1, 30
	s.Start, s.Stop = 1795406919319630348, 1795406922319920813
	return s
}

func goldenExpectations() []flowtable.Expectation {
	return []flowtable.Expectation{
		{
			Tuple: mustTuple(6, "203.0.113.47", "198.51.100.32", 0, 36215), Helper: 1, ID: 17,
			MasterOrig: mustTuple(6, "10.1.2.3", "203.0.113.47", 39714, 21), Deadline: goldenNow + 300*flowtable.TicksPerSecond,
		},
		{
			Tuple: mustTuple(6, "fd99:2::2", "fd99:1::2", 0, 36215), Helper: 1, ID: 18,
			MasterOrig: mustTuple(6, "fd99:1::2", "fd99:2::2", 39714, 21), Deadline: goldenNow + 10*flowtable.TicksPerSecond,
		},
	}
}

func goldenEvents() []flowtable.Event {
	at := goldenWall.UnixNano()
	syn := snapshotOf(mustTuple(6, "10.1.2.3", "203.0.113.47", 39714, 21),
		mustTuple(6, "203.0.113.47", "198.51.100.32", 21, 39714), 120, flowtable.StatusConfirmed, flowtable.TCPSynSent)
	syn.Helper = 1
	est := syn
	est.Status, est.State = assured, uint8(flowtable.TCPEstablished)
	udp := snapshotOf(mustTuple(17, "10.99.1.2", "10.99.2.2", 6003, 5003),
		mustTuple(17, "10.99.2.2", "10.99.2.1", 5003, 6003), 0, flowtable.StatusConfirmed, 0)
	ping := snapshotOf(mustTuple(1, "10.1.2.3", "203.0.113.47", 1918, 8<<8),
		mustTuple(1, "203.0.113.47", "198.51.100.32", 1918, 0), 23, replied, 0)
	closed := snapshotOf(mustTuple(6, "10.1.2.3", "203.0.113.47", 55140, 9),
		mustTuple(6, "203.0.113.47", "198.51.100.32", 9, 55140), 120, flowtable.StatusConfirmed, flowtable.TCPClose)
	x := goldenExpectations()[0]
	return []flowtable.Event{
		{Kind: flowtable.EventNew, Time: at, Left: 120, Flow: syn},
		{Kind: flowtable.EventUpdate, Time: at, Left: 432000, Flow: est},
		{Kind: flowtable.EventDestroy, Time: at, Flow: est},
		{Kind: flowtable.EventDestroy, Time: at, Flow: udp},
		{Kind: flowtable.EventDestroy, Time: at, Left: 23, Deleted: true, By: flowtable.ProcessOf(27098, "conntrack"), Flow: ping},
		{Kind: flowtable.EventDestroy, Time: at, Left: 120, Immediate: true, Flow: closed},
		{Kind: flowtable.EventNew, Time: at, Left: 300, Expect: true, Expectation: x},
		{Kind: flowtable.EventDestroy, Time: at, Left: 299, Expect: true, Expectation: x},
	}
}

func mustFormat(t *testing.T, list string, r control.Record) control.Format {
	t.Helper()
	f, err := control.ParseFormat(list, r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// checkGolden compares got with testdata/name.golden.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestFlowsPrintAsTheKernelShowsThem(t *testing.T) {
	for _, list := range []string{"text", "extended", "id", "extended,id,ktimestamp", "proc", "json", "xml", "save"} {
		t.Run(list, func(t *testing.T) {
			f := mustFormat(t, list, control.RecordFlow)
			p := control.NewPrinter(f, helperName, goldenNow, goldenWall)
			var b []byte
			for _, s := range append(goldenFlows(), running()) {
				use := 1
				if s.Helper != 0 {
					use = 2 // its data connection is live
				}
				b = p.Flow(b, &s, 1, use)
			}
			checkGolden(t, "flows-"+strings.ReplaceAll(list, ",", "-"), b)
			checkLines(t, f, b)
		})
	}
}

func TestEventsPrintAsTheKernelShowsThem(t *testing.T) {
	for _, list := range []string{"text", "timestamp", "extended,id,ktimestamp", "json", "xml,timestamp", "save"} {
		t.Run(list, func(t *testing.T) {
			f := mustFormat(t, list, control.RecordFlowEvent)
			p := control.NewPrinter(f, helperName, goldenNow, goldenWall)
			var b []byte
			for _, e := range append(goldenEvents(), countedEvents()...) {
				b = p.Event(b, &e)
			}
			checkGolden(t, "events-"+strings.ReplaceAll(list, ",", "-"), b)
			checkLines(t, f, b)
		})
	}
}

func TestExpectationsPrintAsTheKernelShowsThem(t *testing.T) {
	for _, list := range []string{"text", "extended,id,timestamp", "proc", "json", "xml"} {
		t.Run(list, func(t *testing.T) {
			f := mustFormat(t, list, control.RecordExpectation)
			p := control.NewPrinter(f, helperName, goldenNow, goldenWall)
			var b []byte
			for _, x := range goldenExpectations() {
				b = p.Expectation(b, &x)
			}
			checkGolden(t, "expectations-"+strings.ReplaceAll(list, ",", "-"), b)
			checkLines(t, f, b)
		})
	}
}

// checkLines asserts what holds in every format: no blank at the end of a
// line, no line longer than the room for it, and JSON that a parser accepts.
func checkLines(t *testing.T, f control.Format, b []byte) {
	t.Helper()
	for line := range bytes.Lines(b) {
		if len(line) > control.MaxLine/2 {
			t.Errorf("line of %d bytes, room is %d", len(line), control.MaxLine)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if bytes.HasSuffix(line, []byte(" ")) {
			t.Errorf("blank at the end of %q", line)
		}
		var v map[string]any
		if err := json.Unmarshal(line, &v); f.Encoding == control.EncodingJSON && err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestLongestLinesFit renders the longest record of each form: a stream keeps room for
// one more line of MaxLine bytes.
func TestLongestLinesFit(t *testing.T) {
	const addr = "2001:db81:db82:db83:db84:db85:db86:db87"
	s := snapshotOf(mustTuple(6, addr, addr, 65535, 65535), mustTuple(6, addr, addr, 65535, 65535), 1<<32-1,
		assured|flowtable.StatusSNAT|flowtable.StatusDNAT|flowtable.StatusHelper|flowtable.StatusExpected|flowtable.StatusFixedTimeout, flowtable.TCPEstablished)
	s.ID, s.Helper, s.Counted = 1<<32-1, 1, true
	for d := range 2 {
		s.Packets[d], s.Bytes[d] = 1<<64-1, 1<<64-1
	}
	s.Start, s.Stop = goldenWall.UnixNano(), goldenWall.UnixNano()
	e := flowtable.Event{Kind: flowtable.EventDestroy, Time: goldenWall.UnixNano(), Left: 1<<32 - 1, Deleted: true,
		By: flowtable.ProcessOf(1<<32-1, "a-name-of-15-by"), Flow: s}
	x := goldenExpectations()[1]
	for _, list := range []string{"extended,id,timestamp,ktimestamp", "xml,timestamp,ktimestamp", "save", "json"} {
		p := control.NewPrinter(mustFormat(t, list, control.RecordFlowEvent), helperName, goldenNow, goldenWall)
		for what, line := range map[string][]byte{"flow": p.Flow(nil, &s, 255, 1<<31-1), "event": p.Event(nil, &e), "expectation": p.Expectation(nil, &x)} {
			if len(line) >= control.MaxLine {
				t.Errorf("%s as %s: %d bytes, room is %d", what, list, len(line), control.MaxLine)
			}
		}
	}
}

func TestWrongFormatListsAreRefused(t *testing.T) {
	cases := []struct {
		name, list string
		record     control.Record
	}{
		{"unknown word", "yaml", control.RecordFlow},
		{"save and id", "save,id", control.RecordFlow},
		{"xml and json", "xml,json", control.RecordFlowEvent},
		{"empty word", "id,", control.RecordFlow},
		{"json and proc", "json,proc", control.RecordFlow},
		{"proc is no form of events", "proc", control.RecordFlowEvent},
		{"expectations have no start", "ktimestamp", control.RecordExpectation},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if f, err := control.ParseFormat(c.list, c.record); err == nil {
				t.Errorf("ParseFormat(%q) = %+v, want an error", c.list, f)
			}
		})
	}
}

func TestRenderingDoesNotAllocate(t *testing.T) {
	flows, events, xs := append(goldenFlows(), running()), append(goldenEvents(), countedEvents()...), goldenExpectations()
	b := make([]byte, 0, 64<<10)
	for _, list := range []string{"extended,id,ktimestamp", "json", "xml,ktimestamp", "save"} {
		p := control.NewPrinter(mustFormat(t, list, control.RecordFlow), helperName, goldenNow, goldenWall)
		n := testing.AllocsPerRun(10, func() {
			for range 200 {
				b = b[:0]
				for i := range flows {
					b = p.Flow(b, &flows[i], 0, 1)
				}
				for i := range events {
					b = p.Event(b, &events[i])
				}
				for i := range xs {
					b = p.Expectation(b, &xs[i])
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for 3400 lines, want 0", list, n)
		}
	}
}

func BenchmarkFlowText(b *testing.B) {
	p := control.NewPrinter(control.Format{}, helperName, goldenNow, goldenWall)
	flows := goldenFlows()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Flow(buf[:0], &flows[0], 0, 1)
	}
}

func TestTimeHasSixDecimals(t *testing.T) {
	p := control.NewPrinter(control.Format{Timestamp: true}, helperName, goldenNow, goldenWall)
	for nanos, want := range map[int64]string{
		0: "[0.000000]\t", 1_000_000_999: "[1.000000]\t", 1_000_001_000: "[1.000001]\t",
		9_000_099_999: "[9.000099]\t", 9_100_000_000: "[9.100000]\t", 9_999_999_999: "[9.999999]\t",
	} {
		e := flowtable.Event{Kind: flowtable.EventNew, Time: nanos}
		if got := string(p.Event(nil, &e)); !strings.HasPrefix(got, want) {
			t.Errorf("%d ns: %.20q, want %q", nanos, got, want)
		}
	}
}

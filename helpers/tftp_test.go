package helpers_test

import (
	"regexp"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
)

// Requests as clients send them, and what is none.
var tftpTexts = []struct {
	name, text string
	cause      helpers.Cause
}{
	{"read", "\x00\x01file\x00octet\x00", helpers.CauseExpected},
	{"write", "\x00\x02dir/file\x00netascii\x00", helpers.CauseExpected},
	{"mode-in-capitals", "\x00\x01file\x00OCTET\x00", helpers.CauseExpected},
	{"mail", "\x00\x02user\x00mail\x00", helpers.CauseExpected},
	{"options", "\x00\x01file\x00octet\x00blksize\x001428\x00tsize\x000\x00", helpers.CauseExpected},
	{"padded", "\x00\x01file\x00octet\x00\x00\x00\x00", helpers.CauseExpected},
	{"data", "\x00\x03\x00\x01octet\x00", helpers.CauseMalformed},
	{"no-name", "\x00\x01\x00octet\x00", helpers.CauseMalformed},
	{"no-mode", "\x00\x01file\x00", helpers.CauseMalformed},
	{"other-mode", "\x00\x01file\x00binary\x00", helpers.CauseMalformed},
	{"mode-not-ended", "\x00\x01file\x00octet", helpers.CauseMalformed},
	{"name-not-ended", "\x00\x01file", helpers.CauseMalformed},
	{"high-byte", "\x01\x01file\x00octet\x00", helpers.CauseMalformed},
	{"one-byte", "\x00", helpers.CauseMalformed},
	{"empty", "", helpers.CauseNone},
}

// tftpRequest is RFC 1350 section 5 as a pattern.
var tftpRequest = regexp.MustCompile(`(?s)\A\x00[\x01\x02][^\x00]+\x00([oO][cC][tT][eE][tT]|[nN][eE][tT][aA][sS][cC][iI][iI]|[mM][aA][iI][lL])\x00`)

func tftpSides(s sides) sides {
	s.spec = "tftp"
	return s
}

// The ways that a request may take: the server answers to where it sees it come
// from.
var tftpWays = map[string]struct {
	sides    sides
	src, dst string // of the expectation
}{
	"snat":  {sides{client: "10.99.1.2:35002", server: "10.99.2.2:69", public: "10.99.2.1:35002", pool: "10.99.2.1"}, "10.99.2.2", "10.99.2.1:35002"},
	"moved": {sides{client: "10.99.1.2:35002", server: "10.99.2.2:69", public: "10.99.2.1:1026", pool: "10.99.2.1"}, "10.99.2.2", "10.99.2.1:1026"},
	"none":  {sides{client: "10.99.1.2:35002", server: "10.99.2.2:69"}, "10.99.2.2", "10.99.1.2:35002"},
	"dnat":  {sides{client: "10.99.2.9:2000", server: "10.99.2.1:69", target: "10.99.1.5:69"}, "10.99.1.5", "10.99.2.9:2000"},
	"v6":    {sides{client: "[fd99:1::2]:35002", server: "[fd99:2::2]:69", public: "[fd99:2::1]:35002", pool: "fd99:2::1"}, "fd99:2::2", "[fd99:2::1]:35002"},
}

func TestTFTP(t *testing.T) {
	for way, w := range tftpWays {
		for _, tt := range tftpTexts {
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				e := newSession(t, tftpSides(w.sides))
				got, v := e.send(orig, tt.text)
				if v != accept || got != tt.text || e.c.Cause != tt.cause {
					t.Fatalf("verdict %d %q, cause %v", v, got, e.c.Cause)
				}
				want := w.dst
				if tt.cause != helpers.CauseExpected {
					want = ""
				}
				e.checkPending(w.src, want)
				if tt.cause != helpers.CauseNone && e.counters.Load(helpers.IDTFTP, tt.cause) != 1 {
					t.Errorf("%v not counted", tt.cause)
				}
			})
		}
	}
}

// The answer leads to the client, from the address that the client asked.
func TestTFTPAnswer(t *testing.T) {
	for way, w := range tftpWays {
		t.Run(way, func(t *testing.T) {
			e := newSession(t, tftpSides(w.sides))
			e.send(orig, tftpTexts[0].text)
			data := e.reply
			data.SrcPort = 50000
			x, ok := e.c.Expectations.Take(&data, 0)
			if !ok {
				t.Fatal("the answer is not expected")
			}
			c := e.c.Translator.Expected(e.table, &data, &x, nil, &e.reply, 0)
			want := flowtable.Tuple{Src: e.orig.Src, SrcPort: e.orig.SrcPort, Dst: e.orig.Dst, DstPort: 50000, Proto: e.orig.Proto, Family: e.orig.Family}
			if c.Reply != want {
				t.Errorf("answered to as %v, want %v", &c.Reply, &want)
			}
		})
	}
}

// A request that comes again renews what is expected; the server's packets and
// those after the request announce nothing.
func TestTFTPRepeats(t *testing.T) {
	e := newSession(t, tftpSides(tftpWays["snat"].sides))
	e.send(orig, tftpTexts[0].text)
	first := e.added
	if first.Deadline != 300*flowtable.TicksPerSecond || first.Class != 0 || first.Next != 0 {
		t.Errorf("%+v", first)
	}
	e.c.Now = 80
	e.send(orig, tftpTexts[0].text)
	if e.removed.ID != first.ID || e.added.ID == 0 || e.added.Deadline != first.Deadline+80 {
		t.Errorf("removed %d, added %+v", e.removed.ID, &e.added)
	}
	e.checkPending("10.99.2.2", "10.99.2.1:35002")
	if _, v := e.send(reply, tftpTexts[0].text); v != accept || e.added.ID != 0 {
		t.Error("the server announces")
	}
}

func TestTFTPLimits(t *testing.T) {
	e := newSession(t, tftpSides(tftpWays["snat"].sides))
	other := flowtable.Expectation{Tuple: e.reply, Master: flowtable.FlowID{Index: 77, Gen: 2}, Deadline: 100}
	other.Tuple.SrcPort = 0
	if e.c.Expectations.Add(&other) != flowtable.AddOK {
		t.Fatal("not added")
	}
	if _, v := e.send(orig, tftpTexts[0].text); v != accept || e.c.Cause != helpers.CauseExpectPending {
		t.Errorf("announced by another: verdict %d, %v", v, e.c.Cause)
	}
	e.c.Expectations = flowtable.NewExpectations(0)
	if _, v := e.send(orig, tftpTexts[0].text); v != drop || e.c.Cause != helpers.CauseExpectFull {
		t.Errorf("full: verdict %d, %v", v, e.c.Cause)
	}
	e.c.Expectations = flowtable.NewExpectations(2 * flowtable.MaxPerHost)
	for i := range flowtable.MaxPerHost {
		x := flowtable.Expectation{Tuple: e.reply, MasterOrig: e.orig, Master: flowtable.FlowID{Index: uint32(i + 100)}}
		x.Tuple.DstPort = uint16(i)
		e.c.Expectations.Add(&x)
	}
	if _, v := e.send(orig, tftpTexts[0].text); v != drop || e.c.Cause != helpers.CauseHostFull {
		t.Errorf("too many of one host: verdict %d, %v", v, e.c.Cause)
	}
	n := 0
	for e.c.Cause != helpers.CauseTooFast && n < 1000 {
		e.send(orig, tftpTexts[0].text)
		n++
	}
	if n != 256-3+1 {
		t.Errorf("too fast after %d more", n)
	}
}

// FuzzTFTP: whatever comes, the packet is left as it is, and a request is what the
// slow, obvious way takes for one.
func FuzzTFTP(f *testing.F) {
	for _, tt := range tftpTexts {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 1400 {
			return
		}
		e := newSession(t, tftpSides(tftpWays["snat"].sides))
		got, v := e.send(orig, string(b))
		if v != accept || got != string(b) {
			t.Fatalf("verdict %d %q", v, got)
		}
		if (e.pending() != nil) != tftpRequest.Match(b) {
			t.Fatalf("%q: pending %v", b, e.pending())
		}
	})
}

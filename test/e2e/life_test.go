package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// TestActiveFTPLife follows an active-mode FTP download from its first SYN to the
// end of TIME_WAIT, with the expectation in between.
func TestActiveFTPLife(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		file := newFile(t, l.Serve(t, l.Server), "file.bin", 300_000)
		g := l.StartGateway(t, snat("--timeout", "tcp.time_wait=2s")...)
		events := g.Events(t)
		l.Hold(t, "server")
		got := l.Dir + "/got.bin"
		client := l.Client.Start(t, "curl", "-sS", "--ftp-port", "-", "--disable-eprt", ftpURL, "-o", got)
		var expected []string
		lab.Eventually(t, 10*time.Second, "the data connection is expected", func() bool {
			expected = g.ProcExpectations(t)
			return len(expected) > 0
		})
		l.Release(t, "server")
		if r := client.Wait(t, 20*time.Second); r.Status != 0 {
			t.Fatalf("curl: status %d\n%s", r.Status, r.Output())
		}
		checkSame(t, file, got)
		events.WaitFor(t, `TIME_WAIT .*dport=21 `)
		time.Sleep(2500 * time.Millisecond) // TIME_WAIT, shortened to 2 s
		g.Expire(t)
		for _, pattern := range []string{`^\[DESTROY\] .*sport=20 `, `^\[DESTROY\] .*dport=21 `} {
			events.WaitFor(t, pattern)
		}
		checkFTPLife(t, g, events.Stop(t), expected)
		if left := g.ProcExpectations(t); len(left) > 0 {
			t.Errorf("still expected: %q", left)
		}
		if left := g.Flows(t); len(left) > 0 {
			t.Errorf("flows are left after their end: %q", left)
		}
	})
}

// checkFTPLife compares events and expectation with what has to be told, word for
// word; only CLOSE_WAIT may be missing, depending on how FIN and ACK cross.
func checkFTPLife(t *testing.T, g *lab.Gateway, lines, expected []string) {
	t.Helper()
	var names lab.Names
	records, err := names.ParseAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	nominal(g, records)
	expectations, err := names.ParseAll(expected)
	if err != nil {
		t.Fatal(err)
	}
	const (
		control      = "src=10.1.2.3 dst=203.0.113.47 sport=P1 dport=21"
		controlReply = "src=203.0.113.47 dst=198.51.100.32 sport=21 dport=P1"
		data         = "src=203.0.113.47 dst=198.51.100.32 sport=20 dport=P2"
		dataReply    = "src=10.1.2.3 dst=203.0.113.47 sport=P2 dport=20"
	)
	told := make(map[string][]string)
	for _, r := range records {
		told[r.Flow()] = append(told[r.Flow()], r.String())
	}
	for _, flow := range []struct{ name, orig, reply, helper string }{
		{"control", control, controlReply, " helper=ftp"},
		{"data", data, dataReply, ""},
	} {
		got := told["tcp      6 "+flow.orig]
		if diff := cmp.Diff(wholeLife(flow.orig, flow.reply, flow.helper, got), got); diff != "" {
			t.Errorf("life of the %s flow (-want +got):\n%s", flow.name, diff)
		}
	}
	if len(told) != 2 {
		t.Errorf("%d flows were told of, want 2: %q", len(told), lines)
	}
	want := "l3proto = 2 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=P2 ftp"
	if len(expectations) != 1 || strings.TrimPrefix(expectations[0].String(), fmt.Sprint(expectations[0].Timeout, " ")) != want {
		t.Errorf("expected: %q, want N %s", expected, want)
	} else if left := expectations[0].Timeout; left < 290 || left > 300 {
		t.Errorf("the expectation lasts %d s, want about 300", left)
	}
}

// wholeLife is what has to be told of a TCP flow that is opened, used, closed and
// forgotten, with CLOSE_WAIT if it was told.
func wholeLife(orig, reply, helper string, told []string) []string {
	life := []string{
		"    [NEW] tcp      6 120 SYN_SENT " + orig + " [UNREPLIED] " + reply + helper,
		" [UPDATE] tcp      6 60 SYN_RECV " + orig + " " + reply + helper,
		" [UPDATE] tcp      6 432000 ESTABLISHED " + orig + " " + reply + " [ASSURED]" + helper,
		" [UPDATE] tcp      6 120 FIN_WAIT " + orig + " " + reply + " [ASSURED]" + helper,
	}
	if strings.Contains(strings.Join(told, "\n"), "CLOSE_WAIT") {
		life = append(life, " [UPDATE] tcp      6 60 CLOSE_WAIT "+orig+" "+reply+" [ASSURED]"+helper)
	}
	return append(life,
		" [UPDATE] tcp      6 30 LAST_ACK "+orig+" "+reply+" [ASSURED]"+helper,
		" [UPDATE] tcp      6 2 TIME_WAIT "+orig+" "+reply+" [ASSURED]"+helper,
		"[DESTROY] tcp      6 TIME_WAIT "+orig+" "+reply+" [ASSURED]") // without helper=, as the kernel
}

// TestPingLife checks that the reply tuple of a ping is not its original turned
// round: type 8 there, type 0 here, and the same id in both.
func TestPingLife(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2)
	g := l.StartGateway(t, snat()...)
	events := g.Events(t)
	ping(t, l.Client, "-c3", "-i0.2", "-W2", lab.ServerAddr)
	events.WaitFor(t, `\[UPDATE\]`)
	events.Settle(200 * time.Millisecond)
	var names lab.Names
	records, err := names.ParseAll(events.Stop(t))
	if err != nil {
		t.Fatal(err)
	}
	nominal(g, records)
	const orig = "icmp     1 30 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=I1 "
	const reply = "src=203.0.113.47 dst=198.51.100.32 type=0 code=0 id=I1"
	want := []string{"    [NEW] " + orig + "[UNREPLIED] " + reply, " [UPDATE] " + orig + reply}
	if diff := cmp.Diff(want, texts(records)); diff != "" {
		t.Errorf("events of a ping (-want +got):\n%s", diff)
	}
}

// TestNoHelperNoExpectation checks that FTP is only looked into where --helper
// says so: without it an active download cannot work and nothing is expected.
func TestNoHelperNoExpectation(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	newFile(t, l.Serve(t, l.Server), "file.bin", 1000)
	g := l.StartGateway(t, "--snat", lab.NATAddr)
	events := g.Events(t)
	// vsftpd refuses an address that is not the client's, which it then still is.
	r := l.Client.Try("curl", "-sS", "--max-time", "4", "--ftp-port", "-", "--disable-eprt", ftpURL, "-o", "/dev/null")
	if r.Status == 0 {
		t.Error("an active download works without the helper")
	}
	if got := g.ProcExpectations(t); len(got) > 0 {
		t.Errorf("expected without --helper: %q", got)
	}
	if got := events.Matching(`helper=|sport=20 `); len(got) > 0 {
		t.Errorf("without --helper: %q", got)
	}
	if got := l.Client.Run(t, "curl", "-sS", "--max-time", "10", ftpURL, "-o", "/dev/null"); got != "" {
		t.Errorf("a passive download wrote %q", got)
	}
}

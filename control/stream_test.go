package control_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
)

// lines is a writer that several goroutines may use.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 1000 {
		if cond() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("waited in vain for %s", what)
}

// reader follows events in the background.
type reader struct {
	out, notices lines
	stop         context.CancelFunc
	done         chan struct{}
	res          control.Result
	err          error
}

func follow(t *testing.T, path, what, query string) *reader {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.res, r.err = control.NewClient(path).Events(ctx, what, q, &r.out, &r.notices)
	}()
	t.Cleanup(cancel)
	return r
}

// interrupt is what Ctrl-C does.
func (r *reader) interrupt() { r.stop() }

// end stops the reader and returns what it printed.
func (r *reader) end(t *testing.T) string {
	t.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(5 * time.Second):
		t.Fatal("reader does not end")
	}
	if r.err != nil {
		t.Errorf("reader: %v", r.err)
	}
	return r.out.String()
}

func TestEventsAreFilteredAndCounted(t *testing.T) {
	b := newBackend(t, 1, 1024)
	_, path := mustListen(t, b)
	readers := map[string]*reader{}
	for name, c := range map[string]struct{ what, query string }{
		"all": {"/events", ""}, "new": {"/events", "event=NEW"}, "icmp": {"/events", "proto=icmp"},
		"json": {"/events", "format=json"}, "expect": {"/events/expect", ""},
	} {
		readers[name] = follow(t, path, c.what, c.query)
	}
	b.waitReaders(t, len(readers))
	for _, e := range goldenEvents() {
		b.emit(e)
	}
	for name, want := range map[string]int{"all": 6, "new": 1, "icmp": 1, "json": 6, "expect": 2} {
		r := readers[name]
		waitFor(t, name, func() bool { return strings.Count(r.out.String(), "\n") >= want })
		if out := r.end(t); r.res.Count != uint64(want) || strings.Count(out, "\n") != want {
			t.Errorf("%s: %d events, want %d:\n%s", name, r.res.Count, want, out)
		}
		if n := r.notices.String(); n != "" {
			t.Errorf("%s: notice %q", name, n)
		}
	}
}

func TestSlowReaderLosesEventsAndIsTold(t *testing.T) {
	for _, format := range []string{"text", "json", "xml", "save"} {
		t.Run(format, func(t *testing.T) {
			b := newBackend(t, 1, 1024)
			_, path := mustListen(t, b)
			fast := follow(t, path, "/events", "format="+format)
			b.waitReaders(t, 1)
			slow := stalledReader(t, path, format)
			b.waitReaders(t, 2)
			e := goldenEvents()[0]
			const total = 40000
			begun := time.Now()
			for i := range total {
				b.emit(e)
				if i%1000 == 999 { // a fast reader keeps up with this
					waitFor(t, "the fast reader", func() bool { return strings.Count(fast.out.String(), "\n") > i-1000 })
				}
			}
			if d := time.Since(begun); d > 20*time.Second {
				t.Errorf("a stalled reader held the gateway up: %v", d)
			}
			whole := total
			if format == "xml" {
				whole += 2 // the declaration and the root element
			}
			waitFor(t, "the last event", func() bool { return strings.Count(fast.out.String(), "\n") == whole })
			fast.end(t)
			if fast.res.Lost != 0 || fast.res.Count != total {
				t.Errorf("fast reader: %+v, want %d events", fast.res, total)
			}
			checkLosses(t, b, slow, e, total, format)
		})
	}
}

// stalledReader opens an event stream and does not read from it.
func stalledReader(t *testing.T, path, format string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, "GET /events?format="+format+" HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkLosses lets the slow reader catch up and compares what it was told with
// what was sent.
func checkLosses(t *testing.T, b *fakeBackend, c net.Conn, e flowtable.Event, total int, format string) {
	t.Helper()
	var got lines
	go io.Copy(&got, c)
	notice, tag := "\n# lost ", "[NEW]"
	switch format {
	case "json":
		notice, tag = `{"type":"lost","count":`, `"event":"NEW"`
	case "xml":
		notice, tag = "\n<!-- lost ", `<flow type="new">`
	case "save":
		tag = "-A "
	}
	sent := total
	waitFor(t, "a notice", func() bool {
		b.emit(e)
		sent++
		return strings.Contains(got.String(), notice)
	})
	waitFor(t, "the rest", func() bool { return strings.Count(got.String(), tag)+countLost(got.String(), notice) == sent })
	if n := countLost(got.String(), notice); n == 0 {
		t.Error("nothing lost: the reader was not slow")
	}
}

// countLost adds up the notices.
func countLost(s, notice string) int {
	n := 0
	for _, part := range strings.Split(s, notice)[1:] {
		v := 0
		for _, c := range part {
			if c < '0' || c > '9' {
				break
			}
			v = v*10 + int(c-'0')
		}
		n += v
	}
	return n
}

func TestNoticesGoToTheReadersStderr(t *testing.T) {
	path := serveText(t, "a 1\n# lost 17\nb 2\n")
	r := follow(t, path, "/events", "")
	<-r.done
	if out := r.end(t); out != "a 1\nb 2\n" || r.res.Lost != 17 || r.res.Count != 2 {
		t.Errorf("%q %+v", out, r.res)
	}
	if n := r.notices.String(); !strings.Contains(n, "17 events lost") || strings.Count(n, "\n") != 1 {
		t.Errorf("notice %q", n)
	}
	path = serveText(t, "{\"a\":1}\n{\"type\":\"lost\",\"count\":3}\n")
	r = follow(t, path, "/events", "format=json")
	<-r.done
	if out := r.end(t); strings.Count(out, "\n") != 2 || r.res.Lost != 3 || r.res.Count != 1 || r.notices.String() == "" {
		t.Errorf("JSON readers see the loss in the stream too: %q %+v", out, r.res)
	}
}

// serveText is a server that says the same to everyone.
func serveText(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return path
}

// TestXMLIsOneDocument ends readers in both ways, and reads an empty listing.
func TestXMLIsOneDocument(t *testing.T) {
	b := newBackend(t, 1, 1024)
	s, path := mustListen(t, b)
	if body, res := mustGet(t, path, "/flows", "format=xml"); body != "" || res.Count != 0 {
		t.Errorf("no flow: %q, count %d; conntrack prints nothing", body, res.Count)
	}
	b.mustInsert(t, 0, goldenFlows()[0])
	body, res := mustGet(t, path, "/flows", "format=xml")
	checkDocument(t, body, "conntrack", 1)
	if res.Count != 1 {
		t.Errorf("count %d, want 1", res.Count)
	}
	checkStopped(t, b, path, (*reader).interrupt)
	checkStopped(t, b, path, func(*reader) { s.Close() })
}

// checkStopped follows two events, stops in some way and checks the document.
func checkStopped(t *testing.T, b *fakeBackend, path string, stop func(*reader)) {
	t.Helper()
	b.mu.Lock()
	before := len(b.subs)
	b.mu.Unlock()
	flows := follow(t, path, "/events", "format=xml")
	expects := follow(t, path, "/events/expect", "format=xml,timestamp")
	b.waitReaders(t, before+2)
	for _, e := range goldenEvents() {
		b.emit(e)
	}
	waitFor(t, "events", func() bool {
		return strings.Count(flows.out.String(), "</flow>") == 6 && strings.Count(expects.out.String(), "</flow>") == 2
	})
	stop(flows)
	checkDocument(t, flows.end(t), "conntrack", 6)
	checkDocument(t, expects.end(t), "expect", 2)
	if flows.res.Count != 6 || expects.res.Count != 2 {
		t.Errorf("counts %d and %d, want 6 and 2", flows.res.Count, expects.res.Count)
	}
}

// checkDocument parses XML and counts what is below its root element.
func checkDocument(t *testing.T, text, root string, flows int) {
	t.Helper()
	var doc struct {
		XMLName xml.Name
		Flows   []struct{} `xml:"flow"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil || doc.XMLName.Local != root || len(doc.Flows) != flows {
		t.Errorf("%v: <%s> with %d flows, want <%s> with %d:\n%s", err, doc.XMLName.Local, len(doc.Flows), root, flows, text)
	}
	if !strings.HasSuffix(text, "</"+root+">\n") || strings.Count(text, "</"+root+">") != 1 {
		t.Errorf("does not end as a document:\n%s", text)
	}
}

func TestCloseEndsReaders(t *testing.T) {
	b := newBackend(t, 1, 1024)
	s, path := mustListen(t, b)
	r := follow(t, path, "/events", "")
	stalled := stalledReader(t, path, "text")
	b.waitReaders(t, 2)
	for range 20000 { // more than a socket buffer holds
		b.emit(goldenEvents()[0])
	}
	begun := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begun); d > 4*time.Second {
		t.Errorf("Close took %v", d)
	}
	r.end(t)
	stalled.Close()
}

func TestLossesFollowAsATrailer(t *testing.T) {
	b := newBackend(t, 1, 1024)
	s, path := mustListen(t, b)
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", path)
	}}}
	resp, err := client.Get("http://xdpct/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b.waitReaders(t, 1)
	b.subs[0].mu.Lock()
	b.subs[0].lost = 5
	b.subs[0].mu.Unlock()
	b.emit(goldenEvents()[0])
	line := make([]byte, len("# lost 5\n    [NEW] "))
	if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != "# lost 5\n    [NEW] " {
		t.Fatalf("%q, %v", line, err)
	}
	go s.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if lost, n := resp.Trailer.Get("Xdpct-Lost"), resp.Trailer.Get("Xdpct-Count"); lost != "5" || n != "1" {
		t.Errorf("lost %q, count %q; want 5 and 1", lost, n)
	}
}

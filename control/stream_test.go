package control_test

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
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

func TestListingThatBreaksOffIsAnError(t *testing.T) {
	b := newBackend(t, 1, 1<<18)
	b.mustFill(t, 0, 140000)
	s, path := mustListen(t, b)
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := control.NewClient(path).Get(context.Background(), "/flows", nil, pw)
		done <- err
	}()
	if _, err := io.ReadFull(pr, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, &slowly{pr})
	s.Close()
	if err := <-done; err == nil {
		t.Error("a listing without its end passed for a whole one")
	}
}

// slowly reads with pauses.
type slowly struct{ r io.Reader }

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return s.r.Read(p)
}

func TestListingUsesConstantMemory(t *testing.T) {
	const flows = 1_000_000
	b := newBackend(t, 2, flows/2)
	b.mustFill(t, 0, flows/2)
	b.mustFill(t, 1, flows/2)
	_, path := mustListen(t, b)
	count := func() {
		n := 0
		res, err := control.NewClient(path).Get(t.Context(), "/flows", nil, writerFunc(func(p []byte) { n += bytes.Count(p, []byte("\n")) }))
		if err != nil || res.Count != flows || n != flows {
			t.Errorf("%d lines, count %d, %v; want %d", n, res.Count, err, flows)
		}
	}
	count()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	count()
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("a listing of %d flows allocated %d bytes in all, want less than 1 MiB", flows, grown)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestListingSkipsWhatWorkersChange(t *testing.T) {
	b := newBackend(t, 1, 4096)
	_, path := mustListen(t, b)
	stop := make(chan struct{})
	var worker sync.WaitGroup
	s := goldenFlows()[0]
	worker.Go(func() { // the owner of the table
		for {
			select {
			case <-stop:
				return
			default:
			}
			idx, res := b.tables[0].Insert(&s.Orig, &s.Reply, b.now)
			if res == flowtable.InsertOK {
				b.tables[0].Refresh(idx, 1600, b.now)
				b.tables[0].Remove(idx)
			}
		}
	})
	for range 200 {
		body, _ := mustGet(t, path, "/flows", "")
		for line := range strings.Lines(body) {
			if !strings.HasPrefix(line, "tcp      6 ") || !strings.Contains(line, "src=10.99.1.2 dst=10.99.2.2 sport=35002 dport=5001 ") {
				t.Errorf("torn line %q", line)
			}
		}
	}
	close(stop)
	worker.Wait()
}

// TestListingShowsEachFlowOnce lists again and again while flows come and go around
// those that stay: each of these is there once, and no id twice.
func TestListingShowsEachFlowOnce(t *testing.T) {
	const stay = 2000
	b := newBackend(t, 1, 2*stay)
	table := b.tables[0]
	tuple := func(i int) (orig, reply flowtable.Tuple) {
		orig = mustTuple(17, "10.0.0.1", "192.0.2.1", uint16(1000+i), 53)
		return orig, orig.Invert()
	}
	insert := func(i int) uint32 {
		orig, reply := tuple(i)
		idx, res := table.Insert(&orig, &reply, b.now)
		if res != flowtable.InsertOK {
			t.Errorf("insert: %v", res)
		}
		table.Refresh(idx, 1600, b.now)
		return idx
	}
	for i := range stay { // with gaps for those that come and go
		insert(i)
		table.Remove(insert(30000 + i))
	}
	stop := make(chan struct{})
	var worker sync.WaitGroup
	worker.Go(func() {
		var young []uint32
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			young = append(young, insert(10000+i%20000))
			if len(young) > stay/2 {
				table.Remove(young[0])
				young = young[1:]
			}
		}
	})
	_, path := mustListen(t, b)
	for range 50 {
		body, _ := mustGet(t, path, "/flows", "format=id")
		checkOnce(t, body, stay)
	}
	close(stop)
	worker.Wait()
}

// checkOnce asserts that no id is in the listing twice, and all flows from the
// first ports are.
func checkOnce(t *testing.T, body string, stay int) {
	t.Helper()
	ids, there := make(map[string]bool), 0
	for line := range strings.Lines(body) {
		_, id, ok := strings.Cut(strings.TrimSpace(line), " use=1 id=")
		if !ok || ids[id] {
			t.Errorf("torn, or there twice: %q", line)
		}
		ids[id] = true
		var sport int
		if _, err := fmt.Sscanf(line, "udp 17 100 src=10.0.0.1 dst=192.0.2.1 sport=%d dport=53 ", &sport); err != nil {
			t.Errorf("%v: %q", err, line)
		}
		if sport < 1000+stay {
			there++
		}
	}
	if there != stay {
		t.Errorf("%d of the flows that stay are listed, want %d", there, stay)
	}
}

func TestListingWithoutAReaderStopsAndHasNoEnd(t *testing.T) {
	b := newBackend(t, 1, 1<<17)
	b.mustFill(t, 0, 1<<16+1)
	for _, cut := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		if cut {
			cancel()
		}
		// Nothing matches, so that no write tells that the reader has gone.
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/flows?proto=tcp", nil)
		w := httptest.NewRecorder()
		control.Handler(b).ServeHTTP(w, r)
		cancel()
		if n := w.Result().Trailer.Get("Xdpct-Count"); (n == "") != cut {
			t.Errorf("cut off %v: count %q", cut, n)
		}
	}
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

func BenchmarkListing(b *testing.B) {
	backend := newBackend(b, 1, 1<<18)
	backend.mustFill(b, 0, 200000)
	h := control.Handler(backend)
	for _, format := range []string{"text", "json", "proc"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				w := discardResponse{http.Header{}}
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/flows?format="+format, nil))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200000, "ns/flow")
		})
	}
}

// discardResponse is an answer that nobody reads.
type discardResponse struct{ h http.Header }

func (d discardResponse) Header() http.Header         { return d.h }
func (d discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (d discardResponse) WriteHeader(int)             {}

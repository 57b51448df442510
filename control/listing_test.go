package control_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
)

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
// those that stay: each of these is there once, and none of the others twice. A flow is
// told by its tuples and its id together: another one may have its tuples later, and an
// id, a hash of 32 bits, is shared by two of some 3000 flows once in a thousand listings.
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
		idx, res := table.Add(&flowtable.NewFlow{Orig: &orig, Reply: &reply, Timeout: 1600,
			Keys: flowtable.Keys{table.Hash(&orig), table.Hash(&reply)}}, b.now)
		if res != flowtable.InsertOK {
			t.Errorf("insert: %v", res)
		}
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

// checkOnce asserts that no flow is in the listing twice, and all from the first ports
// are. The clock stands still, so that a flow has the same line each time.
func checkOnce(t *testing.T, body string, stay int) {
	t.Helper()
	lines, there := make(map[string]bool), 0
	for line := range strings.Lines(body) {
		if !strings.Contains(line, " use=1 id=") || lines[line] {
			t.Errorf("torn, or there twice: %q", line)
		}
		lines[line] = true
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

func (d discardResponse) Header() http.Header { return d.h }

func (d discardResponse) Write(p []byte) (int, error) { return len(p), nil }

func (d discardResponse) WriteHeader(int) {}

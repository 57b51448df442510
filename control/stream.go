package control

import (
	"context"
	"net/http"
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

const (
	// streamBuffer is where lines gather before they are written, in bytes:
	// large enough that the system call costs little beside rendering some
	// 300 lines, small enough to stay in the cache.
	streamBuffer = 64 << 10
	// maxLine is more than the longest line of any format, in bytes.
	maxLine = 2 << 10
	// checkEvery is after how many records of the table a listing looks
	// whether its reader has gone, which it would not notice otherwise while
	// nothing matches.
	checkEvery = 1 << 16
	// eventBuffer is the room of one event reader, in events.
	eventBuffer = 8192
	// eventBurst is how many events are taken from a subscription at once.
	eventBurst = 64
)

// stream is the body of an answer that is made line by line.
type stream struct {
	w     http.ResponseWriter
	buf   []byte // lines that are not written yet; cap streamBuffer
	count uint64 // lines, without notices
	lost  uint64 // events
	head  string // before the first line, if there is one
	tail  string // after the last line
	begun bool   // head is written
	err   error  // of the first write that failed: the reader has gone
}

// newStream starts an answer of status 200 that ends with trailers.
func newStream(w http.ResponseWriter, f Format, r Record) *stream {
	h := w.Header()
	h.Set("Content-Type", f.contentType())
	h.Set("Trailer", trailerCount+", "+trailerLost)
	s := &stream{w: w, buf: make([]byte, 0, streamBuffer)}
	if f.Encoding == EncodingXML {
		s.head, s.tail = flowsOpen, flowsClose
		if r == RecordExpectation || r == RecordExpectationEvent {
			s.head, s.tail = expectOpen, expectClose
		}
	}
	return s
}

// line returns the buffer for one more line, which goes back with add.
func (s *stream) line() []byte {
	if !s.begun {
		s.begun = true
		s.buf = append(s.buf, s.head...)
	}
	return s.buf
}

// add takes the buffer back with one more line in it.
func (s *stream) add(buf []byte) {
	s.buf = buf
	s.count++
	if len(s.buf) > streamBuffer-maxLine {
		s.write()
	}
}

// write hands the buffer to the connection.
func (s *stream) write() {
	if s.err == nil && len(s.buf) > 0 {
		_, s.err = s.w.Write(s.buf)
	}
	s.buf = s.buf[:0]
}

// flush writes the buffer and makes sure that it leaves now.
func (s *stream) flush() {
	s.write()
	if s.err == nil {
		s.err = http.NewResponseController(s.w).Flush()
	}
}

// finish writes what is left and the trailers.
func (s *stream) finish() {
	if s.begun {
		s.buf = append(s.buf, s.tail...)
	}
	s.write()
	if s.err != nil {
		return
	}
	s.w.Header().Set(trailerCount, strconv.FormatUint(s.count, 10))
	s.w.Header().Set(trailerLost, strconv.FormatUint(s.lost, 10))
}

// end finishes an answer whose work ended with err. One that is cut off has no
// trailers, by which the client knows.
func (s *stream) end(err error) {
	switch {
	case err == nil:
		s.finish()
	case s.count == 0:
		http.Error(s.w, err.Error(), http.StatusInternalServerError)
	default:
		s.write()
	}
}

// listing prints the flows of all tables. It uses the memory of one stream
// buffer, however many flows there are, and, once it has met a flow with a
// helper, one map entry for each master of a live expected flow.
type listing struct {
	*printer
	backend  Backend
	out      *stream
	children map[flowtable.FlowID]int // live expected flows of each master; nil = not counted yet
}

// run prints the flows that match. It reports whether the listing is whole, and
// not cut off because its reader or the server goes.
func (l *listing) run(ctx context.Context, f *Filter) bool {
	var snap flowtable.Snapshot
	for worker, t := range l.backend.Tables() {
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			if idx%checkEvery == 0 && ctx.Err() != nil || l.out.err != nil {
				return false
			}
			if t.Read(idx, l.now, &snap) && f.Match(&snap) {
				l.out.add(l.flow(l.out.line(), &snap, worker, l.use(ctx, &snap, worker)))
			}
		}
	}
	return true
}

// gone prints a flow that a command has removed.
func (l *listing) gone(worker int, s *flowtable.Snapshot) {
	l.out.add(l.flow(l.out.line(), s, worker, 1))
}

// use returns the reference count of a flow as conntrack -L shows it: each
// expected flow holds its master (net/netfilter/nf_conntrack_core.c,
// init_conntrack).
func (l *listing) use(ctx context.Context, s *flowtable.Snapshot, worker int) int {
	if s.Helper == 0 {
		return 1
	}
	if l.children == nil {
		l.countChildren(ctx)
	}
	return 1 + l.children[flowtable.FlowID{Index: s.Index, Gen: s.Gen, Worker: uint8(worker)}]
}

// countChildren looks through the tables for expected flows.
func (l *listing) countChildren(ctx context.Context) {
	l.children = make(map[flowtable.FlowID]int)
	var snap flowtable.Snapshot
	for _, t := range l.backend.Tables() {
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			if idx%checkEvery == 0 && ctx.Err() != nil {
				return
			}
			if t.Read(idx, l.now, &snap) && snap.Status&flowtable.StatusExpected != 0 {
				l.children[snap.Master]++
			}
		}
	}
}

// eventStream prints events as they come.
type eventStream struct {
	*printer
	out   *stream
	mask  EventMask
	match func(*flowtable.Event) bool
}

// run prints until ctx ends, the subscription ends or the reader goes. The
// header is sent at once: a reader that has it misses nothing from then on.
func (s *eventStream) run(ctx context.Context, sub Subscription) {
	events := make([]flowtable.Event, eventBurst)
	s.out.flush()
	for s.out.err == nil {
		n, lost, err := sub.Read(ctx, events)
		if lost > 0 {
			s.notice(lost)
		}
		for i := range events[:n] {
			s.one(&events[i])
		}
		if err != nil {
			return
		}
		s.out.flush()
	}
}

// one prints an event if it was asked for.
func (s *eventStream) one(e *flowtable.Event) {
	if s.mask&(1<<e.Kind) == 0 || !s.match(e) {
		return
	}
	if e.Expect {
		s.out.add(s.expectationEvent(s.out.line(), e))
		return
	}
	s.out.add(s.event(s.out.line(), e))
}

// notice tells the reader how many events it lost at this place.
func (s *eventStream) notice(lost uint64) {
	s.out.lost += lost
	b, open, end := s.out.line(), lostText, "\n"
	switch s.format.Encoding {
	case EncodingJSON:
		open, end = lostJSON, "}\n"
	case EncodingXML:
		open, end = lostXML, " -->\n"
	default:
	}
	b = append(b, open...)
	b = strconv.AppendUint(b, lost, 10)
	s.out.buf = append(b, end...)
}

// The forms of a notice of lost events, up to the number.
const (
	lostText = "# lost "
	lostJSON = `{"type":"lost","count":`
	lostXML  = "<!-- lost "
)

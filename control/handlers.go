package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// Names of the HTTP trailers, which follow a body that ended as it should.
const (
	trailerCount = "Xdpct-Count" // records shown or removed
	trailerLost  = "Xdpct-Lost"  // events that the reader was too slow for
)

// routes returns the table of requests.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /flows", s.getFlows)
	mux.HandleFunc("GET /flows/count", s.getFlowCount)
	mux.HandleFunc("DELETE /flows", s.deleteFlows)
	mux.HandleFunc("POST /flush", s.flush)
	mux.HandleFunc("DELETE /expectations", s.deleteExpectations)
	mux.HandleFunc("POST /flush/expect", s.flushExpectations)
	mux.HandleFunc("POST /reload", s.reload)
	mux.HandleFunc("GET /events", s.getEvents)
	mux.HandleFunc("GET /events/expect", s.getExpectationEvents)
	mux.HandleFunc("GET /expectations", s.getExpectations)
	mux.HandleFunc("GET /stats", s.getStats)
	mux.HandleFunc("GET /timeouts", s.getTimeouts)
	mux.HandleFunc("GET /ports", s.getPorts)
	mux.HandleFunc("GET /version", s.getVersion)
	return mux
}

func (s *Server) getFlows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseFilter(q)
	if badRequest(w, err) {
		return
	}
	format, err := ParseFormat(q.Get("format"), RecordFlow)
	if badRequest(w, err) {
		return
	}
	out := newStream(w, format, RecordFlow)
	l := listing{printer: s.printer(format), backend: s.backend, out: out}
	if l.run(r.Context(), filter) {
		out.finish() // without its trailers, the client knows that it is cut off
	}
}

func (s *Server) getFlowCount(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseFilter(q)
	if badRequest(w, err) {
		return
	}
	n := 0
	for _, t := range s.backend.Tables() {
		if HasFilter(q) {
			n += countFlows(r.Context(), t, s.backend.Now(), filter)
		} else {
			n += t.Len()
		}
	}
	fmt.Fprintln(w, n)
}

func (s *Server) deleteFlows(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseFilter(q)
	if err == nil && !HasFilter(q) {
		err = errors.New("delete needs a filter: give one, or use flush to remove every flow")
	}
	if badRequest(w, err) {
		return
	}
	format, err := ParseFormat(q.Get("format"), RecordFlow)
	if badRequest(w, err) {
		return
	}
	l := listing{printer: s.printer(format), backend: s.backend, out: newStream(w, format, RecordFlow)}
	_, err = s.backend.Delete(r.Context(), Deletion{By: peer(r.Context()), Match: filter.Match, Each: l.gone})
	l.out.end(err)
}

func (s *Server) flush(w http.ResponseWriter, r *http.Request) {
	all := func(*flowtable.Snapshot) bool { return true }
	n, err := s.backend.Delete(r.Context(), Deletion{By: peer(r.Context()), Match: all})
	s.answerCount(w, n, err)
}

func (s *Server) deleteExpectations(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseExpectFilter(q)
	if err == nil && !HasExpectFilter(q) {
		err = errors.New("delete needs a filter: give one, or use flush to remove every expectation")
	}
	if badRequest(w, err) {
		return
	}
	format, err := ParseFormat(q.Get("format"), RecordExpectation)
	if badRequest(w, err) {
		return
	}
	p, out := s.printer(format), newStream(w, format, RecordExpectation)
	_, err = s.backend.DeleteExpectations(r.Context(), peer(r.Context()), filter.MatchExpectation,
		func(e *flowtable.Expectation) { out.add(p.expectation(out.line(), e)) })
	out.end(err)
}

func (s *Server) flushExpectations(w http.ResponseWriter, r *http.Request) {
	n, err := s.backend.DeleteExpectations(r.Context(), peer(r.Context()),
		func(*flowtable.Expectation) bool { return true }, func(*flowtable.Expectation) {})
	s.answerCount(w, n, err)
}

// reload answers with a line that says what has changed.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	done, err := s.backend.Reload(r.Context(), ReloadRequest{By: peer(r.Context()), Flush: r.URL.Query().Get("flush") == "true"})
	switch {
	case errors.Is(err, ErrBadRequest):
		badRequest(w, errors.New(strings.TrimPrefix(err.Error(), ErrBadRequest.Error()+": ")))
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set(trailerCount, strconv.Itoa(done.Ended))
	if len(done.Changed) == 0 {
		fmt.Fprintln(w, "nothing has changed")
		return
	}
	fmt.Fprintln(w, "changed: --"+strings.Join(done.Changed, ", --"))
}

// answerCount answers a change with the number of flows that it removed.
func (s *Server) answerCount(w http.ResponseWriter, n int, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set(trailerCount, strconv.Itoa(n))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) getExpectations(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseExpectFilter(q)
	if badRequest(w, err) {
		return
	}
	format, err := ParseFormat(q.Get("format"), RecordExpectation)
	if badRequest(w, err) {
		return
	}
	p := s.printer(format)
	out := newStream(w, format, RecordExpectation)
	s.backend.Expectations().Each(func(e *flowtable.Expectation) bool {
		if filter.MatchExpectation(e) {
			out.add(p.expectation(out.line(), e))
		}
		return out.err == nil
	})
	out.finish()
}

func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := ParseFilter(q)
	if badRequest(w, err) {
		return
	}
	s.streamEvents(w, r, RecordFlowEvent, func(e *flowtable.Event) bool {
		return !e.Expect && filter.Match(&e.Flow)
	})
}

func (s *Server) getExpectationEvents(w http.ResponseWriter, r *http.Request) {
	if HasFilter(r.URL.Query()) {
		badRequest(w, errors.New("filters select flows: expectation events take none"))
		return
	}
	s.streamEvents(w, r, RecordExpectationEvent, func(e *flowtable.Event) bool { return e.Expect })
}

// streamEvents answers with events until the client or the server goes.
func (s *Server) streamEvents(w http.ResponseWriter, r *http.Request, rec Record, match func(*flowtable.Event) bool) {
	q := r.URL.Query()
	format, err := ParseFormat(q.Get("format"), rec)
	if badRequest(w, err) {
		return
	}
	mask, err := ParseEventMask(q.Get("event"))
	if badRequest(w, err) {
		return
	}
	sub := s.backend.Subscribe(eventBuffer)
	defer sub.Close()
	es := eventStream{printer: s.printer(format), out: newStream(w, format, rec), mask: mask, match: match}
	es.run(r.Context(), sub)
	es.out.finish()
}

func (s *Server) getStats(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	format := q.Get("format")
	if badRequest(w, CheckStatsOutput(format)) {
		return
	}
	view := newStatsView(s.backend, time.Now())
	switch format {
	case "json":
		writeJSON(w, view)
	case "conntrack":
		writeConntrackStats(w, view.Workers)
	case "proc":
		writeProcStats(w, view.Flows, view.Workers)
	default:
		view.writeText(w, q.Get("all") == "true")
	}
}

func (s *Server) getTimeouts(w http.ResponseWriter, r *http.Request) {
	asJSON, err := ParseOutput(r.URL.Query().Get("format"))
	if badRequest(w, err) {
		return
	}
	if asJSON {
		writeJSON(w, s.backend.Timeouts())
		return
	}
	writeTimeouts(w, s.backend.Timeouts())
}

func (s *Server) getPorts(w http.ResponseWriter, r *http.Request) {
	asJSON, err := ParseOutput(r.URL.Query().Get("format"))
	if badRequest(w, err) {
		return
	}
	if asJSON {
		writeJSON(w, s.backend.Ports())
		return
	}
	writePorts(w, s.backend.Ports())
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, s.backend.Version())
}

// printer returns a printer for the present moment.
func (s *Server) printer(f Format) *printer {
	return &printer{format: f, helper: s.backend.HelperName, class: s.backend.ExpectClass, tables: s.backend.Tables(), now: s.backend.Now(), wall: time.Now()}
}

// badRequest answers 400 and returns true when err is set.
func badRequest(w http.ResponseWriter, err error) bool {
	if err == nil {
		return false
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
	return true
}

// ParseOutput reads the format of answers that have two forms, "text" (also
// when empty) and "json".
func ParseOutput(word string) (asJSON bool, err error) {
	switch word {
	case "", "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, fmt.Errorf("output %q is not known: give text or json", word)
}

// CheckStatsOutput checks the format of counters: "text" (also when empty), "json",
// "conntrack" (as conntrack -S prints them) or "proc" (as /proc/net/stat/nf_conntrack
// shows them).
func CheckStatsOutput(word string) error {
	switch word {
	case "", "text", "json", "conntrack", "proc":
		return nil
	}
	return fmt.Errorf("output %q is not known: give text, json, conntrack or proc", word)
}

// EventMask selects kinds of events: bit 1<<EventKind.
type EventMask uint8

// ParseEventMask reads a comma-separated list of ALL, NEW, UPDATES and
// DESTROY, in upper or lower case, as conntrack -e does. Empty means ALL.
func ParseEventMask(list string) (EventMask, error) {
	const all = 1<<flowtable.EventNew | 1<<flowtable.EventUpdate | 1<<flowtable.EventDestroy
	if list == "" {
		return all, nil
	}
	var m EventMask
	for word := range strings.SplitSeq(list, ",") {
		switch strings.ToUpper(word) {
		case "ALL":
			m |= all
		case "NEW":
			m |= 1 << flowtable.EventNew
		case "UPDATE", "UPDATES":
			m |= 1 << flowtable.EventUpdate
		case "DESTROY":
			m |= 1 << flowtable.EventDestroy
		default:
			return 0, fmt.Errorf("event %q is not known: give a list of ALL, NEW, UPDATES, DESTROY", word)
		}
	}
	return m, nil
}

// contentType returns the media type of a format.
func (f Format) contentType() string {
	switch f.Encoding {
	case EncodingJSON:
		return "application/x-ndjson"
	case EncodingXML:
		return "application/xml"
	default:
		return "text/plain; charset=utf-8"
	}
}

// countFlows counts the flows of one table that match.
func countFlows(ctx context.Context, t *flowtable.Table, now flowtable.Tick, f *Filter) int {
	n := 0
	var snap flowtable.Snapshot
	for idx := uint32(1); idx <= t.HighWater(); idx++ {
		if idx%checkEvery == 0 && ctx.Err() != nil {
			break
		}
		if t.Read(idx, now, &snap) && f.Match(&snap) {
			n++
		}
	}
	return n
}

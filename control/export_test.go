package control

import (
	"net/http"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// Printer gives tests the records without a socket.
type Printer struct{ p printer }

// NewPrinter returns a printer for a fixed moment.
func NewPrinter(f Format, helper func(uint8) string, now flowtable.Tick, wall time.Time) *Printer {
	return &Printer{printer{format: f, helper: helper, class: className, now: now, wall: wall}}
}

// className knows one class of one helper.
func className(helper, class uint8) string {
	if helper == 3 && class == 1 {
		return "audio"
	}
	return ""
}

// Flow renders a listed flow.
func (p *Printer) Flow(b []byte, s *flowtable.Snapshot, worker, use int) []byte {
	return p.p.flow(b, s, worker, use)
}

// Event renders an event of either kind.
func (p *Printer) Event(b []byte, e *flowtable.Event) []byte {
	if e.Expect {
		return p.p.expectationEvent(b, e)
	}
	return p.p.event(b, e)
}

// Expectation renders a listed expectation.
func (p *Printer) Expectation(b []byte, e *flowtable.Expectation) []byte {
	return p.p.expectation(b, e)
}

// MaxLine is the room that a stream keeps for one line.
const MaxLine = maxLine

// Handler returns the requests of a server without a socket.
func Handler(b Backend) http.Handler { return (&Server{backend: b}).routes() }

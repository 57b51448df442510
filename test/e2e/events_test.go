package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// closing are the states of a TCP flow that is being closed, with what may follow.
// Which of them a flow passes depends on how FINs and ACKs cross: a FIN that
// carries the ACK of the other's FIN leaves CLOSE_WAIT out, for instance. The
// kernel's transition table, net/netfilter/nf_conntrack_proto_tcp.c.
var closing = map[string][]string{
	"ESTABLISHED": {"FIN_WAIT", "CLOSE"},
	"FIN_WAIT":    {"CLOSE_WAIT", "LAST_ACK", "CLOSE"},
	"CLOSE_WAIT":  {"LAST_ACK", "CLOSE"},
	"LAST_ACK":    {"TIME_WAIT", "CLOSE"},
	"TIME_WAIT":   {"CLOSE", "SYN_SENT"},
}

// stateTimeout are the kernel's default time-outs in seconds.
var stateTimeout = map[string]int{
	"SYN_SENT": 120, "SYN_RECV": 60, "ESTABLISHED": 432000, "FIN_WAIT": 120,
	"CLOSE_WAIT": 60, "LAST_ACK": 30, "TIME_WAIT": 120, "CLOSE": 10,
}

// nominal puts time-outs right of which a second has begun, so that 30 has become 29: the
// kernel shows what is left when the event is told, and both do so of a flow that ends
// before its time.
func nominal(g *lab.Gateway, events []lab.Record) {
	for i, e := range events {
		if !g.Kernel() && e.Tag != "[DESTROY] " {
			continue
		}
		switch e.Timeout {
		case 29, 59, 119, 179, 299, 3599, 431999:
			events[i].Timeout++
		}
	}
}

// life is what the events tell of one flow.
type life struct {
	Flow   string
	Opened []string     // as told, until it is being closed
	Closed []lab.Record // from there on
}

// compareEvents compares the lives of the flows: word for word while a flow opens
// and lives; while it is closed, each against the state machine, since FINs and
// ACKs cross as they like. Flows have to begin in the same order; what happens
// between two flows may interleave in any way.
//
// The kernel's own steps are not checked: it works on both directions of a flow on
// several CPUs, so that an event can show a state that the next packet has made.
func compareEvents(t *testing.T, want, got []lab.Record) {
	t.Helper()
	w, g := lives(want), lives(got)
	for i := range g {
		if !lab.KernelWanted() {
			checkClosing(t, g[i])
		}
	}
	open := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Closed" },
		cmp.Comparer(func(a, b []lab.Record) bool {
			// The way there may differ, the end may not.
			return (len(a) == 0) == (len(b) == 0) &&
				(len(a) == 0 || a[len(a)-1].String() == b[len(b)-1].String())
		}))
	if diff := cmp.Diff(w, g, open); diff != "" {
		t.Errorf("events differ (-kernel +xdpct):\n%s", diff)
	}
}

// lives sorts events by flow, in the order in which the flows began.
func lives(events []lab.Record) []life {
	var found []life
	index := make(map[string]int)
	for _, e := range events {
		i, ok := index[e.Flow()]
		if !ok {
			i = len(found)
			index[e.Flow()] = i
			found = append(found, life{Flow: e.Flow()})
		}
		f := &found[i]
		if _, closes := closing[e.State]; (closes && e.State != "ESTABLISHED") || len(f.Closed) > 0 {
			f.Closed = append(f.Closed, e)
		} else {
			f.Opened = append(f.Opened, e.String())
		}
	}
	return found
}

// checkClosing checks the end of a flow's life: each step is one that the state
// machine knows, has that state's time-out and leaves everything else as it was.
func checkClosing(t *testing.T, f life) {
	t.Helper()
	state := "ESTABLISHED"
	for i, e := range f.Closed {
		if e.Tag == "[DESTROY] " {
			if i != len(f.Closed)-1 {
				t.Errorf("something happens after the end: %v", f.Closed[i+1])
			}
			continue
		}
		known := false
		for _, next := range closing[state] {
			known = known || next == e.State
		}
		if !known {
			t.Errorf("no packet leads from %s to %s: %v", state, e.State, e)
		}
		if e.Timeout != stateTimeout[e.State] {
			t.Errorf("%s lasts %d s, want %d: %v", e.State, e.Timeout, stateTimeout[e.State], e)
		}
		if diff := cmp.Diff(f.Closed[0].Fields, e.Fields); diff != "" || e.Tag != " [UPDATE] " {
			t.Errorf("more than the state has changed: %v\n%s", e, diff)
		}
		state = e.State
	}
}

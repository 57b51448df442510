package flowtable

// EventKind tells what happened to a flow or an expectation.
type EventKind uint8

// Kinds of events.
const (
	EventNew EventKind = iota + 1
	EventUpdate
	EventDestroy
)

// String returns the tag that conntrack -E prints between brackets.
func (k EventKind) String() string {
	switch k {
	case EventNew:
		return "NEW"
	case EventUpdate:
		return "UPDATE"
	case EventDestroy:
		return "DESTROY"
	}
	return "UNKNOWN"
}

// EndReason tells why a flow ended: what a DESTROY event shows depends on it.
type EndReason uint8

// Reasons for the end of a flow.
const (
	// EndExpired: its time was over; no time is printed.
	EndExpired EndReason = iota
	// EndDeleted: a command deleted it; the time left is printed, and who.
	EndDeleted
	// EndImmediate: a packet killed it; the time left is printed.
	EndImmediate
	// EndEvicted: it made room in a full table; the time left is printed.
	EndEvicted
)

// Process is who asked for a change. No pointers.
type Process struct {
	// PID is its process id, of the gateway's namespace; 0 = not known.
	PID uint32
	// comm is its name as the kernel keeps it, padded with zeros.
	comm [16]byte
}

// ProcessOf makes a Process; the name is cut to 15 bytes, as the kernel cuts it.
// A program may call itself anything: what could break a line or a string in it
// becomes a question mark.
func ProcessOf(pid uint32, name string) Process {
	p := Process{PID: pid}
	copy(p.comm[:len(p.comm)-1], name)
	for i, c := range p.comm {
		if c != 0 && (c <= ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '&') {
			p.comm[i] = '?'
		}
	}
	return p
}

// Name returns the name; empty if it is not known.
func (p *Process) Name() []byte {
	n := 0
	for n < len(p.comm) && p.comm[n] != 0 {
		n++
	}
	return p.comm[:n]
}

// Event is one line of conntrack -E. No pointers: events are copied by value.
type Event struct {
	// Kind is what happened.
	Kind EventKind
	// Expect: Expectation is valid, not Flow.
	Expect bool
	// Deleted: a command did it, By says whose; the line ends with [USERSPACE].
	Deleted bool
	// Immediate: a packet did it (RST before a reply).
	Immediate bool
	// Evicted: it made room in a full table.
	Evicted bool
	// Left is the time to print, in seconds; 0 = print none.
	Left uint32
	// By is the process that deleted it. Valid iff Deleted.
	By Process
	// Time is when it happened, unix nanoseconds.
	Time int64
	// Flow is the flow after the change. Valid iff not Expect.
	Flow Snapshot
	// Expectation is valid iff Expect.
	Expectation Expectation
}

// FlowEvent fills e for a flow that began or changed, and what of it. It prints
// the time left, which is all of the time-out if the packet renewed it, and of a
// change that is not of the state (a first answer that TCP ignores) no state
// (net/netfilter/nf_conntrack_netlink.c, ctnetlink_conntrack_event). Owner: worker.
func (t *Table) FlowEvent(e *Event, kind EventKind, changed Changes, idx uint32, now Tick, wall int64) {
	e.Kind, e.Expect, e.Deleted, e.Immediate, e.Evicted, e.Time = kind, false, false, false, false, wall
	t.Snapshot(idx, now, &e.Flow)
	e.Flow.SameState = kind == EventUpdate && changed&ChangeState == 0
	e.Left = e.Flow.FullTimeout.Seconds()
	if e.Flow.LastSeen != now {
		e.Left = e.Flow.Timeout
	}
}

// EndEvent fills e for a flow that ends, before Remove. Owner: worker.
func (t *Table) EndEvent(e *Event, why EndReason, idx uint32, now Tick, wall int64) {
	e.Kind, e.Expect, e.Time = EventDestroy, false, wall
	e.Deleted = why == EndDeleted
	e.Immediate, e.Evicted = why == EndImmediate, why == EndEvicted
	t.Snapshot(idx, now, &e.Flow)
	e.Left = 0
	if why != EndExpired {
		e.Left = e.Flow.Timeout
	}
	e.Flow.stops(why, now, wall)
}

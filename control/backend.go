package control

import (
	"context"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// Backend is the gateway as the control socket sees it. All methods are called
// from several goroutines at once, none of them a worker.
type Backend interface {
	// Tables returns the flow table of each worker, in the order of the
	// workers. They are read while their workers change them.
	Tables() []*flowtable.Table
	// Now returns the current time of the flow tables.
	Now() flowtable.Tick
	// Expectations returns the table that all workers share.
	Expectations() *flowtable.Expectations
	// HelperName returns the name of a helper as the kernel calls it ("ftp"),
	// and "" for 0 and unknown ids.
	HelperName(id uint8) string
	// ExpectClass returns the name of a class of a helper's expectations, "" if it
	// has none.
	ExpectClass(helper, class uint8) string
	// Stats returns the counters at this moment.
	Stats() Stats
	// Timeouts returns the time-outs in effect, in the order in which they are shown.
	Timeouts() []Timeout
	// Ports returns the attached network interfaces.
	Ports() []Port
	// Subscribe starts an event stream with room for size events.
	Subscribe(size int) Subscription
	// Delete removes flows and returns how many.
	Delete(ctx context.Context, d Deletion) (int, error)
	// DeleteExpectations removes the expectations that match, for the process
	// by, and returns how many. each is called with those that are gone.
	DeleteExpectations(ctx context.Context, by flowtable.Process, match func(*flowtable.Expectation) bool,
		each func(*flowtable.Expectation)) (int, error)
	// Reload changes the gateway to what its file of settings says now: all or, with
	// an error, nothing. ErrBadRequest means that the file is wrong.
	Reload(ctx context.Context, r ReloadRequest) (Reloaded, error)
	// Version returns the version of the running gateway ("v0.1.0").
	Version() string
}

// Deletion says which flows are to be removed.
type Deletion struct {
	// By is who asks for it, which events tell.
	By flowtable.Process
	// Match selects the flows.
	Match func(*flowtable.Snapshot) bool
	// Each is called with every flow that is gone, as it was when it was found,
	// and the number of its worker; nil = nobody wants to know. Both functions
	// are called by the goroutine that called Delete.
	Each func(worker int, s *flowtable.Snapshot)
}

// ReloadRequest asks for settings to be read again.
type ReloadRequest struct {
	By    flowtable.Process // who asks, which events tell
	Flush bool              // remove all flows afterwards
}

// Reloaded is what a reload has done.
type Reloaded struct {
	Changed []string // names of the flags that are different now
	Ended   int      // flows that were removed
}

// Subscription is one reader's view of the event stream.
type Subscription interface {
	// Read waits for events and moves up to len(events) of them there. lost is
	// the number of events that this reader has missed since the last call
	// because it was too slow; they belong before the events returned. It
	// returns ctx's error when ctx ends.
	Read(ctx context.Context, events []flowtable.Event) (n int, lost uint64, err error)
	// Close ends the subscription. It may be called once.
	Close()
}

// Counter is a figure with a name: most only grow while the gateway runs, some
// (flows, frames) tell how much there is of something now, as Help says.
type Counter struct {
	Name  string `json:"name"`           // e.g. "drop_no_route": see docs/counters.md
	Help  string `json:"help,omitempty"` // one line for people
	Value uint64 `json:"value"`          // packets, unless Name says otherwise
}

// WorkerStats are the counters of one worker.
type WorkerStats struct {
	CPU      int       `json:"cpu"`      // the CPU that it is pinned to
	Counters []Counter `json:"counters"` // same names and order for each worker
}

// Stats are the counters of the whole gateway.
type Stats struct {
	Started time.Time     `json:"started"` // when packets were first forwarded
	Workers []WorkerStats `json:"workers"`
	Totals  []Counter     `json:"totals"` // sums over workers, then what has no worker
}

// Timeout is a setting: how long a flow in some state lives without a packet.
type Timeout struct {
	Name    string `json:"name"`    // as --timeout takes it: docs/timeouts.md
	Seconds uint32 `json:"seconds"` // whole ones
}

// Port is one attached network interface.
type Port struct {
	Name       string    `json:"name"`
	Role       string    `json:"role"`                     // "internal" or "external"
	Driver     string    `json:"driver"`                   // as ethtool -i shows it
	AttachMode string    `json:"attach_mode"`              // "native" or "generic"
	Copy       string    `json:"copy"`                     // "zero-copy" or "copy"
	CopyReason string    `json:"copy_reason,omitempty"`    // why packets are copied although --zerocopy is auto
	Queues     int       `json:"queues"`                   // queues with a socket
	Steering   string    `json:"steering"`                 // how packets find their worker: "rss", "ports", "rss:tcp4,tcp6", or "-" with one worker
	Notes      []string  `json:"steering_notes,omitempty"` // why not all by RSS, and what would help
	MTU        int       `json:"mtu"`                      // bytes, as the link has it
	LinkUp     bool      `json:"link_up"`
	RXPackets  uint64    `json:"rx_packets"`
	TXPackets  uint64    `json:"tx_packets"`
	Drops      uint64    `json:"drops"` // packets lost between the NIC and the workers, both directions
	Counters   []Counter `json:"counters,omitempty"`
}

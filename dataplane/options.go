package dataplane

import (
	"log/slog"
	"time"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// Options is what a gateway is made from. The zero value of a field takes the
// default that its comment names.
type Options struct {
	Ports   []PortOptions      // at least one internal and one external
	NAT     nat.Config         // Workers is set by New
	Helpers *helpers.Set       // nil = none
	Tracker *flowtable.Tracker // nil = the kernel's defaults

	MaxFlows    int   // of all workers together; default 262144
	Queues      int   // receive queues to serve on each port; 0 = all that it has
	CPUs        []int // that workers are pinned to; nil = the first of the process's
	Steering    SteeringMode
	RSS         []xsk.RSS // how ports in memory spread packets, by port; for NewMemory
	PassInvalid bool      // forward packets in state INVALID untranslated
	Accounting  bool      // count packets and bytes of each flow
	Timestamps  bool      // keep when each flow began
	// SkipChecksums trusts that received packets are intact; by default their
	// checksums are verified (kernel: nf_conntrack_checksum).
	SkipChecksums bool
	// MaxFlowsPerHost and NewFlowsPerHost limit how many flows one source may have, and
	// begin in one second, at most 65535; 0 = any number. See hosts.
	MaxFlowsPerHost, NewFlowsPerHost int
	ReversePath                      ReversePath
	DropBogons                       bool // no flow from or to an address outside that is not the Internet's

	XDP       xsk.AttachMode
	ZeroCopy  xsk.ZeroCopy
	BusyPoll  time.Duration // 0 = off
	Spin      bool          // workers never sleep; with BusyPoll they never do
	RingSize  int           // slots of the RX and TX rings, power of two; default 2048
	FrameSize int           // bytes, 2048 or 4096; default 2048
	HugePages HugePages     // 2 MiB pages for frames and tables

	// Links keep programs of the last run attached. Start puts its own in their place
	// and closes the links that fit no port; whoever opened them closes them if it
	// does not come to that.
	Links []*xsk.Link

	Log *slog.Logger
}

// HugePages says whether memory is taken in pages of 2 MiB.
type HugePages uint8

// Choices of HugePages.
const (
	HugePagesAuto HugePages = iota // where there are any
	HugePagesOn                    // frames in reserved ones, or New fails
	HugePagesOff
)

// PortOptions names an interface and its side.
type PortOptions struct {
	Name  string
	Realm nat.Realm
}

// Defaults of Options.
const (
	DefaultMaxFlows  = 262144
	DefaultRingSize  = 2048
	DefaultFrameSize = 2048
)

// pathConfig is what all workers know and none changes. Reload gives each worker
// another one between two bursts.
type pathConfig struct {
	umem        *xsk.UMEM
	realm       [maxPorts]nat.Realm // by port number
	tables      []*flowtable.Table  // by worker; others than the own one are only read
	helpers     *helpers.Set
	workers     int
	steering    nat.Steering
	strays      *flowtable.Strays // shared by all workers
	passInvalid bool
	masquerade  bool
	spin        bool // never sleep

	skipChecksums bool
	sources       sourceChecks
	fragmentSeed  uint64 // of the choice who assembles a datagram
}

package memory

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xdpct/xdpct/dataplane"
)

// Options say what is measured and for how long. The zero value of a field
// takes the default that its comment names.
type Options struct {
	Flows  []int         // flows in the table; default 1 k, 100 k, 1 M, 10 M
	Protos []string      // udp, tcp; default both
	NATs   []string      // none, snat, dnat; default all
	Bursts []int         // packets in a burst, 1 to 64; default 64
	Sizes  []int         // bytes of a frame, each with and without checksums; default none: 60 with them
	Loads  []int         // of the table, in percent of its capacity; default 50, 75, 90, 100
	Uses   []int         // of the ports of a pool, in percent; default 50, 90, 99
	Rounds int           // of each parameter set, after one that warms up; default 7
	Time   time.Duration // that each set is measured in a round; default 300 ms
	CPU    int           // number of the CPU to measure on
	Peers  []TablePeer   // other tables for scenario table, beside a Go map
}

// Defaults of Options.
const (
	DefaultRounds = 7
	DefaultTime   = 300 * time.Millisecond
)

// DefaultFlows are the numbers of flows that are measured if nothing is said.
func DefaultFlows() []int { return []int{1_000, 100_000, 1_000_000, 10_000_000} }

// DefaultNATs are all translations.
func DefaultNATs() []string { return []string{natNone, natSource, natDestination} }

// DefaultProtos are all protocols.
func DefaultProtos() []string { return []string{"udp", "tcp"} }

// DefaultLoads are the loads of a table.
func DefaultLoads() []int { return []int{50, 75, 90, 100} }

// DefaultUses are the shares of a pool's ports.
func DefaultUses() []int { return []int{50, 90, 99} }

// bounds of the options.
const (
	minFlows = 64 // a burst of flows in the same state
	maxFlows = 1 << 26
)

// complete checks the options and fills in defaults.
func (o *Options) complete() error {
	if err := o.Validate(); err != nil {
		return err
	}
	setDefault(&o.Flows, DefaultFlows()...)
	setDefault(&o.Protos, DefaultProtos()...)
	setDefault(&o.NATs, DefaultNATs()...)
	setDefault(&o.Bursts, dataplane.BurstSize)
	setDefault(&o.Loads, DefaultLoads()...)
	setDefault(&o.Uses, DefaultUses()...)
	if o.Rounds == 0 {
		o.Rounds = DefaultRounds
	}
	if o.Time == 0 {
		o.Time = DefaultTime
	}
	return nil
}

// Validate refuses what cannot be measured, in a line for each mistake.
func (o *Options) Validate() error {
	if o.Rounds < 0 || o.Time < 0 {
		return fmt.Errorf("%d rounds of %v: both must be positive", o.Rounds, o.Time)
	}
	return errors.Join(
		within("flows", o.Flows, minFlows, maxFlows),
		within("packets in a burst", o.Bursts, 1, dataplane.BurstSize),
		within("bytes in a frame", o.Sizes, minSize, maxSize),
		within("percent of the table", o.Loads, 1, 100),
		within("percent of the pool", o.Uses, 1, 100),
		known("protocol", o.Protos, DefaultProtos()),
		known("translation", o.NATs, DefaultNATs()),
	)
}

// setDefault gives an empty list its default.
func setDefault[T any](list *[]T, values ...T) {
	if len(*list) == 0 {
		*list = values
	}
}

// within refuses numbers that are too small or too large.
func within(what string, list []int, low, high int) error {
	for _, n := range list {
		if n < low || n > high {
			return fmt.Errorf("%d %s: not within %d-%d", n, what, low, high)
		}
	}
	return nil
}

// known refuses names that mean nothing.
func known(what string, list, names []string) error {
	for _, n := range list {
		if !slices.Contains(names, n) {
			return fmt.Errorf("unknown %s %q: one of %v", what, n, names)
		}
	}
	return nil
}

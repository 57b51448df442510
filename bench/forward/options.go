package forward

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Measure is one thing that a run can find out about a contender.
type Measure string

// Measures, each with its records.
const (
	MeasureRate    Measure = "rate"    // highest rate, and CPU time a packet at it
	MeasureCPU     Measure = "cpu"     // CPU time a packet at fixed rates
	MeasureLatency Measure = "latency" // at 10, 50 and 90 % of the own highest rate
)

// Options says what a run measures. The zero value of a field takes the default
// that its comment names.
type Options struct {
	Contenders []Contender   // no default
	Measures   []Measure     // default all
	Rounds     int           // default 5
	Trial      time.Duration // load of one trial; default 200 ms
	Flows      int           // default 4096; a power of two up to 2^20
	Loss       float64       // share of packets that may be lost at the highest rate; default 0.005
	CPURates   []float64     // packets/s; default 150,000 and 300,000
	Placement  *Placement    // default: the last CPU for the gateway, the one before for the rest
	Trials     io.Writer     // gets a line for each trial; nil = nobody
}

// Defaults of Options.
const (
	DefaultRounds = 5
	DefaultTrial  = 200 * time.Millisecond
	DefaultFlows  = 4096
	DefaultLoss   = 0.005
)

// complete fills in defaults and refuses what cannot be.
func (o *Options) complete() error {
	if len(o.Contenders) == 0 {
		return errors.New("no contenders: nothing to measure")
	}
	if len(o.Measures) == 0 {
		o.Measures = []Measure{MeasureRate, MeasureCPU, MeasureLatency}
	}
	for _, m := range o.Measures {
		if m != MeasureRate && m != MeasureCPU && m != MeasureLatency {
			return fmt.Errorf("unknown measure %q: there are rate, cpu and latency", m)
		}
	}
	if o.Rounds == 0 {
		o.Rounds = DefaultRounds
	}
	if o.Trial == 0 {
		o.Trial = DefaultTrial
	}
	if o.Flows == 0 {
		o.Flows = DefaultFlows
	}
	if o.Flows < 1 || o.Flows > maxFlows || bits.OnesCount(uint(o.Flows)) != 1 {
		return fmt.Errorf("%d flows: must be a power of two, 1 to %d", o.Flows, maxFlows)
	}
	if o.Loss == 0 {
		o.Loss = DefaultLoss
	}
	if len(o.CPURates) == 0 {
		o.CPURates = []float64{150e3, 300e3}
	}
	return o.completePlacement()
}

// completePlacement takes the last two CPUs that this process may use.
func (o *Options) completePlacement() error {
	if o.Placement != nil {
		return nil
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	var cpus []int
	for cpu := range len(set) * 64 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) < 2 {
		return fmt.Errorf("this process may use %d CPU: one is needed for the gateway, another one for the rest", len(cpus))
	}
	o.Placement = &Placement{Home: cpus[len(cpus)-2], Gateway: cpus[len(cpus)-1]}
	return nil
}

// wants reports whether a measure is to be taken.
func (o *Options) wants(m Measure) bool { return slices.Contains(o.Measures, m) }

package forward

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"time"

	"github.com/xdpct/xdpct/bench"
)

// Measure is one thing that a run can find out about a contender.
type Measure string

// Measures, each with its records.
const (
	MeasureRate    Measure = "rate"    // highest rate, and CPU time a packet at it
	MeasureCPU     Measure = "cpu"     // CPU time a packet at fixed rates
	MeasureLatency Measure = "latency" // at 10, 50 and 90 % of the own highest rate
)

// Measures returns all of them.
func Measures() []Measure { return []Measure{MeasureRate, MeasureCPU, MeasureLatency} }

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

// DefaultCPURates are rates that all contenders hold, in packets/s.
func DefaultCPURates() []float64 { return []float64{150e3, 300e3} }

// Validate fills in defaults and refuses what cannot be.
func (o *Options) Validate() error {
	o.setDefaults()
	if len(o.Contenders) == 0 {
		return errors.New("no contenders: nothing to measure")
	}
	for _, m := range o.Measures {
		if !slices.Contains(Measures(), m) {
			return fmt.Errorf("unknown measure %q: there are %v", m, Measures())
		}
	}
	for _, rate := range o.CPURates {
		if rate < searchLeast || rate > searchMost {
			return fmt.Errorf("%.0f packets/s: must be %.0f to %.0f", rate, float64(searchLeast), float64(searchMost))
		}
	}
	if o.Rounds < 0 || o.Trial < 0 || o.Loss < 0 || o.Loss >= 1 {
		return fmt.Errorf("%d rounds of trials of %v with a loss of %v: none can be negative, and the loss is less than 1",
			o.Rounds, o.Trial, o.Loss)
	}
	if o.Flows < 1 || o.Flows > maxFlows || bits.OnesCount(uint(o.Flows)) != 1 {
		return fmt.Errorf("%d flows: must be a power of two, 1 to %d", o.Flows, maxFlows)
	}
	return o.completePlacement()
}

func (o *Options) setDefaults() {
	if len(o.Measures) == 0 {
		o.Measures = Measures()
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
	if o.Loss == 0 {
		o.Loss = DefaultLoss
	}
	if len(o.CPURates) == 0 {
		o.CPURates = DefaultCPURates()
	}
}

// completePlacement takes the last two CPUs that this process may use.
func (o *Options) completePlacement() error {
	if o.Placement != nil {
		return nil
	}
	cpus, err := bench.UsableCPUs()
	if err != nil {
		return err
	}
	if len(cpus) < 2 {
		return fmt.Errorf("this process may use %d CPU: one is needed for the gateway, another one for the rest", len(cpus))
	}
	o.Placement = &Placement{Home: cpus[len(cpus)-2], Gateway: cpus[len(cpus)-1]}
	return nil
}

// wants reports whether a measure is to be taken.
func (o *Options) wants(m Measure) bool { return slices.Contains(o.Measures, m) }

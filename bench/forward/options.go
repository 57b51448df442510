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

// Arrival is which queue of several a flow's packets arrive at.
type Arrival string

// Arrivals on two queues.
const (
	ArrivalOwner Arrival = "owner" // that of the worker that owns the flow by its port
	ArrivalMixed Arrival = "mixed" // half of them at the other one
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
	Arrivals   []Arrival     // default none: one queue
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
	if err := o.validateArrivals(); err != nil {
		return err
	}
	return o.completePlacement()
}

// validateArrivals refuses what cannot be measured with two queues: the gateway
// has both CPUs then, and shares them with the generators.
func (o *Options) validateArrivals() error {
	if len(o.Arrivals) == 0 {
		return nil
	}
	for _, a := range o.Arrivals {
		if a != ArrivalOwner && a != ArrivalMixed {
			return fmt.Errorf("unknown arrival %q: there are %s, %s", a, ArrivalOwner, ArrivalMixed)
		}
	}
	if len(o.Measures) != 1 || o.Measures[0] != MeasureCPU {
		return fmt.Errorf("with two queues only %q can be measured: gateway and generators share the CPUs", MeasureCPU)
	}
	for _, c := range o.Contenders {
		if !c.Queues {
			return fmt.Errorf("%s forwards on one queue only", c.Name)
		}
	}
	if o.Flows < 2 {
		return errors.New("two queues need two flows at least")
	}
	return nil
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
	o.Placement = &Placement{Home: cpus[len(cpus)-2], Gateway: cpus[len(cpus)-1], Both: len(o.Arrivals) > 0}
	return nil
}

// wants reports whether a measure is to be taken.
func (o *Options) wants(m Measure) bool { return slices.Contains(o.Measures, m) }

package bench

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Record is one result: a quantity, what it was measured with, and its spread
// over the rounds of a run.
type Record struct {
	// Name is the scenario: table, pipeline, newflows, timers, l2fwd, forward.
	Name string `json:"name"`
	// Params tell this result from the others of its name. Values are strings,
	// numbers and booleans.
	Params map[string]any `json:"params"`
	// Unit of the three values, such as ns/packet, flows/s, bytes/flow.
	Unit string `json:"unit"`
	// Median and the 10th and 90th percentile over the rounds.
	Median float64 `json:"median"`
	P10    float64 `json:"p10"`
	P90    float64 `json:"p90"`
	// Rounds is the number of samples; each is a round of its own.
	Rounds int `json:"rounds"`
}

// Summarize makes the record of a scenario from one sample a round. Values are
// rounded to five digits. Without samples all of them are 0.
func Summarize(name string, params map[string]any, unit string, samples []float64) Record {
	s := slices.Sorted(slices.Values(samples))
	return Record{
		Name: name, Params: params, Unit: unit, Rounds: len(s),
		Median: significant(Quantile(s, 0.5)), P10: significant(Quantile(s, 0.1)), P90: significant(Quantile(s, 0.9)),
	}
}

// Quantile returns the value below which a share q (0 to 1) of the samples
// lies, interpolated between the two nearest (method 7 of Hyndman and Fan). The
// samples must be sorted; 0 if there are none.
func Quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// significant rounds to five significant digits: measurements are no better.
func significant(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
	if err != nil {
		panic("bench: a formatted number does not parse: " + err.Error())
	}
	return rounded
}

// Label is the parameters in one line, in the order of their names:
// "flows=1000 nat=snat proto=udp".
func (r *Record) Label() string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(r.Params)) {
		parts = append(parts, k+"="+formatParam(r.Params[k]))
	}
	return strings.Join(parts, " ")
}

// formatParam prints a parameter; numbers without exponent, since those of a
// file that was read back are floating point.
func formatParam(v any) string {
	if f, ok := v.(float64); ok {
		return formatNumber(f)
	}
	return fmt.Sprint(v)
}

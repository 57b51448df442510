package forward

import "github.com/xdpct/xdpct/bench"

// samples collects results over the rounds, in the order in which they first
// came.
type samples struct {
	series []*series
}

// key tells one result from another.
type key struct {
	contender string
	measure   Measure
	load      any     // rate in packets/s, share of the highest rate, or nil
	arrival   Arrival // "" = one queue
}

// of is the key of another measure of the same trial.
func (k key) of(m Measure) key {
	k.measure = m
	return k
}

// series is one result, a value a round.
type series struct {
	key
	unit   string
	values []float64
}

// add takes the value of one round.
func (s *samples) add(k key, unit string, value float64) {
	for _, have := range s.series {
		if have.key == k {
			have.values = append(have.values, value)
			return
		}
	}
	s.series = append(s.series, &series{k, unit, []float64{value}})
}

// records summarizes them.
func (s *samples) records(flows int) []bench.Record {
	var list []bench.Record
	for _, one := range s.series {
		params := map[string]any{"contender": one.contender, "measure": string(one.measure), "flows": flows}
		if one.load != nil {
			params["load"] = one.load
		}
		if one.arrival != "" {
			params["queues"], params["arrival"] = 2, string(one.arrival)
		}
		list = append(list, bench.Summarize("forward", params, one.unit, one.values))
	}
	return list
}

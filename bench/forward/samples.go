package forward

import "github.com/xdpct/xdpct/bench"

// samples collects results over the rounds, in the order in which they first
// came.
type samples struct {
	series []*series
}

// series is one result of one contender, a value a round.
type series struct {
	contender string
	measure   Measure
	load      any // rate in packets/s, share of the highest rate, or nil
	unit      string
	values    []float64
}

// add takes the value of one round.
func (s *samples) add(contender string, m Measure, load any, unit string, value float64) {
	for _, have := range s.series {
		if have.contender == contender && have.measure == m && have.load == load {
			have.values = append(have.values, value)
			return
		}
	}
	s.series = append(s.series, &series{contender, m, load, unit, []float64{value}})
}

// records summarizes them.
func (s *samples) records(flows int) []bench.Record {
	var list []bench.Record
	for _, one := range s.series {
		params := map[string]any{"contender": one.contender, "measure": string(one.measure), "flows": flows}
		if one.load != nil {
			params["load"] = one.load
		}
		list = append(list, bench.Summarize("forward", params, one.unit, one.values))
	}
	return list
}

package main

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/xdpct/xdpct/bench"
)

// lineRate is the time that 10GbE leaves for a minimal packet, in ns.
const lineRate = 67.2

// pipelineChart is the time of a packet over the number of flows.
func pipelineChart(records []bench.Record) (*plot.Plot, error) {
	s := pick(records, "pipeline", "ns/packet", map[string]any{"flows": nil, "proto": nil, "nat": nil})
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("A packet of an established flow, one core", "flows in the table", "ns/packet")
	flowsAxis(p, s)
	addLevel(p, lineRate, "10GbE line rate, 64 bytes")
	return p, addLines(p, s.lines("flows", func(r *bench.Record) string {
		return fmt.Sprintf("%v, %v", r.Params["proto"], r.Params["nat"])
	}))
}

// stagesChart is the time of a packet by stage, over the number of flows.
func stagesChart(records []bench.Record) (*plot.Plot, error) {
	s := pick(records, "pipeline", "ns/packet", map[string]any{"flows": nil, "proto": "udp", "nat": "snat", "stage": nil})
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("Where a packet's time goes (UDP, SNAT)", "flows in the table", "ns/packet")
	return p, addStack(p, s, func(r *bench.Record) string { return short(number(r, "flows")) },
		func(r *bench.Record) string { return fmt.Sprint(r.Params["stage"]) })
}

// forwardChart is the highest rate of each contender.
func forwardChart(records []bench.Record) (*plot.Plot, error) {
	s := forwardRates(records)
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("Highest rate with at most 0.5 % loss", "", "million packets/s")
	return p, addBars(p, s, 1e-6, func(r *bench.Record) string { return fmt.Sprint(r.Params["contender"]) })
}

// forwardRates are the records of scenario forward that are rates.
func forwardRates(records []bench.Record) selection {
	var s selection
	for _, r := range records {
		if r.Name == "forward" && r.Unit == "packets/s" && r.Params["contender"] != nil {
			s = append(s, r)
		}
	}
	return s
}

// tableFlowsChart is the time of a lookup over the size of the table, for all
// tables that were measured.
func tableFlowsChart(records []bench.Record) (*plot.Plot, error) {
	s := pick(records, "table", "ns/op", map[string]any{"impl": nil, "flows": nil, "op": "hit"})
	s = append(s, pick(records, "table", "ns/op", map[string]any{"impl": "xdpct", "flows": nil, "load": 100, "op": "hit"})...)
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("Lookup of a key in random order", "flows in the table, two keys each", "ns/lookup")
	flowsAxis(p, s)
	return p, addLines(p, s.lines("flows", func(r *bench.Record) string { return fmt.Sprint(r.Params["impl"]) }))
}

// tableLoadChart is the cost of each operation over the load of the table.
func tableLoadChart(records []bench.Record) (*plot.Plot, error) {
	all := pick(records, "table", "ns/op", map[string]any{"impl": "xdpct", "flows": nil, "load": nil, "op": nil})
	flows := 0.0 // of the tables with a load of less than 100
	for i := range all {
		if number(&all[i], "load") < 100 {
			flows = number(&all[i], "flows")
		}
	}
	var s selection
	for i := range all {
		if number(&all[i], "flows") == flows {
			s = append(s, all[i])
		}
	}
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot(fmt.Sprintf("A table of %s flows over its load", short(flows)), "percent of the capacity in use", "ns/operation")
	return p, addLines(p, s.lines("load", func(r *bench.Record) string { return fmt.Sprint(r.Params["op"]) }))
}

// newFlowsChart is the rate of new flows over the size of the table.
func newFlowsChart(records []bench.Record) (*plot.Plot, error) {
	s := pick(records, "newflows", "flows/s", map[string]any{"flows": nil, "proto": nil, "nat": nil})
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("New flows while as many end, one core", "flows in the table", "million flows/s")
	flowsAxis(p, s)
	lines := s.lines("flows", func(r *bench.Record) string { return fmt.Sprintf("%v, %v", r.Params["proto"], r.Params["nat"]) })
	for _, points := range lines {
		for i := range points {
			q := &points[i]
			q.median, q.p10, q.p90 = q.median/1e6, q.p10/1e6, q.p90/1e6
		}
	}
	return p, addLines(p, lines)
}

// massExpiryChart is how long the worst bursts and ticks of the timers
// take while a table of flows expires, and without that.
func massExpiryChart(records []bench.Record) (*plot.Plot, error) {
	s := pick(records, "timers", "ns", map[string]any{"expiring": nil, "part": nil, "stat": nil})
	if len(s) == 0 {
		return nil, nil
	}
	p := newPlot("Bursts of 64 packets while flows expire", "", "µs")
	for i := range s {
		r := &s[i] // from ns; 0 has no place on the axis
		r.Median, r.P10, r.P90 = max(r.Median, 1)/1e3, max(r.P10, 1)/1e3, max(r.P90, 1)/1e3
	}
	p.Y.Min = math.Inf(1) // that of the data
	return p, addLogGroups(p, s, func(r *bench.Record) string { return fmt.Sprint(r.Params["stat"]) },
		func(r *bench.Record) string {
			return fmt.Sprintf("%v, %s expiring", r.Params["part"], short(number(r, "expiring")))
		})
}

// newPlot is an empty plot with its titles.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.Y.Min = 0
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(plainTicks), plot.TickerFunc(plainTicks)
	p.Add(newGrid())
	return p
}

package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/xdpct/xdpct/bench"
)

// selection is the records that a plot shows.
type selection []bench.Record

// pick returns the records of a scenario in a unit that have exactly these
// parameters: those with a value have it, those with nil any.
func pick(records []bench.Record, name, unit string, params map[string]any) selection {
	var list selection
	for _, r := range records {
		if r.Name == name && r.Unit == unit && fits(r.Params, params) {
			list = append(list, r)
		}
	}
	return list
}

// fits compares as text: numbers that were read back are floating point.
func fits(have, want map[string]any) bool {
	if len(have) != len(want) {
		return false
	}
	for k, v := range want {
		h, ok := have[k]
		if !ok || v != nil && fmt.Sprint(h) != fmt.Sprint(v) {
			return false
		}
	}
	return true
}

// number returns a parameter as a number, 0 if it is none.
func number(r *bench.Record, param string) float64 {
	switch v := r.Params[param].(type) {
	case float64:
		return v
	case int:
		return float64(v)
	}
	return 0
}

// point is a value over a parameter, with its spread.
type point struct{ x, median, p10, p90 float64 }

// lines sorts the records into lines over parameter x; what makes a line is
// told by label.
func (s selection) lines(x string, label func(*bench.Record) string) map[string][]point {
	lines := make(map[string][]point)
	for i := range s {
		r := &s[i]
		l := label(r)
		lines[l] = append(lines[l], point{number(r, x), r.Median, r.P10, r.P90})
	}
	for _, points := range lines {
		slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	}
	return lines
}

// names returns the keys in order.
func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// short prints a number of flows as people say it: 100 k, 1 M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + " M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + " k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

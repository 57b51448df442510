package main

import (
	"image/color"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/palette/brewer"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/xdpct/xdpct/bench"
)

func newGrid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color = color.Gray{230}
	g.Horizontal.Color = color.Gray{230}
	return g
}

// flowsAxis makes the horizontal axis one of numbers of flows, with a tick for
// each number that was measured.
func flowsAxis(p *plot.Plot, s selection) {
	ticks := make(map[float64]plot.Tick)
	for i := range s {
		n := number(&s[i], "flows")
		ticks[n] = plot.Tick{Value: n, Label: short(n)}
	}
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.ConstantTicks(slices.Collect(maps.Values(ticks)))
}

// plainTicks are the usual ticks, without zeros behind the point.
func plainTicks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'g', 4, 64)
		}
	}
	return ticks
}

// addLevel draws a dashed line at a height.
func addLevel(p *plot.Plot, y float64, label string) {
	f := plotter.NewFunction(func(float64) float64 { return y })
	f.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	f.Color = color.Gray{120}
	p.Add(f)
	p.Legend.Add(label, f)
}

// addLines draws each line with its points, and their spread as error bars.
func addLines(p *plot.Plot, lines map[string][]point) error {
	for i, name := range names(lines) {
		points := spread(lines[name])
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, marks.Color = plotutil.Color(i), plotutil.Color(i)
		marks.Shape = draw.CircleGlyph{}
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return err
		}
		bars.Color = line.Color
		p.Add(line, marks, bars)
		p.Legend.Add(name, line, marks)
		for _, q := range lines[name] {
			p.Y.Max = max(p.Y.Max, 1.25*q.p90) // room for the legend
		}
	}
	return nil
}

// spread is the points of a line with what their error bars need.
type spread []point

func (s spread) Len() int                { return len(s) }
func (s spread) XY(i int) (x, y float64) { return s[i].x, s[i].median }
func (s spread) YError(i int) (low, high float64) {
	return s[i].median - s[i].p10, s[i].p90 - s[i].median
}

// matrix is records by group and, within each group, by series.
type matrix struct {
	groups, series []string
	values         map[[2]string]float64
}

// arrange makes a matrix of the medians, in the order in which groups and
// series appear.
func arrange(s selection, group, series func(*bench.Record) string) *matrix {
	m := &matrix{values: make(map[[2]string]float64)}
	for i := range s {
		g, l := group(&s[i]), series(&s[i])
		if !slices.Contains(m.groups, g) {
			m.groups = append(m.groups, g)
		}
		if !slices.Contains(m.series, l) {
			m.series = append(m.series, l)
		}
		m.values[[2]string{g, l}] = s[i].Median
	}
	return m
}

// column returns the values of a series, one for each group.
func (m *matrix) column(series string, scale float64) plotter.Values {
	var v plotter.Values
	for _, g := range m.groups {
		v = append(v, m.values[[2]string{g, series}]*scale)
	}
	return v
}

// bars makes the bar chart of one series.
func bars(v plotter.Values, width vg.Length, c color.Color) (*plotter.BarChart, error) {
	b, err := plotter.NewBarChart(v, width)
	if err != nil {
		return nil, err
	}
	b.Color, b.LineStyle.Width = c, 0
	return b, nil
}

// addBars draws one bar a record.
func addBars(p *plot.Plot, s selection, scale float64, label func(*bench.Record) string) error {
	m := arrange(s, label, func(*bench.Record) string { return "" })
	v := m.column("", scale)
	b, err := bars(v, vg.Points(28), plotutil.Color(0))
	if err != nil {
		return err
	}
	p.Add(b)
	p.Y.Max = 1.1 * slices.Max(v)
	p.NominalX(m.groups...)
	if len(m.groups) > 5 {
		p.X.Tick.Label.Rotation = math.Pi / 8
		p.X.Tick.Label.XAlign = draw.XRight
	}
	return nil
}

// addStack draws one bar a group, made of the series on top of each other.
func addStack(p *plot.Plot, s selection, group, series func(*bench.Record) string) error {
	m := arrange(s, group, series)
	colors, err := brewer.GetPalette(brewer.TypeQualitative, "Paired", max(len(m.series), 3))
	if err != nil {
		return err
	}
	var below *plotter.BarChart
	for i, name := range m.series {
		b, err := bars(m.column(name, 1), vg.Points(40), colors.Colors()[i])
		if err != nil {
			return err
		}
		if below != nil {
			b.StackOn(below)
		}
		below = b
		p.Add(b)
		p.Legend.Add(name, b)
	}
	p.NominalX(m.groups...)
	p.X.Min, p.X.Max = -1.2, float64(len(m.groups))-0.5 // room for the legend
	return nil
}

// addLogGroups draws the values of each group side by side over a logarithmic
// axis: as points with their spread, because bars would have to begin at 0.
func addLogGroups(p *plot.Plot, s selection, group, series func(*bench.Record) string) error {
	var groups []string
	lines := make(map[string][]point)
	for i := range s {
		r := &s[i]
		if !slices.Contains(groups, group(r)) {
			groups = append(groups, group(r))
		}
		x := float64(slices.Index(groups, group(r)))
		lines[series(r)] = append(lines[series(r)], point{x, r.Median, r.P10, r.P90})
	}
	for i, name := range names(lines) {
		points := spread(lines[name])
		for k := range points {
			points[k].x += 0.12 * float64(2*i-len(lines)+1) / 2
		}
		marks, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		bars, err := plotter.NewYErrorBars(points)
		if err != nil {
			return err
		}
		marks.Shape, marks.Radius = draw.CircleGlyph{}, vg.Points(4)
		marks.Color, bars.Color = plotutil.Color(i), plotutil.Color(i)
		p.Add(marks, bars)
		p.Legend.Add(name, marks)
		for _, q := range points {
			p.Y.Max = max(p.Y.Max, 30*q.p90) // room for the legend
		}
	}
	p.NominalX(groups...)
	p.X.Min, p.X.Max = -0.5, float64(len(groups))-0.5
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	return nil
}

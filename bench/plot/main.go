// Plot draws the results of xdpct bench:
//
//	go run ./bench/plot [-o DIR] FILE ...
//
// The files are JSON lines. Each plot whose records are in them is written to
// DIR as SVG and PNG. It is a program of its own so that the gateway does not
// carry what draws.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/xdpct/xdpct/bench"
)

func main() {
	dir := flag.String("o", ".", "`directory` to write the plots to")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: plot [-o DIR] FILE ...\nFILE: results of xdpct bench -o json")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := drawAll(*dir, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// drawAll writes all plots for which there are records, and names the files.
func drawAll(dir string, files []string, out io.Writer) error {
	records, err := read(files)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	drawn := 0
	for _, c := range charts() {
		p, err := c.make(records)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if p == nil {
			continue
		}
		drawn++
		for _, form := range []string{"svg", "png"} {
			path := filepath.Join(dir, c.name+"."+form)
			if err := save(p, path, form); err != nil {
				return err
			}
			fmt.Fprintln(out, path)
		}
	}
	if drawn == 0 {
		return errors.New("the files hold no results that there is a plot for")
	}
	return nil
}

// save writes a plot with a margin around it.
func save(p *plot.Plot, path, form string) error {
	const width, height, margin = 18 * vg.Centimeter, 11 * vg.Centimeter, 4 * vg.Millimeter
	c, err := draw.NewFormattedCanvas(width, height, form)
	if err != nil {
		return err
	}
	p.Draw(draw.Crop(draw.New(c), margin, -margin, margin, -margin))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(f)
	return errors.Join(err, f.Close())
}

// chart is one plot.
type chart struct {
	name string
	make func([]bench.Record) (*plot.Plot, error) // nil if there is nothing to show
}

// charts are all plots that there are.
func charts() []chart {
	return []chart{
		{"pipeline", pipelineChart},
		{"stages", stagesChart},
		{"forward", forwardChart},
		{"table-flows", tableFlowsChart},
		{"table-load", tableLoadChart},
		{"newflows", newFlowsChart},
		{"mass-expiry", massExpiryChart},
	}
}

// read returns the records of all files.
func read(files []string) ([]bench.Record, error) {
	var records []bench.Record
	for _, name := range files {
		runs, err := bench.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			records = append(records, r.Records...)
		}
	}
	return records, nil
}

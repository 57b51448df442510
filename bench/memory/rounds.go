package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/xdpct/xdpct/bench"
)

// quantity is what one of the values of a round tells.
type quantity struct {
	params map[string]any
	unit   string
}

// subject is one parameter set of a scenario: made once, measured in rounds.
type subject interface {
	// String names the set in progress and errors.
	String() string
	// memory is what it takes at most, in bytes.
	memory() uint64
	// prepare makes the tables and flows.
	prepare() error
	// quantities tell what the values of round are; they never change once the
	// set is prepared.
	quantities() []quantity
	// round measures for about d and returns a value for each quantity.
	round(d time.Duration) ([]float64, error)
	// close gives the memory back, as far as prepare got.
	close() error
}

// measure runs a scenario: all sets are prepared, then measured in turns.
func measure(ctx context.Context, name string, o *Options, subjects []subject, p bench.Progress) ([]bench.Record, error) {
	if err := enoughMemory(subjects); err != nil {
		return nil, err
	}
	var records []bench.Record
	err := bench.Pinned(o.CPU, func() error {
		r := runner{ctx: ctx, name: name, subjects: subjects, progress: p, total: len(subjects) * (o.Rounds + 2)}
		err := r.run(o)
		if err == nil {
			records = r.records()
		}
		for _, s := range subjects {
			err = errors.Join(err, s.close())
		}
		return err
	})
	runtime.GC() // what the collector left alone while it was off
	if err != nil {
		return nil, err
	}
	return records, nil
}

// enoughMemory refuses sets that together do not fit.
func enoughMemory(subjects []subject) error {
	need := uint64(0)
	for _, s := range subjects {
		need += s.memory()
	}
	if have := bench.AvailableMemory(); have != 0 && need > have {
		return fmt.Errorf("about %d MiB of memory are needed and %d are available: measure fewer flows or sets", need>>20, have>>20)
	}
	return nil
}

// runner measures the sets of one scenario.
type runner struct {
	ctx      context.Context
	name     string
	subjects []subject
	progress bench.Progress
	done     int // steps
	total    int
	samples  [][][]float64 // by subject and quantity
}

func (r *runner) run(o *Options) error {
	r.samples = make([][][]float64, len(r.subjects))
	for i, s := range r.subjects {
		if err := r.step("prepare", s, s.prepare); err != nil {
			return err
		}
		r.samples[i] = make([][]float64, len(s.quantities()))
	}
	runtime.GC() // what preparing left behind
	for round := -1; round < o.Rounds; round++ {
		for i, s := range r.subjects {
			verb := "measure"
			if round < 0 {
				verb = "warm up"
			}
			err := r.step(verb, s, func() error {
				values, err := s.round(o.Time)
				if err == nil && round >= 0 {
					r.keep(i, values)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// step does one thing with a subject, and tells so.
func (r *runner) step(verb string, s subject, f func() error) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.progress.Step(fmt.Sprintf("%s: %s %s", r.name, verb, s), r.done, r.total)
	r.done++
	if err := f(); err != nil {
		return fmt.Errorf("%s %s: %w", r.name, s, err)
	}
	return nil
}

// keep adds the values of a round to the samples of a subject.
func (r *runner) keep(subject int, values []float64) {
	for q, v := range values {
		r.samples[subject][q] = append(r.samples[subject][q], v)
	}
}

// records sums up the rounds.
func (r *runner) records() []bench.Record {
	var list []bench.Record
	for i, s := range r.subjects {
		for q, what := range s.quantities() {
			list = append(list, bench.Summarize(r.name, what.params, what.unit, r.samples[i][q]))
		}
	}
	return list
}

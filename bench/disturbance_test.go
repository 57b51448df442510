package bench

import (
	"runtime"
	"testing"
	"time"
)

// A quarter of the pieces is kept even if all are disturbed.
func TestKeepEndsInTheEnd(t *testing.T) {
	d := &Disturbance{}
	kept := 0
	for range 100 {
		d.switches = -1 // as if there had been one since
		if d.Keep() {
			kept++
		}
	}
	if kept < 20 || kept > 30 {
		t.Errorf("%d of 100 disturbed pieces were kept, want about 25", kept)
	}
	if d.switches = switches(); !d.Keep() {
		t.Error("a piece without disturbance was left out")
	}
}

// Two threads that never wait on one CPU take it from each other.
func TestDisturbanceIsSeen(t *testing.T) {
	cpus, err := UsableCPUs()
	if err != nil {
		t.Fatal(err)
	}
	busy := func(until time.Time) error {
		for time.Now().Before(until) {
			runtime.KeepAlive(until)
		}
		return nil
	}
	until := time.Now().Add(100 * time.Millisecond)
	done := make(chan error)
	go func() { done <- Pinned(cpus[0], func() error { return busy(until) }) }()
	seen := false
	err = Pinned(cpus[0], func() error {
		d := WatchDisturbance()
		err := busy(until)
		seen = d.Seen()
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !seen {
		t.Error("100 ms on a CPU with two busy threads, and no switch was seen")
	}
}

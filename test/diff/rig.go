package diff

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Rig is one profile's gateways: the kernel first, then those that have to show
// the same.
type Rig struct {
	profile  Profile
	gateways []*Gateway
	number   int // of the next script
	// passed is for each script of the last Run how many of its steps made a packet
	// come out of the kernel.
	passed []int
}

// NewRig starts the kernel and xdpct with one and with two workers.
func NewRig(t testing.TB, p Profile) *Rig {
	t.Helper()
	r := &Rig{profile: p}
	for _, workers := range []int{0, 1, 2} {
		r.gateways = append(r.gateways, startGateway(t, p, workers))
	}
	return r
}

// Difference is where a gateway showed something else than the kernel.
type Difference struct {
	Script *Script
	// Profile and Gateway are where.
	Profile, Gateway string
	// Step is the index of the step of the script.
	Step int
	// Kernel and Got are what was shown.
	Kernel, Got *Observation
	// Gone is the deviation that the script names here while nothing differs.
	Gone string
}

// String shows the script up to the step, and what both gateways showed.
func (d *Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (profile %s, %s), step %d:\n", d.Script.Name, d.Profile, d.Gateway, d.Step+1)
	cut := *d.Script
	cut.Steps = cut.Steps[:d.Step+1]
	fmt.Fprintf(&b, "%s", &cut)
	if d.Gone != "" {
		fmt.Fprintf(&b, "all gateways show the same, so there is no deviation %q here:\n%s", d.Gone, d.Kernel)
		return b.String()
	}
	fmt.Fprintf(&b, "the kernel shows\n%s%s shows\n%s", d.Kernel, d.Gateway, d.Got)
	return b.String()
}

// running is a script that is being played.
type running struct {
	script *Script
	n      int
	views  []*view
	names  []*names
	next   int       // step to be taken
	until  time.Time // of the pause that it is in
	waits  bool
	failed *Difference
	passed int // steps whose packet came out of the kernel
}

// finished tells whether nothing is left to do.
func (r *running) finished() bool { return r.failed != nil || r.next == len(r.script.Steps) }

// Run plays all scripts at once and returns the first difference of each; nil for
// those that have none.
func (r *Rig) Run(scripts []*Script) ([]*Difference, error) {
	all := make([]*running, len(scripts))
	for i, s := range scripts {
		all[i] = r.start(s)
	}
	for {
		active, pause := r.choose(all)
		if active == nil && pause == 0 {
			break
		}
		if active == nil {
			time.Sleep(pause)
			continue
		}
		if err := r.playRound(active); err != nil {
			return nil, fmt.Errorf("profile %s: %w", r.profile.Name, err)
		}
	}
	differences := make([]*Difference, len(scripts))
	r.passed = make([]int, len(scripts))
	for i := range all {
		differences[i], r.passed[i] = all[i].failed, all[i].passed
	}
	return differences, nil
}

// Confirm plays the scripts that differed once more and returns the differences that
// come again, for each script as Run does, and the others, which depend on time: on a
// busy machine a packet may come after the end of what it should have met. Whoever
// calls it has to see to it that these are few.
func (r *Rig) Confirm(differences []*Difference) (real, chance []*Difference, err error) {
	real = make([]*Difference, len(differences))
	var again []*Script
	var index []int
	for i, d := range differences {
		if d != nil {
			again, index = append(again, d.Script), append(index, i)
		}
	}
	if len(again) == 0 {
		return real, nil, nil
	}
	second, err := r.Run(again)
	for i, d := range second {
		if d == nil {
			chance = append(chance, differences[index[i]])
		}
		real[index[i]] = d
	}
	return real, chance, err
}

// Flush makes all gateways forget all flows, so that numbers can be used again.
func (r *Rig) Flush(t testing.TB) {
	t.Helper()
	for _, g := range r.gateways {
		g.control.Flush(t)
	}
}

func (r *Rig) start(s *Script) *running {
	run := &running{script: s, n: s.Number}
	if run.n == 0 {
		run.n = r.number
		r.number = (r.number + 1) % maxScripts
	}
	for range r.gateways {
		v := newView(run.n, s.Family, r.profile.nat)
		run.views = append(run.views, v)
		run.names = append(run.names, newNames(s, v, r.profile.gatewayHosts(), r.profile.fixedPorts()))
	}
	return run
}

// choose returns the scripts that have something to do now, or, if there are none,
// how long it takes until one has; 0 if all are finished.
func (r *Rig) choose(all []*running) (active []*running, pause time.Duration) {
	now := time.Now()
	for _, run := range all {
		if run.finished() {
			continue
		}
		if step := run.script.Steps[run.next]; step.pause() {
			if !run.waits {
				run.waits, run.until = true, now.Add(step.Wait)
			}
			if left := run.until.Sub(now); left > 0 {
				if pause == 0 || left < pause {
					pause = left
				}
				continue
			}
		}
		active = append(active, run)
	}
	return active, pause
}

// playRound takes one step of each script on all gateways and compares.
func (r *Rig) playRound(active []*running) error {
	evict := false
	for _, run := range active {
		evict = evict || run.waits
		run.waits = false
	}
	results := make([]sorted, len(r.gateways))
	errs := make([]error, len(r.gateways))
	var wg sync.WaitGroup
	for i, g := range r.gateways {
		wg.Go(func() {
			var out []outgoing
			for _, run := range active {
				if o, ok := run.script.Steps[run.next].outgoing(run.views[i]); ok {
					out = append(out, o)
				}
			}
			var s shown
			s, errs[i] = g.play(evict, out)
			results[i] = s.sort()
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for _, run := range active {
		r.compare(run, results)
		run.next++
	}
	return nil
}

// compare looks at what the gateways showed of a script's step.
func (r *Rig) compare(run *running, results []sorted) {
	step := run.script.Steps[run.next]
	seen := make([]*Observation, len(r.gateways))
	for i := range r.gateways {
		if frames := results[i].packets[run.n]; frames != nil && step.Packet != nil {
			for _, f := range frames[Outside] {
				run.views[i].learn(step.Packet, f.packet)
			}
		}
		seen[i] = results[i].observe(run.n, run.names[i])
	}
	if len(seen[0].Packets) > 0 {
		run.passed++
	}
	differ := 0
	for i := 1; i < len(seen); i++ {
		if seen[0].Same(seen[i]) {
			continue
		}
		differ++
		if step.Differs == "" && run.failed == nil {
			run.failed = r.difference(run, i, seen)
		}
	}
	if step.Differs != "" && differ == 0 {
		run.failed = r.difference(run, 0, seen)
		run.failed.Gone = step.Differs
	}
}

// difference tells what gateway i showed of the step.
func (r *Rig) difference(run *running, i int, seen []*Observation) *Difference {
	return &Difference{Script: run.script, Profile: r.profile.Name, Gateway: r.gateways[i].Name, Step: run.next,
		Kernel: seen[0], Got: seen[i]}
}

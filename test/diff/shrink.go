package diff

import (
	"slices"
)

// Shrink looks for the smallest script that still differs, starting from one that
// does: first without the steps behind the difference, then with fewer steps, then
// with fewer words in its packets. It plays all candidates of a round at once.
func (r *Rig) Shrink(found *Difference) (*Difference, error) {
	best := found
	for {
		s := *best.Script
		s.Steps = s.Steps[:best.Step+1]
		smaller, err := r.firstDifference(append(withoutSteps(&s), withoutWords(&s)...))
		if err != nil || smaller == nil {
			return best, err
		}
		best = smaller
		r.number = (r.number + 1) % maxScripts
	}
}

// firstDifference plays the candidates and returns the difference of the first that
// has one.
func (r *Rig) firstDifference(candidates []*Script) (*Difference, error) {
	if len(candidates) == 0 {
		return nil, nil
	}
	differences, err := r.Run(candidates)
	if err != nil {
		return nil, err
	}
	for _, d := range differences {
		if d != nil {
			return d, nil
		}
	}
	return nil, nil
}

// withoutSteps are the script without a half, a quarter ... and each of its steps.
// The last one, where the difference showed, stays.
func withoutSteps(s *Script) (candidates []*Script) {
	n := len(s.Steps) - 1
	for size := n; size >= 1; size /= 2 {
		for from := 0; from+size <= n; from += size {
			c := *s
			c.Steps = slices.Delete(slices.Clone(s.Steps), from, from+size)
			candidates = append(candidates, &c)
		}
	}
	return candidates
}

// withoutWords are the script with one word less in one packet. The flags and types
// at the front stay.
func withoutWords(s *Script) (candidates []*Script) {
	for i, step := range s.Steps {
		if step.Packet == nil {
			continue
		}
		for w := 1; w < len(step.Packet.Words); w++ {
			c := *s
			c.Steps = slices.Clone(s.Steps)
			c.Steps[i].Packet = step.Packet.Clone()
			c.Steps[i].Packet.Words = slices.Delete(c.Steps[i].Packet.Words, w, w+1)
			candidates = append(candidates, &c)
		}
	}
	return candidates
}

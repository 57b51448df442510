package forward

const (
	searchWidth = 0.02 // share of the rate to within which the highest is found
	searchLeast = 10e3 // packets/s; what cannot hold this holds nothing
	searchMost  = 4e6  // packets/s; more than the generator can send
)

// A try runs a trial at a rate, in packets/s.
type try func(rate float64) (*outcome, error)

// highest finds the highest rate at which no more than a share of loss is lost
// (RFC 2544, partial drop rate): it floods the contender to see what gets
// through, tries somewhat less, and from there halves the range. It returns the
// trial at that rate, nil if there is none. If the flood gets through, the
// generator is the limit.
func (t try) highest(loss float64) (*outcome, error) {
	flood, err := t(searchMost)
	if err != nil || flood.loss() <= loss {
		return flood, err
	}
	through := flood.rate * (1 - flood.loss())
	low, high := float64(searchLeast), min(flood.rate, 1.3*through)
	var best *outcome
	for rate := 0.9 * through; high-low > searchWidth*high && high > 2*searchLeast; rate = (low + high) / 2 {
		out, err := t.holds(rate, loss)
		if err != nil {
			return nil, err
		}
		if out == nil {
			high = rate
		} else {
			low, best = rate, out
		}
	}
	return best, nil
}

// holds tries a rate, and again if packets were lost: something else may have
// kept the gateway from running. It returns the trial that succeeded, or nil.
func (t try) holds(rate, loss float64) (*outcome, error) {
	for range 3 {
		out, err := t(rate)
		if err != nil {
			return nil, err
		}
		if out.loss() <= loss {
			return out, nil
		}
	}
	return nil, nil
}

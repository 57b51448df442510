package nat

import "github.com/xdpct/xdpct/flowtable"

// recallDepth is how many records of a chain are brought near: with as many
// mappings as fit a chain has two on average.
const recallDepth = 3

// sources are the internal sides of some flows. Zero value = none.
type sources struct {
	chains [flowtable.Burst]uint32 // what their chains begin with
	n      int
}

// add notes the source of a flow. The loads of several calls overlap.
func (x *sources) add(m *mappings, orig *flowtable.Tuple) {
	s := side{orig.Src, orig.SrcPort, orig.Proto, orig.Family}
	x.chains[x.n&(flowtable.Burst-1)] = *m.head(&s)
	x.n++
}

// touch loads the first records of all chains, a step of all at a time.
func (x *sources) touch(m *mappings) {
	for range recallDepth {
		for i, at := range x.chains[:min(x.n, flowtable.Burst)] {
			x.chains[i] = m.rec[at].next
		}
	}
}

// Recall brings the mappings of some proposals' sources near, at most
// flowtable.Burst, so that the misses of Choose and Bind overlap. It changes
// nothing, and costs nothing while no mapping is recorded.
//
// Hot: once per burst of new flows. 0 allocs.
func (n *Translator) Recall(origs []*flowtable.Tuple) {
	if n.m.inUse() == 0 {
		return
	}
	var x sources
	for _, orig := range origs {
		x.add(n.m, orig)
	}
	x.touch(n.m)
}

// RecallHeld is Recall for flows that will end: for Release.
//
// Hot: once per batch of flows that end. 0 allocs.
func (n *Translator) RecallHeld(t *flowtable.Table, flows []uint32) {
	if n.m.inUse() == 0 {
		return
	}
	var x sources
	var orig flowtable.Tuple
	for _, idx := range flows {
		if t.Flow(idx).Holds()&holdsMapping != 0 {
			t.Tuple(idx, flowtable.DirOriginal, &orig)
			x.add(n.m, &orig)
		}
	}
	x.touch(n.m)
}

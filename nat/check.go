package nat

import (
	"fmt"

	"github.com/xdpct/xdpct/flowtable"
)

// Check compares the mappings with the flows of t that hold them and returns the first
// thing that does not fit. For tests and the invariants build: it takes long and
// allocates. Owner: worker.
func (n *Translator) Check(t *flowtable.Table) error {
	held := make(map[uint32]uint32)
	for idx := uint32(1); idx <= t.HighWater(); idx++ {
		if t.Gen(idx)&1 != 0 || t.Flow(idx).Holds()&holdsMapping == 0 {
			continue
		}
		var orig, reply flowtable.Tuple
		t.Tuple(idx, flowtable.DirOriginal, &orig)
		t.Tuple(idx, flowtable.DirReply, &reply)
		in, ext := sourceSides(&orig, &reply)
		i := n.m.find(&in, &ext)
		if i == 0 {
			return fmt.Errorf("flow %d holds a mapping of %+v to %+v that is not there", idx, in, ext)
		}
		held[i]++
	}
	used := 0
	for i := uint32(1); i < n.m.fresh.Load(); i++ {
		refs := n.m.rec[i].refs
		if refs != held[i] {
			return fmt.Errorf("mapping %d counts %d flows, %d hold it", i, refs, held[i])
		}
		if refs > 0 {
			used++
		}
	}
	if used != n.m.inUse() {
		return fmt.Errorf("%d mappings are in use, the table counts %d", used, n.m.inUse())
	}
	return nil
}

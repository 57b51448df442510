//go:build invariants

package flowtable

import "fmt"

// What a free record holds in the invariants build: whoever uses it after its time
// finds no flow, and whoever writes to it is found when it is used again.
const (
	poison64 = 0xdead_f10e_dead_f10e
	poison32 = 0xdead_f10e
)

// poison fills a record that has cooled.
func (t *Table) poison(idx uint32) {
	f := &t.flows[idx]
	f.addr = [2]uint64{poison64, poison64}
	f.ports, f.Created, f.tcp, f.Ext, f.NextHopGen = poison64, poison32, poison32, poison32, poison32
}

// checkPoison panics if a free record was written to.
func (t *Table) checkPoison(idx uint32) {
	f := &t.flows[idx]
	if f.addr != [2]uint64{poison64, poison64} || f.ports != poison64 || f.Created != poison32 ||
		f.tcp != poison32 || f.Ext != poison32 || f.NextHopGen != poison32 || f.gen&1 == 0 {
		panic(fmt.Sprintf("flowtable: record %d was changed while it was free: %+v", idx, *f))
	}
}

package flowtable

// changes remembers which keys were inserted or removed, by some bits of their
// hashes: what a burst has found out about other keys is still true.
type changes struct {
	bits [64]uint64
	any  bool
}

// note remembers a key.
func (c *changes) note(hash uint64) {
	c.bits[hash>>6&63] |= 1 << (hash & 63)
	c.any = true
}

// Settle forgets what was inserted and removed so far: what Lookup says from
// here on can be checked by Changed.
//
// Hot: once per burst.
func (t *Table) Settle() {
	if t.changes.any {
		t.changes = changes{}
	}
}

// Changed tells whether a flow one of whose tuples has this hash may have been
// inserted or removed since Settle: then Lookup may say something else now. It
// is wrong for 1 key in 32 after 64 insertions.
//
// Hot: once per packet.
func (t *Table) Changed(hash uint64) bool {
	return t.changes.any && t.changes.bits[hash>>6&63]>>(hash&63)&1 != 0
}

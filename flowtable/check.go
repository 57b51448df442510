package flowtable

import "fmt"

// Check walks the whole table and returns the first thing that does not fit: keys and
// records, records that are live, cooling or free, extension records with and without
// a flow. For tests and the invariants build: it takes long and allocates. Owner:
// worker.
func (t *Table) Check() error {
	if err := t.checkIndex(); err != nil {
		return err
	}
	if err := t.checkRecords(); err != nil {
		return err
	}
	return t.checkExts()
}

// checkIndex compares the index with the records.
func (t *Table) checkIndex() error {
	overflow := make(map[uint32]int)
	seen := make(map[Ref]bool)
	for b := range t.buckets {
		for i := range bucketSlots {
			if err := t.checkSlot(uint32(b), i, seen, overflow); err != nil {
				return err
			}
		}
	}
	for b := range t.buckets {
		if int(t.buckets[b].overflow) != overflow[uint32(b)] {
			return fmt.Errorf("bucket %d counts %d overflowed keys, has %d", b, t.buckets[b].overflow, overflow[uint32(b)])
		}
	}
	if len(seen) != 2*t.Len() {
		return fmt.Errorf("%d keys in the index for %d flows", len(seen), t.Len())
	}
	return nil
}

// checkSlot checks one slot of the index, and notes what it holds.
func (t *Table) checkSlot(b uint32, i int, seen map[Ref]bool, overflow map[uint32]int) error {
	bk := &t.buckets[b]
	tag, ref, away := bk.tag(i), bk.refs[i], bk.away>>i&1 != 0
	switch {
	case (tag == 0) != (ref == 0):
		return fmt.Errorf("bucket %d slot %d: tag %d with ref %d", b, i, tag, ref)
	case tag == 0 && away:
		return fmt.Errorf("bucket %d slot %d: empty and away", b, i)
	case tag == 0:
		return nil
	case seen[ref]:
		return fmt.Errorf("ref %d is twice in the index", ref)
	case t.flows[ref.Index()].gen&1 != 0:
		return fmt.Errorf("ref %d of the index has no flow", ref)
	}
	seen[ref] = true
	var tu Tuple
	t.Tuple(ref.Index(), ref.Dir(), &tu)
	hash := t.Hash(&tu)
	home := t.bucketOf(hash)
	where := home
	if away {
		where = t.alternative(home, tag)
		overflow[home]++
	}
	if where != b || tag != tagOf(hash) {
		return fmt.Errorf("ref %d is in bucket %d (away %v, tag %d), not where it hashes", ref, b, away, tag)
	}
	return nil
}

// checkRecords compares the records with the lists of those without a flow.
func (t *Table) checkRecords() error {
	idle := make(map[uint32]bool)
	note := func(idx uint32, list string) error {
		if idx == 0 || idx > t.highWater || idle[idx] || t.flows[idx].gen&1 == 0 {
			return fmt.Errorf("record %d of the %s records is out of range, on a list already or in use", idx, list)
		}
		idle[idx] = true
		return nil
	}
	for idx := t.freeFlow; idx != 0; idx = t.flows[idx].next {
		if err := note(idx, "free"); err != nil {
			return err
		}
	}
	for _, idx := range t.cooled {
		if idx == 0 {
			continue
		}
		if err := note(idx, "cooling"); err != nil {
			return err
		}
	}
	if live := int(t.highWater) - len(idle); live != t.Len() {
		return fmt.Errorf("%d records of %d have no flow, the table counts %d flows", len(idle), t.highWater, t.Len())
	}
	return nil
}

// checkExts compares the extension records with the flows that have one.
func (t *Table) checkExts() error {
	taken := make(map[uint32]bool)
	note := func(e uint32) error {
		if e == 0 || e > t.extsUsed || taken[e] {
			return fmt.Errorf("extension record %d is out of range or taken twice", e)
		}
		taken[e] = true
		return nil
	}
	for idx := uint32(1); idx <= t.highWater; idx++ {
		if f := &t.flows[idx]; f.gen&1 == 0 && f.Ext != 0 {
			if err := note(f.Ext); err != nil {
				return fmt.Errorf("flow %d: %w", idx, err)
			}
		}
	}
	for e := t.freeExt; e != 0; e = t.exts[e].next {
		if err := note(e); err != nil {
			return fmt.Errorf("free list: %w", err)
		}
	}
	if len(taken) != int(t.extsUsed) {
		return fmt.Errorf("%d extension records of %d are with a flow or free", len(taken), t.extsUsed)
	}
	return nil
}

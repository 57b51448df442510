package flowtable

// What one flow has announced is found by the flow. All of this takes the lock: it
// is for helpers and for the start and end of flows.

// OfMaster returns the oldest pending expectation of a flow for which match is true;
// ID 0 = there is none. match must not use the table.
func (x *Expectations) OfMaster(id FlowID, match func(*Expectation) bool) (found Expectation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.byMaster[id] {
		if match(&e.exp) {
			return e.exp
		}
	}
	return found
}

// Change lets f change the pending expectations of a flow: their Flags and Deadline.
// f returns whether it has, and must not use the table.
func (x *Expectations) Change(id FlowID, f func(*Expectation) bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, old := range x.byMaster[id] {
		changed := &expectEntry{exp: old.exp, shard: old.shard}
		if !f(&changed.exp) {
			continue
		}
		list := append(without(x.list(old.shard), old), changed)
		x.shards[old.shard].Store(&list)
		old.taken.Store(true) // whoever has found it looks again
		x.byID[old.exp.ID] = changed
		x.byMaster[id][i] = changed
	}
}

// RemoveMaster removes the expectations of a flow for which match is true, nil = all,
// the youngest first, and calls f, if it is not nil, for each, after the removal.
// match must not use the table.
func (x *Expectations) RemoveMaster(id FlowID, match func(*Expectation) bool, f func(*Expectation)) {
	if !x.Any() {
		return
	}
	var gone []*expectEntry
	x.mu.Lock()
	list := x.byMaster[id]
	for i := len(list) - 1; i >= 0; i-- {
		if match == nil || match(&list[i].exp) {
			gone = append(gone, list[i])
		}
	}
	for _, e := range gone {
		x.drop(e)
	}
	x.mu.Unlock()
	report(gone, f)
}

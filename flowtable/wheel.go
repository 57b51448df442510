package flowtable

import "math/bits"

// The wheel finds flows whose time is over. Slots are doubly linked lists
// through the records (next, prev); a flow is in at most one.
//
//	level   0: 64 slots of 1/4 s     1: of 16 s     2: of 17 min
//	level   3: 64 slots of 18 h      4: of 48 days
//
// Level 0 rounds a deadline up, so that an entry is over when it fires, at
// most 1/4 s late. Coarser levels round down: an entry fires before its
// deadline and is armed again, a level or more further down. The same rule
// covers flows that were refreshed since they were armed: a refresh only moves
// the deadline away, the entry fires early and is armed again. A deadline that
// moves towards now is armed again at once.
//
// Bounds: arm and disarm are O(1); NextExpired handles at most budget entries.
// A slot that is due is moved as a whole to the level's firing list, so that
// entries armed meanwhile never prolong it; fine levels go first, because
// entries of coarse ones are early anyway. Empty slots are skipped by a bitmap
// per level, so that catching up after minutes costs nothing extra. After such
// a pause a slot may hold old entries and new ones of the next turn: the new
// ones fire early, which is harmless.

const (
	wheelLevels = 5
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	// wheelShift: a slot of level 0 is 1<<wheelShift ticks.
	wheelShift = 2
	// firingSlot is the pseudo slot of the firing list of level 0.
	firingSlot = wheelLevels * wheelSlots
	// slotMark in Flow.prev says that the entry is the first of its list; the
	// other bits are the slot.
	slotMark = 1 << 31
)

// wheel is the timer wheel of a table.
type wheel struct {
	// now is the latest tick seen, extended to 64 bits; 0 = not started.
	now uint64
	// cursor is, per level, the number of the first slot not yet fired.
	cursor [wheelLevels]uint64
	// occupied has, per level, one bit for each slot that has entries.
	occupied [wheelLevels]uint64
	// heads are the first entries of all slots, then of the firing lists.
	heads [firingSlot + wheelLevels]uint32
}

// levelShift returns the width of a level's slots, as a power of two of ticks.
func levelShift(level int) uint { return uint(wheelShift + level*wheelBits) }

// advance moves the wheel's time to now; it never goes back.
func (w *wheel) advance(now Tick) {
	if w.now == 0 {
		w.now = 1<<32 + uint64(now)
		for level := range w.cursor {
			w.cursor[level] = w.now>>levelShift(level) + 1
		}
		return
	}
	if d := int32(now - Tick(w.now)); d > 0 {
		w.now += uint64(d)
	}
}

// slotFor returns the slot for a deadline.
func (w *wheel) slotFor(deadline Tick) uint32 {
	d := int32(deadline - Tick(w.now))
	if d <= 0 {
		return firingSlot
	}
	when := w.now + uint64(d)
	const up = 1<<wheelShift - 1
	if s := (when + up) >> wheelShift; s-w.now>>wheelShift <= wheelSlots {
		return uint32(s & (wheelSlots - 1))
	}
	level := 1
	for ; level < wheelLevels-1; level++ {
		shift := levelShift(level)
		if when>>shift-w.now>>shift < wheelSlots {
			break
		}
	}
	return uint32(level*wheelSlots) + uint32(when>>levelShift(level)&(wheelSlots-1))
}

// arm puts a flow, which must not be armed, into the slot of its deadline.
func (t *Table) arm(idx uint32, now, deadline Tick) {
	w := &t.wheel
	w.advance(now)
	slot := w.slotFor(deadline)
	f := &t.flows[idx]
	head := w.heads[slot]
	f.next, f.prev = head, slotMark|slot
	if head != 0 {
		t.flows[head].prev = idx
	}
	w.heads[slot] = idx
	if slot < firingSlot {
		w.occupied[slot/wheelSlots] |= 1 << (slot % wheelSlots)
	}
}

// disarm takes a flow out of its slot, if it is in one.
func (t *Table) disarm(idx uint32) {
	f := &t.flows[idx]
	next, prev := f.next, f.prev
	if prev == 0 {
		return
	}
	if prev&slotMark != 0 {
		slot := prev &^ slotMark
		t.wheel.heads[slot] = next
		if next == 0 && slot < firingSlot {
			t.wheel.occupied[slot/wheelSlots] &^= 1 << (slot % wheelSlots)
		}
	} else {
		t.flows[prev].next = next
	}
	if next != 0 {
		t.flows[next].prev = prev
	}
	f.next, f.prev = 0, 0
}

// due returns the next entry to fire, 0 if there is none yet.
func (t *Table) due() uint32 {
	w := &t.wheel
	for level := range wheelLevels {
		firing := &w.heads[firingSlot+level]
		if *firing != 0 {
			return *firing
		}
		slot, ok := w.nextSlot(level)
		if !ok {
			continue
		}
		head := w.heads[slot]
		w.heads[slot] = 0
		w.occupied[level] &^= 1 << (slot % wheelSlots)
		*firing = head
		t.flows[head].prev = slotMark | uint32(firingSlot+level)
		return head
	}
	return 0
}

// nextSlot returns the first occupied slot of a level that is due, and moves
// the cursor behind it.
func (w *wheel) nextSlot(level int) (uint32, bool) {
	last := w.now >> levelShift(level) // the latest slot that is due
	c := w.cursor[level]
	if c > last {
		return 0, false
	}
	if last-c >= wheelSlots {
		c = last - wheelSlots + 1 // a full turn or more: all slots are due
	}
	ahead := bits.RotateLeft64(w.occupied[level], -int(c%wheelSlots))
	skip := uint64(bits.TrailingZeros64(ahead))
	if ahead == 0 || c+skip > last {
		w.cursor[level] = last + 1
		return 0, false
	}
	w.cursor[level] = c + skip + 1
	return uint32(level*wheelSlots) + uint32((c+skip)%wheelSlots), true
}

// NextExpired returns a flow whose time is over, 0 if there is none or if the
// budget is used up. It handles at most *budget entries of the wheel (flows
// returned, and entries armed again) and takes them off *budget. The caller
// emits events, releases NAT and calls Remove; a flow that it keeps must be
// refreshed, because its timer is off.
//
// Hot: once per burst; 12 ns when nothing is due (BenchmarkExpireIdle), 0 allocs.
func (t *Table) NextExpired(now Tick, budget *int) uint32 {
	t.wheel.advance(now)
	for *budget > 0 {
		idx := t.due()
		if idx == 0 {
			return 0
		}
		*budget--
		f := &t.flows[idx]
		next := RefOf(f.next, DirOriginal)
		prefetchFlows(&t.flows[0], &next, 1)
		t.disarm(idx)
		if f.Expired(now) {
			return idx
		}
		t.arm(idx, now, f.Deadline())
	}
	return 0
}

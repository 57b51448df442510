package flowtable

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// announced returns an expectation of a TCP flow to the i-th port.
func announced(i int, master uint32) *Expectation {
	return &Expectation{
		Tuple: Tuple{Src: packet.Addr{Lo: 1}, Dst: packet.Addr{Lo: 2}, DstPort: uint16(i),
			Proto: packet.ProtoTCP, Family: packet.IPv4},
		Master: FlowID{Index: master, Gen: 2}, Helper: 1, SavedPort: uint16(i), Deadline: 4800,
	}
}

// flowFor returns a tuple that e announces.
func flowFor(e *Expectation) Tuple {
	tu := e.Tuple
	tu.SrcPort = 45678
	return tu
}

func TestExpectationIsTakenOnce(t *testing.T) {
	x := NewExpectations(100)
	if x.Any() {
		t.Error("Any in an empty table")
	}
	e := announced(6400, 1)
	if r := x.Add(e); r != AddOK || e.ID == 0 || !x.Any() || x.Len() != 1 {
		t.Fatalf("Add: %v, id %d", r, e.ID)
	}
	tu := flowFor(e)
	for name, change := range map[string]func(*Tuple){
		"source":           func(u *Tuple) { u.Src.Lo++ },
		"destination":      func(u *Tuple) { u.Dst.Lo++ },
		"destination port": func(u *Tuple) { u.DstPort++ },
		"protocol":         func(u *Tuple) { u.Proto = packet.ProtoUDP },
		"family":           func(u *Tuple) { u.Family = packet.IPv6 },
	} {
		other := tu
		change(&other)
		if _, ok := x.Take(&other, 0); ok {
			t.Errorf("another %s was taken for the expected one", name)
		}
	}
	if _, ok := x.Take(&tu, 4800); ok {
		t.Error("taken after its deadline")
	}
	if got, ok := x.Find(&tu, 0); !ok || got != *e {
		t.Errorf("Find: %+v, %v", got, ok)
	}
	if got, ok := x.Take(&tu, 4799); !ok || got != *e {
		t.Errorf("Take: %+v, %v", got, ok)
	}
	if _, ok := x.Take(&tu, 0); ok || x.Any() || len(x.byID) != 0 || len(x.byMaster) != 0 {
		t.Error("something is left after Take")
	}
}

func TestAddResults(t *testing.T) {
	x := NewExpectations(2)
	first := announced(1, 1)
	x.Add(first)
	port := announced(1, 2)
	port.Tuple.SrcPort = 20
	again := announced(1, 1)
	for _, c := range []struct {
		name string
		e    *Expectation
		want AddResult
		len  int
	}{
		{"equal, same master", again, AddReplaced, 1},
		{"equal, another master", announced(1, 2), AddClash, 1},
		{"within a wider one", port, AddClash, 1},
		{"another port", announced(2, 2), AddOK, 2},
		{"full", announced(3, 2), AddFull, 2},
		{"replace when full", announced(2, 2), AddReplaced, 2},
	} {
		if got := x.Add(c.e); got != c.want || x.Len() != c.len {
			t.Errorf("%s: %v, len %d, want %v, %d", c.name, got, x.Len(), c.want, c.len)
		}
	}
	if _, ok := x.Remove(first.ID); ok {
		t.Error("the replaced one is still there")
	}
	if got, ok := x.Remove(again.ID); !ok || got != *again {
		t.Errorf("Remove: %+v, %v", got, ok)
	}
}

func TestExpectationsDieWithMasterAndTime(t *testing.T) {
	x := NewExpectations(100)
	for i := range 10 {
		e := announced(i+1, uint32(i%2+1))
		e.Deadline = Tick(100 + i)
		x.Add(e)
	}
	n := 0
	x.RemoveMaster(FlowID{Index: 1, Gen: 4}, nil, func(*Expectation) { n++ })
	if n != 0 {
		t.Error("a flow that reused the record took expectations with it")
	}
	x.RemoveMaster(FlowID{Index: 1, Gen: 2}, nil, func(e *Expectation) {
		if e.Master.Index != 1 || x.Len() != 5 {
			t.Errorf("removed %+v, %d left", e, x.Len())
		}
		n++
	})
	if n != 5 {
		t.Errorf("%d removed with their master, want 5", n)
	}
	n = 0
	x.Expire(105, func(e *Expectation) {
		if e.Deadline > 105 {
			t.Errorf("expired %+v", e)
		}
		n++
	})
	if n != 3 || x.Len() != 2 { // deadlines 101, 103, 105 of 101..109
		t.Errorf("%d expired, %d left", n, x.Len())
	}
	n = 0
	x.Each(func(*Expectation) bool { n++; return n < 1 })
	if n != 1 {
		t.Errorf("Each went on after false: %d", n)
	}
	x.Expire(1000, nil)
	if x.Any() {
		t.Error("some are left")
	}
}

func TestPermanentAndInactive(t *testing.T) {
	x := NewExpectations(10)
	e := announced(1, 1)
	e.Flags = ExpectPermanent
	x.Add(e)
	tu := flowFor(e)
	for range 2 {
		if _, ok := x.Take(&tu, 0); !ok {
			t.Error("a permanent expectation was consumed")
		}
	}
	off := announced(2, 1)
	off.Flags = ExpectInactive
	x.Add(off)
	tu = flowFor(off)
	if _, ok := x.Take(&tu, 0); ok {
		t.Error("an inactive expectation was taken")
	}
}

// Both callers have found the entry before either takes the lock.
func TestSecondDropLoses(t *testing.T) {
	x := NewExpectations(10)
	e := announced(1, 1)
	x.Add(e)
	x.Add(announced(2, 1))
	tu := flowFor(e)
	found := x.find(&tu, 0)
	x.mu.Lock()
	first, second := x.drop(found), x.drop(found)
	x.mu.Unlock()
	if !first || second || x.Len() != 1 {
		t.Errorf("dropped: %v, again: %v, %d left", first, second, x.Len())
	}
}

func TestOneTakerWins(t *testing.T) {
	x := NewExpectations(1000)
	var wins [1000]atomic.Int32
	var wg sync.WaitGroup
	for i := range wins {
		x.Add(announced(i+1, uint32(i+1)))
	}
	for range 4 {
		wg.Go(func() {
			for i := range wins {
				tu := flowFor(announced(i+1, 0))
				if _, ok := x.Take(&tu, 0); ok {
					wins[i].Add(1)
				}
				x.Each(func(*Expectation) bool { return false })
				x.RemoveMaster(FlowID{Index: uint32(i+2) &^ 1, Gen: 9}, nil, nil)
			}
		})
	}
	wg.Wait()
	for i := range wins {
		if n := wins[i].Load(); n != 1 {
			t.Errorf("expectation %d was taken %d times", i, n)
		}
	}
	if x.Len() != 0 {
		t.Errorf("%d left", x.Len())
	}
}

func TestAddWithinEndsTheOldest(t *testing.T) {
	x := NewExpectations(100)
	var ids []uint32
	for i := range 3 {
		e := announced(i+1, 1)
		e.Class = 1
		if ended, r := x.AddWithin(e, 3); r != AddOK || ended.ID != 0 {
			t.Fatalf("%v, ended %d", r, ended.ID)
		}
		ids = append(ids, e.ID)
	}
	if ended, r := x.AddWithin(announced(9, 1), 1); r != AddOK || ended.ID != 0 {
		t.Errorf("another class: %v, ended %d", r, ended.ID)
	}
	again := announced(2, 1)
	again.Class = 1
	if ended, r := x.AddWithin(again, 3); r != AddReplaced || ended.ID != ids[1] {
		t.Errorf("an equal one: %v, ended %d, want %d", r, ended.ID, ids[1])
	}
	more := announced(4, 1)
	more.Class = 1
	if ended, r := x.AddWithin(more, 3); r != AddOK || ended.ID != ids[0] || x.Len() != 4 {
		t.Errorf("one more: %v, ended %d, want %d; %d pending", r, ended.ID, ids[0], x.Len())
	}
}

func TestOneHostCannotFillTheTable(t *testing.T) {
	x := NewExpectations(2 * MaxPerHost)
	for i := range MaxPerHost {
		x.Add(announced(i+1, uint32(i)))
	}
	if r := x.Add(announced(5000, 9999)); r != AddHostFull {
		t.Errorf("one more of the host: %v", r)
	}
	if _, r := x.AddWithin(announced(5000, 3), 1); r != AddOK {
		t.Errorf("in place of its own: %v", r)
	}
	other := announced(5001, 9999)
	other.MasterOrig.Src.Lo = 77
	if r := x.Add(other); r != AddOK {
		t.Errorf("another host: %v", r)
	}
	tu := flowFor(announced(7, 0))
	if _, ok := x.Take(&tu, 0); !ok || x.Add(announced(5002, 9998)) != AddOK {
		t.Error("a place that became free is not used")
	}
}

func TestExpectationFromAnyHost(t *testing.T) {
	x := NewExpectations(10)
	e := announced(5004, 1)
	e.Tuple.Src = packet.Addr{}
	x.Add(e)
	if r := x.Add(announced(5004, 2)); r != AddClash {
		t.Errorf("a narrower one of another master: %v", r)
	}
	tu := flowFor(e)
	tu.Src = packet.Addr{Lo: 99}
	if _, ok := x.Take(&tu, 0); !ok {
		t.Error("not found from another host")
	}
}

func TestChangeExpectations(t *testing.T) {
	x := NewExpectations(10)
	e, other := announced(1, 1), announced(2, 1)
	e.Flags = ExpectPermanent | ExpectInactive
	x.Add(e)
	x.Add(other)
	tu := flowFor(e)
	if _, ok := x.Take(&tu, 0); ok {
		t.Error("an inactive one is found")
	}
	x.Change(e.Master, func(c *Expectation) bool {
		c.Flags, c.Deadline = ExpectPermanent, 99
		return c.ID == e.ID
	})
	for range 2 { // permanent
		if got, ok := x.Take(&tu, 98); !ok || got.ID != e.ID || got.Deadline != 99 {
			t.Fatalf("%+v, %v", got, ok)
		}
	}
	if _, ok := x.Take(&tu, 99); ok {
		t.Error("found after its deadline")
	}
	if got := x.OfMaster(e.Master, func(c *Expectation) bool { return c.Tuple.DstPort == 2 }); got.ID != other.ID || got.Deadline != other.Deadline {
		t.Errorf("the other one: %+v", got)
	}
	var gone []uint32
	x.RemoveMaster(e.Master, nil, func(c *Expectation) { gone = append(gone, c.ID) })
	if len(gone) != 2 || gone[0] != other.ID || gone[1] != e.ID || x.Any() || len(x.byID)+len(x.byMaster)+len(x.byHost) != 0 {
		t.Errorf("removed %v, %d left", gone, x.Len())
	}
}

// What was found before a change cannot be taken after it.
func TestChangedEntryIsStale(t *testing.T) {
	x := NewExpectations(10)
	e := announced(1, 1)
	x.Add(e)
	tu := flowFor(e)
	old := x.find(&tu, 0)
	x.Change(e.Master, func(*Expectation) bool { return true })
	if x.drop(old) || x.Len() != 1 {
		t.Error("the old entry was taken")
	}
	if _, ok := x.Take(&tu, 0); !ok {
		t.Error("the new entry is not found")
	}
}

// Whoever takes an expectation while it is being changed gets it, old or new.
func TestTakeWhileItChanges(t *testing.T) {
	x := NewExpectations(10)
	for range 2000 {
		e := announced(1, 1)
		x.Add(e)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for d := range Tick(4) {
				x.Change(e.Master, func(c *Expectation) bool {
					c.Deadline += d
					return true
				})
			}
		}()
		tu := flowFor(e)
		if _, ok := x.Take(&tu, 0); !ok {
			t.Fatal("not found")
		}
		<-done
		if x.Any() {
			t.Fatal("it is back")
		}
	}
}

package memory

import (
	"fmt"
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// TablePeer is another hash table to measure beside the product's, with the
// same keys. A flow is two of them, as in the flow table.
type TablePeer interface {
	// Name is the value of parameter impl.
	Name() string
	// Memory is what a table of so many flows takes at most, in bytes.
	Memory(flows int) uint64
	// Open makes a table of so many flows.
	Open(flows int) (PeerTable, error)
}

// PeerTable is a table of a TablePeer.
type PeerTable interface {
	// Round measures each operation for about a quarter of d.
	Round(d time.Duration) (TableCosts, error)
	// Close frees the table.
	Close() error
}

// TableCosts are nanoseconds for an operation with one flow's key: lookups of
// keys in random order, and insertion and removal of both keys of a flow.
type TableCosts struct{ Hit, Miss, Insert, Remove float64 }

// peerSubject measures a TablePeer.
type peerSubject struct {
	peer  TablePeer
	flows int
	table PeerTable
}

func (s *peerSubject) String() string { return fmt.Sprintf("%s flows=%d", s.peer.Name(), s.flows) }

func (s *peerSubject) memory() uint64 { return s.peer.Memory(s.flows) }

func (s *peerSubject) prepare() (err error) {
	s.table, err = s.peer.Open(s.flows)
	return err
}

func (s *peerSubject) close() error {
	if s.table == nil {
		return nil
	}
	return s.table.Close()
}

func (s *peerSubject) quantities() []quantity {
	var list []quantity
	for _, op := range []string{"hit", "miss", "insert", "remove"} {
		list = append(list, quantity{map[string]any{"impl": s.peer.Name(), "flows": s.flows, "op": op}, "ns/op"})
	}
	return list
}

func (s *peerSubject) round(d time.Duration) ([]float64, error) {
	c, err := s.table.Round(d)
	return []float64{c.Hit, c.Miss, c.Insert, c.Remove}, err
}

// goMaps is what a Go program would take first: map[Tuple]uint32.
type goMaps struct{}

func (goMaps) Name() string { return "go map" }

// Memory: 2 keys of 40 bytes and 4 of value, a control byte, and 7/8 to 7/16
// full.
func (goMaps) Memory(flows int) uint64 { return uint64(flows) * 2 * 48 * 2 }

func (goMaps) Open(flows int) (PeerTable, error) {
	t := &goMap{flows: flows, m: make(map[flowtable.Tuple]uint32, 2*flows), keys: newKeys(flows)}
	var k flowtable.Tuple
	for i := range flows {
		keyOf(i, &k)
		t.m[k] = uint32(2 * i)
		t.m[k.Invert()] = uint32(2*i + 1)
	}
	return t, nil
}

type goMap struct {
	flows int
	m     map[flowtable.Tuple]uint32
	keys  *keys
}

func (t *goMap) Close() error {
	t.m = nil
	return nil
}

func (t *goMap) Round(d time.Duration) (TableCosts, error) {
	var c TableCosts
	var err error
	if c.Hit, err = t.lookup(d/4, 0); err != nil {
		return c, err
	}
	if c.Miss, err = t.lookup(d/4, t.flows); err != nil {
		return c, err
	}
	c.Insert, c.Remove = t.change(d / 2)
	return c, nil
}

func (t *goMap) lookup(d time.Duration, first int) (float64, error) {
	n, found, spent := 0, 0, time.Duration(0)
	for spent < d {
		t.keys.pick(first, t.flows)
		start := time.Now()
		for i := range t.keys.tuples {
			if _, ok := t.m[t.keys.tuples[i]]; ok {
				found++
			}
		}
		spent += time.Since(start)
		n += keyChunk
	}
	if want := n * boolInt(first == 0); found != want {
		return 0, fmt.Errorf("%d of %d keys were found, want %d", found, n, want)
	}
	return perOperation(spent, n), nil
}

// change takes random flows out, both keys, and puts them back.
func (t *goMap) change(d time.Duration) (insert, remove float64) {
	var inserting, removing time.Duration
	n := 0
	batch := make([]int, min(t.flows/2, keyChunk))
	for inserting+removing < d {
		drawFlows(t.keys.rng, t.flows, batch)
		chosen := t.keys.tuples[:len(batch)]
		for k, i := range batch {
			keyOf(i, &chosen[k])
		}
		start := time.Now()
		for i := range chosen {
			delete(t.m, chosen[i])
			delete(t.m, chosen[i].Invert())
		}
		removing += time.Since(start)
		start = time.Now()
		for i := range chosen {
			t.m[chosen[i]] = uint32(i)
			t.m[chosen[i].Invert()] = uint32(i)
		}
		inserting += time.Since(start)
		n += len(batch)
	}
	return perOperation(inserting, n), perOperation(removing, n)
}

package memory

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/flowtable"
)

// Table measures the flow table by itself, over its size and over its load, and
// other tables of the same size beside it: a Go map, and Options.Peers.
func Table(ctx context.Context, o Options, p bench.Progress) ([]bench.Record, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var subjects []subject
	for _, flows := range o.Flows {
		subjects = append(subjects, &tableSubject{flows: flows, load: 100}, &peerSubject{peer: goMaps{}, flows: flows})
		for _, peer := range o.Peers {
			subjects = append(subjects, &peerSubject{peer: peer, flows: flows})
		}
	}
	for _, load := range o.Loads {
		if load != 100 {
			subjects = append(subjects, &tableSubject{flows: o.loaded(), load: load})
		}
	}
	for _, flows := range o.Flows {
		if flows >= weighedFrom {
			subjects = append(subjects, &weight{flows: flows})
		}
	}
	return measure(ctx, "table", &o, subjects, p)
}

// loaded is the number of flows that a table's load is varied with, and that
// expire at once: the largest up to a million, else the smallest.
func (o *Options) loaded() int {
	sizes := slices.Sorted(slices.Values(o.Flows))
	most := sizes[0]
	for _, n := range sizes {
		if n <= 1_000_000 {
			most = n
		}
	}
	return most
}

// tableSubject is a flow table with so many flows, that are a share of its
// capacity.
type tableSubject struct {
	flows, load int
	table       *flowtable.Table
	index       []uint32 // of the i-th flow
	keys        *keys
	batch       []int // numbers of the flows that are taken out and put back
	now         flowtable.Tick
	over        [2]flowtable.Expired // for expire
}

func (s *tableSubject) String() string { return fmt.Sprintf("flows=%d load=%d%%", s.flows, s.load) }

func (s *tableSubject) memory() uint64 { return uint64(s.flows*100/s.load)*94 + uint64(s.flows)*4 }

func (s *tableSubject) prepare() error {
	var err error
	if s.table, err = flowtable.New(flowtable.Options{MaxFlows: s.flows * 100 / s.load, HugePages: true}); err != nil {
		return err
	}
	s.index, s.keys, s.now = make([]uint32, s.flows), newKeys(s.flows), 1
	for i := range s.flows {
		if err := s.insert(i); err != nil {
			return err
		}
		s.table.Refresh(s.index[i], flowtable.MaxTimeout, s.now)
	}
	s.batch = make([]int, min(s.flows/2, 1<<15))
	return nil
}

func (s *tableSubject) insert(i int) error {
	var orig flowtable.Tuple
	keyOf(i, &orig)
	reply := orig.Invert()
	idx, result := s.table.Insert(&orig, &reply, s.now)
	if result != flowtable.InsertOK {
		return fmt.Errorf("insert flow %d of %d: %v", i, s.flows, result)
	}
	s.index[i] = idx
	return nil
}

func (s *tableSubject) close() error {
	if s.table == nil {
		return nil
	}
	return s.table.Close()
}

func (s *tableSubject) quantities() []quantity {
	var list []quantity
	add := func(unit, param string, value any) {
		list = append(list, quantity{map[string]any{"impl": "xdpct", "flows": s.flows, "load": s.load, param: value}, unit})
	}
	for _, op := range []string{"hit", "miss", "insert", "remove", "expire"} {
		add("ns/op", "op", op)
	}
	add("bytes/flow", "part", "table")
	add("%", "share", "keys not in their first bucket")
	add("%", "share", "buckets that overflowed")
	for k := range len(flowtable.IndexStats{}.Filled) {
		add("% of buckets", "keys_in_bucket", k)
	}
	return list
}

func (s *tableSubject) round(d time.Duration) ([]float64, error) {
	hit, err := s.lookup(d/4, 0)
	if err != nil {
		return nil, err
	}
	miss, err := s.lookup(d/4, s.flows)
	if err != nil {
		return nil, err
	}
	var c changeCosts
	for c.spent() < d/2 {
		if err := s.change(&c); err != nil {
			return nil, err
		}
	}
	n := c.batches * len(s.batch)
	return append([]float64{
		hit, miss, perOperation(c.insert, 2*n), perOperation(c.remove, n), perOperation(c.expire, n),
		float64(s.table.MemoryBytes()) / float64(s.flows),
	}, s.shares()...), nil
}

// shares tell how the keys lie in the buckets of the index, in percent.
func (s *tableSubject) shares() []float64 {
	i := s.table.IndexStats()
	list := []float64{percent(i.Away, i.Keys), percent(i.Overflowed, i.Buckets)}
	for _, n := range i.Filled {
		list = append(list, percent(n, i.Buckets))
	}
	return list
}

func percent(part, all int) float64 { return 100 * float64(part) / float64(all) }

// lookup returns ns for a lookup among bursts of 64, hash included, of the
// keys of flows from number first on.
func (s *tableSubject) lookup(d time.Duration, first int) (float64, error) {
	var bulk flowtable.Bulk
	n, found, spent := 0, 0, time.Duration(0)
	for spent < d {
		s.keys.pick(first, s.flows)
		start := time.Now()
		for at := 0; at < keyChunk; at += flowtable.Burst {
			burst := (*[flowtable.Burst]flowtable.Tuple)(s.keys.tuples[at:])
			for i := range burst {
				bulk.Hashes[i] = s.table.Hash(&burst[i])
			}
			s.table.LookupBurst(burst, &bulk, flowtable.Burst, s.now)
			for _, r := range bulk.Refs {
				if r != 0 {
					found++
				}
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

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// changeCosts sums up what changing the table costs.
type changeCosts struct {
	insert, remove, expire time.Duration
	batches                int
}

func (c *changeCosts) spent() time.Duration { return c.insert + c.remove + c.expire }

// change takes a batch of random flows out, first by removing them, then by
// letting them expire, and puts it back.
func (s *tableSubject) change(c *changeCosts) error {
	drawFlows(s.keys.rng, s.flows, s.batch)
	start := time.Now()
	for _, i := range s.batch {
		s.table.Remove(s.index[i])
	}
	c.remove += time.Since(start)
	if err := s.putBack(c); err != nil {
		return err
	}

	drawFlows(s.keys.rng, s.flows, s.batch)
	for _, i := range s.batch {
		s.table.Refresh(s.index[i], 1, s.now)
	}
	s.now += 2 * flowtable.TicksPerSecond
	start = time.Now()
	gone := 0
	for gone < len(s.batch) {
		n := s.expire()
		if n == 0 && !s.table.Behind() {
			return fmt.Errorf("%d of %d flows expired", gone, len(s.batch))
		}
		gone += n
	}
	c.expire += time.Since(start)
	c.batches++
	return s.putBack(c)
}

// expire removes flows whose time is over, as a worker does after a burst, and
// returns how many.
func (s *tableSubject) expire() (gone int) {
	budget := flowtable.Burst
	this, next := &s.over[0], &s.over[1]
	for s.table.Expired(s.now, &budget, this); this.N > 0; this, next = next, this {
		s.table.Expired(s.now, &budget, next)
		for i, idx := range this.Flows[:this.N] {
			s.table.RemoveKeys(idx, &this.Keys[i])
		}
		gone += this.N
	}
	return gone
}

// putBack inserts the batch again.
func (s *tableSubject) putBack(c *changeCosts) error {
	start := time.Now()
	for _, i := range s.batch {
		if err := s.insert(i); err != nil {
			return err
		}
		s.table.Refresh(s.index[i], flowtable.MaxTimeout, s.now)
	}
	c.insert += time.Since(start)
	return nil
}

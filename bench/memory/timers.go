package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/flowtable"
)

// Timers measures the timers, and what becomes of the packets of other
// flows while all flows of a table expire in the same moment.
func Timers(ctx context.Context, o Options, p bench.Progress) ([]bench.Record, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var subjects []subject
	for _, flows := range o.Flows {
		subjects = append(subjects, &timerSubject{tableSubject{flows: flows, load: 100}})
	}
	subjects = append(subjects, &massExpiry{flows: o.loaded()})
	return measure(ctx, "timers", &o, subjects, p)
}

// timerSubject measures the timers of a full table.
type timerSubject struct {
	tableSubject
}

// shortTimeout is what the timers are set to that are to fire.
const shortTimeout flowtable.Tick = 30 * flowtable.TicksPerSecond

func (s *timerSubject) String() string { return fmt.Sprintf("timers flows=%d", s.flows) }

func (s *timerSubject) quantities() []quantity {
	var list []quantity
	for _, op := range []string{"arm", "rearm", "refresh", "expire", "idle"} {
		list = append(list, quantity{map[string]any{"flows": s.flows, "op": op}, "ns/op"})
	}
	return list
}

// timerCosts sums up the time of each operation on the timers of a batch.
type timerCosts struct{ arm, rearm, refresh, expire time.Duration }

func (s *timerSubject) round(d time.Duration) ([]float64, error) {
	var c timerCosts
	batches := 0
	for c.arm+c.rearm+c.refresh+c.expire < d {
		if err := s.turn(&c); err != nil {
			return nil, err
		}
		batches++
	}
	n := batches * len(s.batch)
	return []float64{
		perOperation(c.arm, n), perOperation(c.rearm, n), perOperation(c.refresh, n), perOperation(c.expire, n), s.idle(),
	}, nil
}

// turn takes the timers of a batch of random flows through a life: a packet
// that renews the flow, one that shortens its time, its end; then a new flow's
// first packet.
func (s *timerSubject) turn(c *timerCosts) error {
	drawFlows(s.keys.rng, s.flows, s.batch)
	s.refreshAll(flowtable.MaxTimeout, &c.refresh) // the same as before: no more than a note
	s.refreshAll(shortTimeout, &c.rearm)
	s.now += shortTimeout + flowtable.TicksPerSecond
	start := time.Now()
	for gone := 0; gone < len(s.batch); {
		budget := flowtable.Burst
		n := s.table.Expired(s.now, &budget, &s.over[0])
		if n == 0 && !s.table.Behind() {
			return fmt.Errorf("%d of %d timers fired", gone, len(s.batch))
		}
		gone += n
	}
	c.expire += time.Since(start)
	s.refreshAll(flowtable.MaxTimeout, &c.arm)
	return nil
}

// refreshAll refreshes the flows of the batch and adds the time that it took.
func (s *timerSubject) refreshAll(timeout flowtable.Tick, spent *time.Duration) {
	start := time.Now()
	for _, i := range s.batch {
		s.table.Refresh(s.index[i], timeout, s.now)
	}
	*spent += time.Since(start)
}

// idle returns ns for a look at the timers when nothing is due.
func (s *timerSubject) idle() float64 {
	const looks = 1 << 14
	start := time.Now()
	for range looks {
		budget := flowtable.Burst
		s.table.Expired(s.now, &budget, &s.over[0])
	}
	return perOperation(time.Since(start), looks)
}

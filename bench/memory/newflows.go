package memory

import (
	"context"
	"fmt"
	"time"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// NewFlows measures how many flows a second the worker can make: with a source
// translation, a timer, and the end of as many older flows, in a table that is
// as full as it stays. Then the same where few ports of the pool are left.
func NewFlows(ctx context.Context, o Options, p bench.Progress) ([]bench.Record, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	var subjects []subject
	for _, proto := range o.Protos {
		for _, flows := range o.Flows {
			subjects = append(subjects, &Churn{flows: flows, proto: proto})
		}
	}
	for _, use := range o.Uses {
		subjects = append(subjects, &Churn{flows: use * portCount / 100, use: use, proto: "udp"})
	}
	return measure(ctx, "newflows", &o, subjects, p)
}

// Churn is a gateway in which flows of one packet each come and go. As many are
// alive as fit, less an eighth of the table: room for those whose time is over
// and that wait for their removal.
type Churn struct {
	flows   int // that are alive at a time
	proto   string
	use     int // percent of the ports of the only pool address; 0 = there are plenty
	next    int // number of the next flow
	refused int // flows, since it was set to 0
	watch   *bench.Disturbance
	traffic *traffic
}

// NewChurn makes a gateway and the first generation of flows.
func NewChurn(flows int, proto string) (*Churn, error) {
	c := &Churn{flows: flows, proto: proto}
	if err := c.prepare(); err != nil {
		_ = c.close() // the first error says what is wrong
		return nil, err
	}
	return c, nil
}

// Close frees the gateway.
func (c *Churn) Close() error { return c.close() }

// lifetime of a flow. It is long against the grain of the timers, so that no
// more flows are alive than should be.
const lifetime = 600 * time.Second

// set is what the flows are like.
func (c *Churn) set() Set {
	return Set{Flows: c.flows, Proto: c.proto, NAT: natSource}
}

func (c *Churn) String() string {
	if c.use != 0 {
		return fmt.Sprintf("%s pool=%d%%", c.set(), c.use)
	}
	return c.set().String()
}

func (c *Churn) memory() uint64 { return c.set().memory() * 8 / 7 }

func (c *Churn) prepare() error {
	addrs := poolAddrs
	if c.use != 0 {
		addrs = 1
	}
	policy, err := c.set().policy(addrs)
	if err != nil {
		return err
	}
	timeouts := flowtable.LinuxTimeouts()
	timeouts.UDP = flowtable.Ticks(lifetime)
	timeouts.TCP[flowtable.TCPSynSent], timeouts.TCPRetrans = timeouts.UDP, timeouts.UDP
	if c.traffic, err = newTraffic(c.set(), c.flows+c.flows/7+dataplane.BurstSize, policy, timeouts); err != nil {
		return err
	}
	c.watch = bench.WatchDisturbance()
	for c.next < c.flows {
		if _, _, err := c.Pass(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Churn) close() error { return c.traffic.close() }

// tupleOf is the original tuple of the i-th flow. Where ports are scarce all
// flows go to one server, because a port serves several of them else, and come
// from a host each.
func (c *Churn) tupleOf(i int) tuple {
	if c.use == 0 {
		return c.set().tupleOf(i & (1<<28 - 1)) // all clients are in one /8
	}
	return tuple{
		src: insideHosts + uint32(i)&(1<<23-1), srcPort: uint16(firstPort + c.traffic.rng.IntN(portCount)),
		dst: servers, dstPort: serverPort,
	}
}

// Pass lets hosts begin flows, and returns how many were made and the time that
// making them and ending as many others took, without bursts that were
// disturbed. An error tells of a packet that was dropped, unless ports are
// scarce.
func (c *Churn) Pass() (made int, spent time.Duration, err error) {
	t := c.traffic
	for range ringful {
		tu := c.tupleOf(c.next)
		if err := t.deliver(internal, &tu, packet.SYN); err != nil {
			return 0, 0, err
		}
		c.next++
	}
	for range ringful / dataplane.BurstSize {
		// As much time passes as keeps the number of flows what it is.
		t.step(lifetime * dataplane.BurstSize / time.Duration(c.flows))
		start := time.Now()
		taken := t.Burst(0)
		d := time.Since(start)
		sent := t.drain()
		if taken != dataplane.BurstSize || sent != taken && c.use == 0 {
			return 0, 0, fmt.Errorf("of a burst of %d packets %d were taken and %d sent:%s", dataplane.BurstSize, taken, sent, t.dropped())
		}
		c.refused += taken - sent
		if c.watch.Keep() {
			made, spent = made+sent, spent+d
		}
	}
	return made, spent, nil
}

func (c *Churn) quantities() []quantity {
	p := map[string]any{"flows": c.flows, "proto": c.proto, "nat": natSource}
	list := []quantity{{p, "flows/s"}}
	if c.use != 0 {
		p["pool_use"] = c.use
		list = append(list, quantity{map[string]any{"flows": c.flows, "pool_use": c.use, "result": "refused"}, "%"})
	}
	return list
}

func (c *Churn) round(d time.Duration) ([]float64, error) {
	made, first, spent := 0, c.next, time.Duration(0)
	c.refused = 0
	for spent < d {
		n, s, err := c.Pass()
		if err != nil {
			return nil, err
		}
		made, spent = made+n, spent+s
	}
	values := []float64{float64(made) / spent.Seconds()}
	if c.use != 0 {
		values = append(values, percent(c.refused, c.next-first))
	}
	return values, c.steady()
}

// steady fails unless flows end as fast as they are made, and for want of
// time only.
func (c *Churn) steady() error {
	if n := c.traffic.counter("early_drop"); n != 0 {
		return fmt.Errorf("%d flows were evicted: the table was not in a steady state", n)
	}
	live := c.traffic.Tables()[0].Len()
	if c.use == 0 && (live < c.flows*9/10 || live > c.flows*11/10+ringful) {
		return fmt.Errorf("%d flows are alive, want about %d: the table was not in a steady state", live, c.flows)
	}
	return nil
}

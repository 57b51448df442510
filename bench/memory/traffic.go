package memory

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// ringful is how many packets are delivered to a queue before the worker takes
// the first: half of the 4096 that are under way at a time.
const ringful = dataplane.DefaultRingSize

// traffic is a gateway in memory, and the hosts on either side of it. It keeps
// the gateway's clock, which stands still unless step moves it: so nothing
// expires because the measurement is slow.
type traffic struct {
	*dataplane.Memory
	set    Set
	framer framer
	flows  [][2]tuple // original and reply of all that establish made
	rng    *rand.Rand
	descs  [dataplane.BurstSize]xsk.Desc
	at     time.Time // when step was called last
}

// newTraffic makes a gateway for a set.
func newTraffic(s Set, room int, c nat.Config, timeouts flowtable.Timeouts) (*traffic, error) {
	m, err := s.newGateway(room, c, timeouts)
	if err != nil {
		return nil, err
	}
	return &traffic{
		Memory: m, set: s, framer: framer{macs: fixedMACs(), proto: s.protocol(), frame: make([]byte, s.size())},
		rng: rand.New(rand.NewPCG(1, uint64(s.Flows))), at: time.Now(),
	}, nil
}

// step moves the gateway's clock to d after the last step.
func (t *traffic) step(d time.Duration) {
	now := time.Now()
	t.Advance(d - now.Sub(t.at))
	t.at = now
}

// deliver writes a packet to the ring of a port, if that has room.
func (t *traffic) deliver(port int, tu *tuple, flags uint8) error {
	if t.Wires[port][0].Deliver(t.framer.build(port, tu, flags)) != 1 {
		return fmt.Errorf("the ring of port %d is full", port)
	}
	return nil
}

// serve lets the worker take all packets that were delivered, and returns the
// time that this took.
func (t *traffic) serve(packets int) (time.Duration, error) {
	start := time.Now()
	for left := packets; left > 0; {
		n := t.Burst(0)
		if n == 0 {
			return 0, fmt.Errorf("the worker found no packet while %d of %d waited", left, packets)
		}
		left -= n
	}
	return time.Since(start), nil
}

// drain takes what was sent off the wires and returns the number of packets.
func (t *traffic) drain() int {
	total := 0
	for _, wires := range t.Wires {
		for {
			n := wires[0].Collect(t.descs[:])
			wires[0].Complete(t.descs[:n])
			total += n
			if n < len(t.descs) {
				break
			}
		}
	}
	return total
}

// drainAll is drain for packets none of which may be missing.
func (t *traffic) drainAll(packets int) error {
	if n := t.drain(); n != packets {
		return fmt.Errorf("%d of %d packets were dropped, so the figure would mean nothing:%s", packets-n, packets, t.dropped())
	}
	return nil
}

// dropped names the counters of drops that are not 0.
func (t *traffic) dropped() string {
	text := ""
	for _, c := range t.WorkerStats()[0].Counters {
		if strings.HasPrefix(c.Name, "drop_") && c.Value != 0 {
			text += fmt.Sprintf(" %s %d", c.Name, c.Value)
		}
	}
	return text
}

// counter reads one of the worker's counters.
func (t *traffic) counter(name string) uint64 {
	for _, c := range t.WorkerStats()[0].Counters {
		if c.Name == name {
			return c.Value
		}
	}
	panic("memory: the worker has no counter " + name)
}

// send sends one packet for each of n tuples by a port. None may be dropped.
func (t *traffic) send(port, n int, flags uint8, tupleOf func(i int) tuple) error {
	for i := 0; i < n; i += ringful {
		end := min(n, i+ringful)
		for k := i; k < end; k++ {
			tu := tupleOf(k)
			if err := t.deliver(port, &tu, flags); err != nil {
				return err
			}
		}
		t.step(0)
		if _, err := t.serve(end - i); err != nil {
			return err
		}
		if err := t.drainAll(end - i); err != nil {
			return err
		}
	}
	return nil
}

// establish makes the set's flows: a TCP handshake each, or a UDP stream.
func (t *traffic) establish() error {
	s := t.set
	from := s.originalPort()
	if err := t.send(from, s.Flows, packet.SYN, s.tupleOf); err != nil {
		return err
	}
	if err := t.learn(); err != nil {
		return err
	}
	reply := func(i int) tuple { return t.flows[i][flowtable.DirReply] }
	if err := t.send(1-from, s.Flows, packet.SYN|packet.ACK, reply); err != nil {
		return err
	}
	t.step(3 * time.Second) // a UDP flow becomes a stream when it is older than 2 s
	return t.send(from, s.Flows, packet.ACK, func(i int) tuple { return t.flows[i][flowtable.DirOriginal] })
}

// learn reads the tuples of all flows from the table, as the hosts learn them
// from the packets that arrive.
func (t *traffic) learn() error {
	table := t.Tables()[0]
	t.flows = make([][2]tuple, 0, t.set.Flows)
	var s flowtable.Snapshot
	for idx := uint32(1); idx <= table.HighWater(); idx++ {
		if table.Read(idx, t.Now(), &s) {
			t.flows = append(t.flows, [2]tuple{pack(&s.Orig), pack(&s.Reply)})
		}
	}
	if len(t.flows) != t.set.Flows {
		return fmt.Errorf("%d flows were made, want %d", len(t.flows), t.set.Flows)
	}
	return nil
}

// deliverRandom delivers n packets to each port, of random flows in the
// direction that comes in there.
func (t *traffic) deliverRandom(n int) error {
	from := t.set.originalPort()
	for range n {
		o := &t.flows[t.rng.IntN(len(t.flows))][flowtable.DirOriginal]
		if err := t.deliver(from, o, packet.ACK); err != nil {
			return err
		}
		r := &t.flows[t.rng.IntN(len(t.flows))][flowtable.DirReply]
		if err := t.deliver(1-from, r, packet.ACK); err != nil {
			return err
		}
	}
	t.step(0)
	return nil
}

// close frees the gateway; t may be nil.
func (t *traffic) close() error {
	if t == nil {
		return nil
	}
	return t.Close()
}

package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// SteeringMode says how flows shall find their workers.
type SteeringMode uint8

// The modes.
const (
	SteeringAuto  SteeringMode = iota // as the NICs spread packets, as far as that is known
	SteeringRSS                       // as the NICs do, or refuse
	SteeringPorts                     // by port number, whatever the NICs do
)

// SteeringPort is what the steering of a port depends on.
type SteeringPort struct {
	Name   string
	Realm  nat.Realm
	Queues int // receive queues
	RSS    xsk.RSS
}

// SteeringNote says why packets of a port are steered by port number.
type SteeringNote struct {
	Port string
	Text string // what there is, to be read after the name of the port
	Todo string // the command that would change it; "" = none is known
}

// String renders the note as one line without the port.
func (n *SteeringNote) String() string {
	if n.Todo == "" {
		return n.Text
	}
	return n.Text + ": " + n.Todo
}

// ErrSteering says that the spreading of packets by the NICs cannot be mirrored.
var ErrSteering = errors.New("cannot steer as the NICs spread packets (--steering rss)")

// PlanSteering decides how the packets of these ports find their worker. What
// cannot be mirrored is steered by port number and noted; with SteeringRSS that
// is an error, and noted too.
func PlanSteering(mode SteeringMode, ports []SteeringPort, workers int) (nat.Steering, []SteeringNote, error) {
	if mode == SteeringPorts || workers == 1 {
		return nat.Steering{}, nil, nil
	}
	var p steeringPlan
	p.by = nat.AllProtocols
	for i := range ports {
		p.add(&ports[i], workers)
	}
	p.checkReach()
	if mode == SteeringRSS && len(p.notes) > 0 {
		n := &p.notes[0]
		return nat.Steering{}, p.notes, fmt.Errorf("%w: %s %s: %s", ErrSteering, n.Port, n.Text, cmp.Or(n.Todo, "use --steering auto"))
	}
	s, err := p.steering()
	return s, p.notes, err
}

// steeringPlan is a plan in the making.
type steeringPlan struct {
	by    nat.Protocols
	sides [2]*spreading // by realm; nil = not known
	notes []SteeringNote
}

// spreading is how a port spreads packets over workers.
type spreading struct {
	port   string
	key    []byte
	worker []uint8 // by the low bits of the hash; as short as it can be
}

// add takes a port into the plan.
func (p *steeringPlan) add(port *SteeringPort, workers int) {
	if text, todo := unmirrored(port); text != "" {
		p.note(port.Name, text, todo, nat.AllProtocols)
		return
	}
	for i, name := range xsk.RSSProtocolNames {
		set := nat.Protocols(1) << i
		switch fields := port.RSS.Fields[i]; fields {
		case xsk.RSSFields:
		case "":
			p.note(port.Name, "does not tell what it hashes of "+name, "", set)
		default:
			p.note(port.Name, fmt.Sprintf("hashes %s of %s, not %s", fields, name, xsk.RSSFields),
				fmt.Sprintf("ethtool -N %s rx-flow-hash %s %s", port.Name, name, xsk.RSSFields), set)
		}
	}
	s := &spreading{port: port.Name, key: port.RSS.Key[:packet.ToeplitzKeyLen], worker: workersOf(port.RSS.Table, workers)}
	other := p.sides[port.Realm]
	switch {
	case other == nil:
		p.sides[port.Realm] = s
	case !slices.Equal(s.key, other.key):
		p.note(port.Name, "has another RSS key than "+other.port+" on the same side",
			fmt.Sprintf("ethtool -X %s hkey %s", port.Name, hexKey(other.key, len(port.RSS.Key))), nat.AllProtocols)
	case !slices.Equal(s.worker, other.worker):
		p.note(port.Name, "has another RSS table than "+other.port+" on the same side",
			fmt.Sprintf("ethtool -X %s equal %d, and %s alike", port.Name, workers, other.port), nat.AllProtocols)
	}
}

// note takes protocols from the plan and says why.
func (p *steeringPlan) note(port, text, todo string, without nat.Protocols) {
	p.by &^= without
	p.notes = append(p.notes, SteeringNote{port, text, todo})
}

// unmirrored says why nothing that a port receives can be mirrored, and what
// would help; "" if it can.
func unmirrored(p *SteeringPort) (text, todo string) {
	r := &p.RSS
	n := len(r.Table)
	equal := fmt.Sprintf("ethtool -X %s equal %d", p.Name, p.Queues)
	switch {
	case len(r.Key) == 0 || n == 0:
		return "does not tell its RSS key and table", ""
	case r.Function != "toeplitz":
		return fmt.Sprintf("hashes by %q, not toeplitz", r.Function), "ethtool -X " + p.Name + " hfunc toeplitz"
	case r.Symmetric:
		return "combines addresses and ports before it hashes them", "ethtool -X " + p.Name + " xfrm none"
	case len(r.Key) < packet.ToeplitzKeyLen:
		return fmt.Sprintf("has an RSS key of %d bytes, %d are needed", len(r.Key), packet.ToeplitzKeyLen), ""
	case bits.OnesCount(uint(n)) != 1:
		return fmt.Sprintf("has an RSS table of %d entries, no power of two", n), ""
	case slices.Max(r.Table) >= p.Queues:
		return fmt.Sprintf("leads packets to queue %d of %d", slices.Max(r.Table), p.Queues), equal
	}
	return "", ""
}

// workersOf puts workers in place of queues and shortens the table to the part
// that repeats, so that tables of different NICs compare.
func workersOf(table []int, workers int) []uint8 {
	list := make([]uint8, len(table))
	for i, queue := range table {
		list[i] = uint8(queue % workers)
	}
	for half := len(list) / 2; half > 0 && slices.Equal(list[:half], list[half:]); half /= 2 {
		list = list[:half]
	}
	return list
}

// hexKey writes a key as ethtool -X takes it, filled up to n bytes.
func hexKey(key []byte, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(':')
		}
		if i < len(key) {
			fmt.Fprintf(&b, "%02x", key[i])
		} else {
			b.WriteString("00")
		}
	}
	return b.String()
}

// checkReach refuses tables by which a worker gets packets from inside, but no
// answers: no external port would bring it one.
func (p *steeringPlan) checkReach() {
	in, out := p.sides[nat.RealmInternal], p.sides[nat.RealmExternal]
	if in == nil || out == nil {
		p.by = 0
		return
	}
	for _, w := range in.worker {
		if !slices.Contains(out.worker, w) {
			p.note(out.port, fmt.Sprintf("leaves worker %d without packets, to which %s leads some", w, in.port),
				"spread both alike with ethtool -X", nat.AllProtocols)
			return
		}
	}
}

// steering makes the tables of a plan.
func (p *steeringPlan) steering() (s nat.Steering, err error) {
	if p.by == 0 {
		return s, nil
	}
	in, out := p.sides[nat.RealmInternal], p.sides[nat.RealmExternal]
	hash, err := packet.NewToeplitz(in.key)
	if err != nil {
		return s, err
	}
	if s.Internal, err = nat.NewRSS(hash, in.worker); err != nil {
		return s, err
	}
	if !slices.Equal(in.key, out.key) { // NICs of one machine mostly share it
		if hash, err = packet.NewToeplitz(out.key); err != nil {
			return s, err
		}
	}
	s.External, err = nat.NewRSS(hash, out.worker)
	s.ByRSS = p.by
	return s, err
}

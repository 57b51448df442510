package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// nic spreads packets as a NIC does, from the bytes on the wire and the
// definition of the hash: nothing of it is the gateway's.
type nic struct {
	key   []byte
	table []int
	ports [2]bool // the ports of TCP, of UDP are hashed
}

// newNIC makes one with a key of its own and an even table, as drivers set up.
func newNIC(seed uint64, queues int) *nic {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := &nic{key: make([]byte, 52), table: make([]int, 128), ports: [2]bool{true, true}}
	for i := range n.key {
		n.key[i] = byte(rng.Uint32())
	}
	for i := range n.table {
		n.table[i] = i % queues
	}
	return n
}

// tell returns what ethtool would show.
func (n *nic) tell() xsk.RSS {
	r := xsk.RSS{Key: n.key, Function: "toeplitz", Table: append([]int(nil), n.table...)}
	for i := range r.Fields {
		r.Fields[i] = "sd"
		if n.ports[i%2] {
			r.Fields[i] = xsk.RSSFields
		}
	}
	return r
}

// queue returns the queue of a frame.
func (n *nic) queue(t testing.TB, frame []byte) int {
	t.Helper()
	var h packet.Headers
	if packet.Parse(frame, &h) != packet.ParseOK {
		t.Fatalf("frame does not parse: %x", frame)
	}
	from, addrs := 12, 8
	if h.Family == packet.IPv6 {
		from, addrs = 8, 32
	}
	input := append([]byte(nil), frame[int(h.L3)+from:int(h.L3)+from+addrs]...)
	if h.Proto == packet.ProtoTCP && n.ports[0] || h.Proto == packet.ProtoUDP && n.ports[1] {
		input = append(input, frame[h.L4:h.L4+4]...)
	}
	hash := uint32(0)
	for bit := range 8 * len(input) {
		if input[bit/8]<<(bit%8)&0x80 != 0 {
			hash ^= uint32(binary.BigEndian.Uint64(n.key[bit/8:]) << (bit % 8) >> 32)
		}
	}
	return n.table[hash%uint32(len(n.table))]
}

// spread is a way in which packets come to queues and find their workers.
type spread struct {
	name    string
	queues  int
	options func(o *Options, nics *[2]*nic)                           // what the gateway is told
	queue   func(p *path, nics *[2]*nic, n int) func(int, []byte) int // what really happens
}

// tellRSS tells the gateway how its ports spread.
func tellRSS(o *Options, nics *[2]*nic) {
	o.RSS = []xsk.RSS{nics[lan].tell(), nics[wan].tell()}
}

// tellNothing leaves it to the port numbers.
func tellNothing(*Options, *[2]*nic) {}

// asTold spreads as the NICs do.
func asTold(p *path, nics *[2]*nic, _ int) func(int, []byte) int {
	return func(port int, frame []byte) int { return nics[port].queue(p.t, frame) }
}

// atRandom brings each packet to any queue.
func atRandom(_ *path, _ *[2]*nic, n int) func(int, []byte) int {
	rng := rand.New(rand.NewPCG(1, 2))
	return func(int, []byte) int { return rng.IntN(n) }
}

// spreads are the ways in which everything has to work.
var spreads = []spread{
	{"ports, a queue for each direction", 2, tellNothing,
		func(*path, *[2]*nic, int) func(int, []byte) int { return func(port int, _ []byte) int { return port } }},
	{"ports, any queue", 4, tellNothing, atRandom},
	{"rss", 4, tellRSS, asTold},
	{"rss, table changed since", 4, tellRSS, func(p *path, nics *[2]*nic, n int) func(int, []byte) int {
		for _, c := range nics {
			rand.New(rand.NewPCG(3, 4)).Shuffle(len(c.table), func(i, j int) { c.table[i], c.table[j] = c.table[j], c.table[i] })
		}
		return asTold(p, nics, n)
	}},
	{"rss, any queue", 3, tellRSS, atRandom},
	{"rss of tcp only", 4, func(o *Options, nics *[2]*nic) {
		nics[wan].ports[1] = false
		tellRSS(o, nics)
	}, asTold},
}

// eachSpread runs a test with packets that come in every manner.
func eachSpread(t *testing.T, test func(t *testing.T, open func(change func(*Options)) *path)) {
	for _, s := range spreads {
		t.Run(s.name, func(t *testing.T) {
			test(t, func(change func(*Options)) *path { return s.open(t, change) })
		})
	}
}

// open makes a gateway whose packets come so.
func (s *spread) open(t testing.TB, change func(*Options)) *path {
	t.Helper()
	nics := &[2]*nic{newNIC(11, s.queues), newNIC(12, s.queues)}
	p := newPath(t, func(o *Options) {
		o.Queues = s.queues
		s.options(o, nics)
		if change != nil {
			change(o)
		}
	})
	p.queue = s.queue(p, nics, s.queues)
	return p
}

// openRSS makes a gateway behind NICs that spread as they tell.
func openRSS(t testing.TB, queues int, change func(*Options)) *path {
	t.Helper()
	s := spread{"", queues, tellRSS, asTold}
	p := s.open(t, change)
	if queues > 1 && p.path.steering.ByRSS != nat.AllProtocols {
		t.Fatalf("not steered by RSS: %v", p.notes)
	}
	return p
}

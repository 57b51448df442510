//go:build invariants

package dataplane

import (
	"bytes"
	"fmt"

	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
)

// invariants tells whether this is the invariants build.
const invariants = true

// Where a frame is, as far as the invariants build follows it.
const (
	frameFree   uint8 = iota // in a pool, or on its way home
	frameWorker              // in a burst, held, aside, handed over
	frameKernel              // in the rings of a socket, or in the driver
)

var framePlaces = [...]string{"free", "a worker's", "the kernel's"}

// framePoison fills free frames.
const framePoison = 0xdb

// tableCheckEvery is how often a worker checks its whole flow table, in ticks, and
// tableCheckMax the largest table that it does that for, in flows in use.
const (
	tableCheckEvery = 2 * flowtable.TicksPerSecond
	tableCheckMax   = 20000
)

// frameCheck follows each frame of the UMEM from place to place, and panics when one is
// in two. Entries are written by whoever has the frame: no lock is needed where there
// is no bug.
type frameCheck struct {
	umem   *xsk.UMEM
	place  []uint8
	poison []byte
}

func newFrameCheck(umem *xsk.UMEM) *frameCheck {
	c := &frameCheck{umem: umem, place: make([]uint8, umem.Frames()), poison: bytes.Repeat([]byte{framePoison}, umem.FrameSize())}
	for i := range c.place {
		copy(umem.FrameRoom(uint64(i*umem.FrameSize())), c.poison)
	}
	return c
}

// move notes that a frame goes from one place to another.
func (c *frameCheck) move(addr uint64, from, to uint8) {
	i := addr / uint64(c.umem.FrameSize())
	if i >= uint64(len(c.place)) {
		panic(fmt.Sprintf("dataplane: address %#x is in no frame", addr))
	}
	if c.place[i] != from {
		panic(fmt.Sprintf("dataplane: frame %d is %s, expected it to be %s before it becomes %s",
			i, framePlaces[c.place[i]], framePlaces[from], framePlaces[to]))
	}
	c.place[i] = to
}

// freed notes frames that a worker puts into a pool, and poisons them.
func (c *frameCheck) freed(addr uint64) {
	c.move(addr, frameWorker, frameFree)
	copy(c.umem.FrameRoom(c.umem.FrameOf(addr)), c.poison)
}

// taken notes frames that a worker takes from a pool. Nobody may have written to them.
func (c *frameCheck) taken(addrs []uint64) {
	for _, addr := range addrs {
		c.move(addr, frameFree, frameWorker)
		if !bytes.Equal(c.umem.FrameRoom(c.umem.FrameOf(addr)), c.poison) {
			panic(fmt.Sprintf("dataplane: frame at %#x was written to while it was free", addr))
		}
	}
}

// filled notes frames given to the kernel to receive into.
func (c *frameCheck) filled(addrs []uint64) {
	for _, addr := range addrs {
		c.move(addr, frameWorker, frameKernel)
	}
}

// sent notes packets given to the kernel to send.
func (c *frameCheck) sent(descs []xsk.Desc) {
	for i := range descs {
		c.move(descs[i].Addr, frameWorker, frameKernel)
	}
}

// received notes packets that came from the kernel.
func (c *frameCheck) received(descs []xsk.Desc) {
	for i := range descs {
		c.move(descs[i].Addr, frameKernel, frameWorker)
	}
}

// completed notes frames that the kernel gives back.
func (c *frameCheck) completed(addrs []uint64) {
	for _, addr := range addrs {
		c.move(addr, frameKernel, frameWorker)
	}
}

// checkTables looks through the worker's flow table and counters now and then.
func (w *Worker) checkTables() {
	t := w.flows.table
	if w.clock.now%tableCheckEvery != 0 || t.Len() > tableCheckMax {
		return
	}
	if err := t.Check(); err != nil {
		panic(fmt.Sprintf("dataplane: flow table of worker %d: %v", w.id, err))
	}
	if err := w.flows.nat.Check(t); err != nil {
		panic(fmt.Sprintf("dataplane: translations of worker %d: %v", w.id, err))
	}
}

package helpers

import (
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// Verdict is what becomes of the packet. The zero value drops it.
type Verdict uint8

// The verdicts.
const (
	VerdictDrop    Verdict = iota // Context.Cause says why
	VerdictAccept                 // pass it as it is
	VerdictChanged                // pass it; Context.Frame has its new length
)

// Context is what a helper gets to see and what it answers. A worker keeps one
// and fills in the packet's fields. Owner: worker.
type Context struct {
	Table        *flowtable.Table        // of the worker
	Expectations *flowtable.Expectations // shared by all workers
	Translator   *nat.Translator         // of the worker
	Counters     *Counters               // of the worker; nil = not counted
	Worker       uint8                   // number of the worker
	// Own tells whether an address is the gateway's own; nil = none is known.
	// Asked only where an announcement names another host than its sender.
	Own func(packet.Addr, packet.Family) bool
	// Inside tells whether an address is routed to the inside; nil = all hosts are on one
	// side. Asked only there, too.
	Inside func(packet.Addr, packet.Family) bool
	// Tell hears of each expectation that the helper makes (EventNew) or puts an end
	// to (EventDestroy), in this order; nil = nobody does.
	Tell func(flowtable.EventKind, *flowtable.Expectation)

	Index   uint32          // the flow
	Dir     flowtable.Dir   // the packet's direction
	Now     flowtable.Tick  // time of the burst
	MTU     uint16          // of the way out, bytes of the IP packet; 0 = unlimited
	Headers *packet.Headers // of Frame; End follows a change of length
	Frame   []byte          // the packet; its capacity is the room it may grow to

	// Cause is the answer: the last that the helper counted for the packet, also if
	// that is dropped.
	Cause Cause

	id    ID      // the helper that sees the packet
	self  *helper // its description
	loose bool    // an announcement may name another host

	text [80]byte  // scratch for rewritten text
	line [128]byte // scratch for a line that came in several segments
}

// refuses tells why a sender may not announce an address; CauseNone if it may: its own, and
// with loose that of another host, unless that is the gateway or on the other side.
func (c *Context) refuses(sender, addr packet.Addr, f packet.Family) Cause {
	switch {
	case addr == sender:
		return CauseNone
	case c.loose && (c.Translator.Translates(f, addr) || c.Own != nil && c.Own(addr, f)):
		return CauseGatewayAddress
	case !c.loose || c.across(sender, addr, f):
		return CauseOtherAddress
	}
	return CauseNone
}

// across tells whether two hosts are on different sides of the gateway: however loose,
// nobody announces for hosts on the other side. From inside they need no translation; and
// nobody outside opens ports of the inside.
func (c *Context) across(a, b packet.Addr, f packet.Family) bool {
	return c.Inside != nil && c.Inside(a, f) != c.Inside(b, f)
}

// note counts a cause.
func (c *Context) note(cause Cause) {
	c.Cause = cause
	c.Counters.add(c.id, cause)
}

// expect makes e pending, which has its Tuple, where it leads to, and its Class; the
// rest follows from the packet and the policy of the class. What is more than the
// flow may have ends.
func (c *Context) expect(e *flowtable.Expectation) flowtable.AddResult {
	policy := &c.self.classes[e.Class]
	e.Helper, e.Dir = uint8(c.id), c.Dir
	e.Master = flowtable.FlowID{Index: c.Index, Gen: c.Table.Gen(c.Index), Worker: c.Worker}
	c.Table.Tuple(c.Index, flowtable.DirOriginal, &e.MasterOrig)
	e.Deadline = c.Now + policy.lifetime
	ended, result := c.Expectations.AddWithin(e, policy.max)
	if ended.ID != 0 {
		c.end(&ended)
	}
	if result == flowtable.AddOK || result == flowtable.AddReplaced {
		c.Translator.ReserveExpected(e)
		c.Table.Ext(c.Index).Expect = e.ID
		c.tell(flowtable.EventNew, e)
	}
	return result
}

// refusal returns why an expectation was not made; CauseExpected if it was.
func refusal(r flowtable.AddResult) Cause {
	switch r {
	case flowtable.AddFull:
		return CauseExpectFull
	case flowtable.AddHostFull:
		return CauseHostFull
	case flowtable.AddClash:
		return CauseExpectPending
	default:
		return CauseExpected
	}
}

// withdraw puts an end to an expectation of the flow if it is still pending.
func (c *Context) withdraw(id uint32) {
	if id == 0 {
		return
	}
	if e, ok := c.Expectations.Remove(id); ok {
		c.end(&e)
	}
}

// end does what is due when an expectation has been removed.
func (c *Context) end(e *flowtable.Expectation) {
	c.Translator.ReleaseExpected(e)
	c.tell(flowtable.EventDestroy, e)
}

func (c *Context) tell(kind flowtable.EventKind, e *flowtable.Expectation) {
	if c.Tell != nil {
		c.Tell(kind, e)
	}
}

package helpers

import (
	"strconv"
	"sync/atomic"

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

	Index   uint32          // the flow
	Dir     flowtable.Dir   // the packet's direction
	Now     flowtable.Tick  // time of the burst
	Headers *packet.Headers // of Frame; End follows a change of length
	Frame   []byte          // the packet; its capacity is the room it may grow to

	// Answers, valid after the call, also if the packet is dropped.

	// Cause says what the helper did, or why it did not.
	Cause Cause
	// Removed is the expectation that the packet put an end to; ID 0 = none.
	// Its DESTROY event comes before the NEW of Added.
	Removed flowtable.Expectation
	// Added is the expectation that the packet made; ID 0 = none.
	Added flowtable.Expectation

	text [80]byte // scratch for rewritten text
}

// reset clears the answers.
func (c *Context) reset() {
	c.Cause = CauseNone
	c.Removed.ID, c.Added.ID = 0, 0
}

// Cause says what a helper did with a packet, or why it left it alone or
// dropped it.
type Cause uint8

// The causes. Those from CausePartial on drop the packet; the sender repeats
// it.
const (
	CauseNone           Cause = iota // nothing to do
	CauseExpected                    // an expectation was made
	CauseRepeated                    // a retransmitted command was rewritten as before
	CauseOtherAddress                // announces another host's address: left alone
	CausePrivilegedPort              // announces a port below 1024: left alone
	CauseExpectPending               // no translation and already announced: left alone
	CauseFragment                    // text in an IP fragment: not read
	CauseTLS                         // the control connection turned to TLS: left alone
	CausePartial                     // the segment ends within a command
	CauseMalformed                   // not what RFC 959 or RFC 2428 allow
	CausePortZero                    // announces port 0
	CauseOutdated                    // retransmission of a command before the last one
	CauseNoPort                      // no external port for the expectation
	CauseExpectFull                  // the expectation table is full
	CauseNoRoom                      // the rewritten text does not fit into the frame
	causeCount
)

// causeNames are the counter names, in the order of the constants.
var causeNames = [causeCount]string{
	"none", "expected", "repeated", "other_address", "privileged_port",
	"expect_pending", "fragment", "tls", "partial", "malformed", "port_zero",
	"outdated", "no_port", "expect_full", "no_room",
}

// String returns the cause in the form used as counter name.
func (c Cause) String() string {
	if c < causeCount {
		return causeNames[c]
	}
	return "cause(" + strconv.Itoa(int(c)) + ")"
}

// Drops tells whether a packet with this cause is dropped.
func (c Cause) Drops() bool { return c >= CausePartial && c < causeCount }

// Counters counts packets by cause. Written by one worker, read by anyone.
type Counters struct {
	n [causeCount]uint64
}

func (k *Counters) add(c Cause) {
	if k != nil && c != CauseNone {
		atomic.StoreUint64(&k.n[c], k.n[c]+1)
	}
}

// Load returns the number of packets with cause c; CauseNone is not counted.
func (k *Counters) Load(c Cause) uint64 { return atomic.LoadUint64(&k.n[c]) }

// Each calls yield for each cause but CauseNone until it returns false.
func (k *Counters) Each(yield func(Cause, uint64) bool) {
	for c := CauseNone + 1; c < causeCount; c++ {
		if !yield(c, k.Load(c)) {
			return
		}
	}
}

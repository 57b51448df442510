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
	// Own tells whether an address is the gateway's own; nil = none is known.
	// Asked only where an announcement names another host than its sender.
	Own func(packet.Addr, packet.Family) bool

	Index   uint32          // the flow
	Dir     flowtable.Dir   // the packet's direction
	Now     flowtable.Tick  // time of the burst
	MTU     uint16          // of the way out, bytes of the IP packet; 0 = unlimited
	Headers *packet.Headers // of Frame; End follows a change of length
	Frame   []byte          // the packet; its capacity is the room it may grow to

	// Answers, valid after the call, also if the packet is dropped.

	// Cause is the last that the helper counted for the packet.
	Cause Cause
	// Removed is the expectation that the packet put an end to; ID 0 = none.
	// Its DESTROY event comes before the NEW of Added.
	Removed flowtable.Expectation
	// Added is the expectation that the packet made; ID 0 = none.
	Added flowtable.Expectation

	text [80]byte  // scratch for rewritten text
	line [128]byte // scratch for a line that came in several segments
}

// reset clears the answers.
func (c *Context) reset() {
	c.Cause = CauseNone
	c.Removed.ID, c.Added.ID = 0, 0
}

// note counts a cause.
func (c *Context) note(cause Cause) {
	c.Cause = cause
	c.Counters.add(cause)
}

// Cause says what a helper did with a packet, or why it left it alone or
// dropped it.
type Cause uint8

// The causes. Those from CausePartial on keep the segment back, or its end from
// where they apply on; the sender repeats that.
const (
	CauseNone           Cause = iota // nothing to do
	CauseExpected                    // an expectation was made
	CauseRepeated                    // a retransmitted command was rewritten as before
	CauseJoined                      // a command kept back was put before its rest
	CauseCut                         // the end of the segment was cut off: it had grown over the MTU
	CauseOtherAddress                // announces another host's address: left alone
	CauseGatewayAddress              // announces an address of the gateway: left alone
	CausePrivilegedPort              // announces a port below 1024: left alone
	CauseExpectPending               // no translation and already announced: left alone
	CauseMalformed                   // not what RFC 959 or RFC 2428 allow: left alone
	CausePortZero                    // announces port 0: left alone
	CauseSplit                       // never comes in one piece: left alone
	CauseFragment                    // text in an IP fragment: not read
	CauseTLS                         // the control connection turned to TLS: left alone from here on
	CauseNotFTP                      // something else than FTP is spoken: left alone from here on
	CausePartial                     // the segment ends within a command
	CauseReordered                   // what comes before the segment is missing
	CauseSecond                      // a second announcement in one segment
	CauseTooFast                     // more announcements than a flow may make
	CauseUnacknowledged              // too many changes that the receiver has not acknowledged
	CauseOutdated                    // a retransmission that cannot be rewritten any more as before
	CauseNoPort                      // no external port for the expectation
	CauseExpectFull                  // the expectation table is full
	CauseNoRoom                      // the rewritten text fits neither frame nor MTU
	causeCount
)

// causeNames are the counter names, in the order of the constants.
var causeNames = [causeCount]string{
	"none", "expected", "repeated", "joined", "cut", "other_address", "gateway_address", "privileged_port",
	"expect_pending", "malformed", "port_zero", "split", "fragment", "tls", "not_ftp", "partial", "reordered",
	"second", "too_fast", "unacknowledged", "outdated", "no_port", "expect_full", "no_room",
}

// String returns the cause in the form used as counter name.
func (c Cause) String() string {
	if c < causeCount {
		return causeNames[c]
	}
	return "cause(" + strconv.Itoa(int(c)) + ")"
}

// Drops tells whether a packet with this cause, or its end, is kept back.
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

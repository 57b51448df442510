package helpers

import (
	"strconv"
	"sync/atomic"
)

// Cause says what a helper did with a packet, or why it left it alone or
// dropped it. Each helper has some of them (helper.causes).
type Cause uint8

// The causes. Those from CausePartial on keep the packet back, of TCP perhaps only
// its end from where they apply on; the sender repeats that.
const (
	CauseNone           Cause = iota // nothing to do
	CauseExpected                    // an expectation was made
	CauseRepeated                    // a retransmitted command was rewritten as before
	CauseJoined                      // a command kept back was put before its rest
	CauseCut                         // the end of the segment was cut off: it had grown over the MTU
	CauseOtherAddress                // announces another host's address: left alone
	CauseGatewayAddress              // announces an address of the gateway: left alone
	CausePrivilegedPort              // announces a port below 1024: left alone
	CauseExpectPending               // no other port can be named and this one is announced already: left alone
	CauseMalformed                   // not what the protocol allows: left alone
	CausePortZero                    // announces port 0: left alone
	CauseSplit                       // never comes in one piece: left alone
	CauseFragment                    // text in an IP fragment: not read
	CauseTLS                         // the control connection turned to TLS: left alone from here on
	CauseNotFTP                      // something else than FTP is spoken: left alone from here on
	CauseNotSIP                      // something else than SIP: left alone
	CauseBody                        // a body in a form that is not read: left alone
	CauseTooMany                     // more addresses or media than are read: left alone
	CauseTranslated                  // the text was rewritten
	CauseEnded                       // put an end to what had been announced
	CausePartial                     // the segment ends within a command
	CauseReordered                   // what comes before the segment is missing
	CauseSecond                      // a second announcement in one segment
	CauseTooFast                     // more announcements than a flow may make
	CauseUnacknowledged              // too many changes that the receiver has not acknowledged
	CauseOutdated                    // a retransmission that cannot be rewritten any more as before
	CauseNoPort                      // no external port for the expectation
	CauseExpectFull                  // the expectation table is full
	CauseHostFull                    // the flows of one host have announced too many
	CauseNoRoom                      // the rewritten text fits neither frame nor MTU
	causeCount
)

// causeNames are the counter names, in the order of the constants.
var causeNames = [causeCount]string{
	"none", "expected", "repeated", "joined", "cut", "other_address", "gateway_address", "privileged_port",
	"expect_pending", "malformed", "port_zero", "split", "fragment", "tls", "not_ftp", "not_sip", "body",
	"too_many", "translated", "ended", "partial", "reordered",
	"second", "too_fast", "unacknowledged", "outdated", "no_port", "expect_full", "host_full", "no_room",
}

// String returns the cause in the form used in counter names.
func (c Cause) String() string {
	if c < causeCount {
		return causeNames[c]
	}
	return "cause(" + strconv.Itoa(int(c)) + ")"
}

// Drops tells whether a packet with this cause, or its end, is kept back.
func (c Cause) Drops() bool { return c >= CausePartial && c < causeCount }

// Counters counts packets by helper and cause. Written by one worker, read by
// anyone.
type Counters struct {
	n [idCount][causeCount]uint64
}

func (k *Counters) add(id ID, c Cause) {
	if k != nil && c != CauseNone {
		atomic.StoreUint64(&k.n[id][c], k.n[id][c]+1)
	}
}

// Load returns the number of packets with cause c of a helper; CauseNone is not
// counted.
func (k *Counters) Load(id ID, c Cause) uint64 { return atomic.LoadUint64(&k.n[id][c]) }

// Counted is one of the figures that helpers count.
type Counted struct {
	ID    ID
	Cause Cause
	Name  string // for people and metrics
	Help  string
}

// AllCounted lists what helpers can count.
func AllCounted() []Counted {
	var list []Counted
	for id := None + 1; id < idCount; id++ {
		h := &helperTable[id]
		for _, c := range h.causes {
			list = append(list, Counted{id, c, h.name + "_" + c.String(), h.unit + " by what the helper did with them"})
		}
	}
	return list
}

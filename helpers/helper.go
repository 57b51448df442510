package helpers

import (
	"strconv"

	"github.com/xdpct/xdpct/flowtable"
)

// ID names a helper in flows, expectations, events and the state of the gateway: a
// number never changes its meaning.
type ID uint8

// The helpers. Another one is a file with its description and a line here and in
// the table.
const (
	None   ID = 0 // no helper
	IDFTP  ID = 1
	IDTFTP ID = 2
	IDSIP  ID = 3

	idCount = 4
)

// helperTable describes the helpers, by ID. Immutable.
var helperTable = [idCount]helper{
	IDFTP:  ftpHelper,
	IDTFTP: tftpHelper,
	IDSIP:  sipHelper,
}

// helper describes a helper: all that the rest of the gateway knows of it.
// Immutable.
type helper struct {
	name  string // as conntrack prints it and --helper names it; begins its counters' names
	proto uint8  // of the flows that may have it
	port  uint16 // their original destination port, unless --helper names others
	unit  string // what it counts
	// flowLifetime is for how long after each packet a flow with the helper lives; 0 =
	// as its protocol has it.
	flowLifetime flowtable.Tick
	// packet reads one packet of such a flow. It may announce flows
	// (Context.expect), change the payload, and keep what it has to remember in
	// Ext.Data and Ext.Text, which are zero at first.
	//
	// Hot: once per packet of a flow with the helper. 0 allocs unless it announces.
	packet  func(*Context) Verdict
	classes []class // of its expectations; Expectation.Class is an index
	causes  []Cause // what it counts, in the order in which that is shown
	loose   string  // what :loose allows; "" = there is no such option
	// valid judges an extension record from a file: whatever packet takes from it as a
	// length or a place has to be one. nil = packet takes nothing so.
	valid func(*flowtable.Ext) bool
}

// class is the policy of one class of expectations (kernel: struct
// nf_conntrack_expect_policy).
type class struct {
	name     string         // as /proc/net/nf_conntrack_expect shows it; "" = not at all
	max      int            // how many a flow may have pending; one more ends the oldest
	lifetime flowtable.Tick // how long the announced flow is waited for
}

// minPort is the lowest port that text may announce: services of hosts below it
// must not be opened by text that a browser can be made to send.
const minPort = 1024

// known tells whether there is a helper with this number.
func (id ID) known() bool { return id > None && id < idCount }

// ClassName returns the name of a class of its expectations, "" if it has none.
func (id ID) ClassName(class uint8) string {
	if !id.known() || int(class) >= len(helperTable[id].classes) {
		return ""
	}
	return helperTable[id].classes[class].name
}

// Keep gives a flow with a helper the lifetime that the helper wants for it, if it
// wants one. Call it when a packet has renewed the flow.
func Keep(t *flowtable.Table, idx uint32, now flowtable.Tick) {
	x := t.Ext(idx)
	if x == nil || !ID(x.Helper).known() {
		return
	}
	if lifetime := helperTable[x.Helper].flowLifetime; lifetime != 0 {
		t.Refresh(idx, lifetime, now)
	}
}

// Name returns the helper's name as conntrack prints it, "" for None.
func (id ID) Name() string {
	switch {
	case id == None:
		return ""
	case id.known():
		return helperTable[id].name
	}
	return "helper(" + strconv.Itoa(int(id)) + ")"
}

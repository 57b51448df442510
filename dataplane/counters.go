package dataplane

import (
	"sync/atomic"

	"github.com/xdpct/xdpct/flowtable"
)

// counter is written by its owner only and read by anyone. A plain add and an
// atomic store would do for one writer; an atomic add is used because all
// counters in the path are added to once a burst, or count rare events.
type counter = atomic.Uint64

// counters is what one worker counts. It is allocated apart from the worker so
// that readers do not touch the lines that the path works on.
type counters struct {
	_         [64]byte
	drops     [numDropReasons]counter
	invalid   [flowtable.NumInvalid]counter
	portRX    [maxPorts]counter // packets
	portTX    [maxPorts]counter // packets
	flowsNew  counter
	flowsGone counter
	earlyDrop counter
	tableFull counter
	handedIn  counter
	misspread counter // packets that came to another queue than RSS says
	punted    counter
	icmpSent  counter
	txErrors  counter
	assembled counter // datagrams that came in pieces
	joined    counter // of those, made one packet
	eventLost counter

	helperNoRoom counter
	hostsUntold  counter // flows whose source found no room to be counted
	expectNew    counter
	expectUsed   counter
	expectGone   counter
	framesFree   atomic.Int64
	framesHeld   atomic.Int64
	framesAside  atomic.Int64
	_            [64]byte
}

// maxPorts bounds the interfaces of a gateway, so that per-port figures are
// arrays.
const maxPorts = 16

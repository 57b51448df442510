package dataplane

import (
	"context"
	"log/slog"
	"time"
)

// watchPeriod is how often the fill of the flow tables is looked at.
const watchPeriod = time.Second

// fillMarks are the shares of a full flow table, in percent, that are warned
// about once each time they are passed.
var fillMarks = [...]int{80, 95}

// misspreadMark is the share of received packets, in percent, that may come to
// another queue than RSS says before it is warned about.
const misspreadMark = 1

// watcher warns of flow tables that run full, before packets are lost and
// while they are, and of NICs that spread packets otherwise than they told. It
// logs a change of level, not every second of it.
type watcher struct {
	log       *slog.Logger
	level     int    // of fillMarks passed at the last look
	refused   uint64 // new flows refused until the last look
	received  uint64 // packets until the last look
	misspread uint64 // of them to another queue than RSS says
	strange   bool   // too many since the look before
	least     int    // frames missing at the look of the last watchLooks that missed fewest
	looks     int    // since least began anew
}

// watchLooks is over how many looks frames have to be missing to be lost: the counts of
// workers are up to a tick old, so a single look says nothing on a gateway at work.
const watchLooks = 60

// watch looks at the tables until ctx ends.
func (g *Gateway) watch(ctx context.Context) {
	w := watcher{log: g.opts.Log}
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		used, size := 0, 0
		for _, t := range g.Tables() {
			used, size = max(used, t.Len()*100/t.Cap()), size+t.Cap()
		}
		w.look(used, size, g.sum(func(c *counters) uint64 { return c.tableFull.Load() }))
		w.account(g.Ledger().Missing, g.path.workers*2*BurstSize)
		w.compare(g.received(), g.sum(func(c *counters) uint64 { return c.misspread.Load() }))
	}
}

// look judges the fullest worker's table: percent of it in use, flows that all
// tables hold, new flows refused so far.
func (w *watcher) look(percent, size int, refused uint64) {
	level := 0
	for level < len(fillMarks) && percent >= fillMarks[level] {
		level++
	}
	if level > w.level {
		w.log.Warn("flow table is filling up: raise --max-flows", "percent", percent, "max_flows", size)
	}
	w.level = level
	if refused > w.refused {
		w.log.Error("flow table is full: new flows are refused", "refused", refused-w.refused, "max_flows", size)
	}
	w.refused = refused
}

// account judges the ledger of the frames: how many are in no place of it, and how many
// may be in the workers' hands. A leak ends in a gateway that forwards nothing, so it is
// told as soon as it is certain.
func (w *watcher) account(missing, inHand int) {
	if w.looks == 0 || missing < w.least {
		w.least = missing
	}
	if w.looks++; w.looks < watchLooks {
		return
	}
	if w.looks = 0; w.least > inHand {
		w.log.Error("frames are lost, please report this: restart before none is left", "missing", w.least)
	}
}

// compare judges how the NICs spread packets: received so far, and those of them
// that came to another queue than RSS says.
func (w *watcher) compare(received, misspread uint64) {
	share := (misspread - w.misspread) * 100
	strange := share > (received-w.received)*misspreadMark
	if strange && !w.strange {
		w.log.Warn("packets come to other queues than the NICs' RSS said at the start, and are handed over: "+
			"set it again with ethtool -X (some drivers forget it when an XDP program is attached), or restart",
			"packets", misspread-w.misspread)
	}
	w.received, w.misspread, w.strange = received, misspread, strange
}

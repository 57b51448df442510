package dataplane

import (
	"time"

	"github.com/xdpct/xdpct/flowtable"
)

// clock is a worker's time: read once a burst, the same for all packets in it.
// All workers of a gateway share one start, so that their ticks compare.
type clock struct {
	start time.Time      // carries the monotonic reading
	now   flowtable.Tick // since start
	wall  int64          // Unix time in nanoseconds, for events
}

// tick reads the time.
func (c *clock) tick() {
	since := time.Since(c.start)
	c.now = tickOf(since)
	c.wall = c.start.UnixNano() + int64(since)
}

// tickOf converts a duration since the start. The first tick is 1, because
// tick 0 means "never" in some records.
func tickOf(d time.Duration) flowtable.Tick {
	return flowtable.Tick(d*flowtable.TicksPerSecond/time.Second) + 1
}

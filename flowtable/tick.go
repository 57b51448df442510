package flowtable

import "time"

// TicksPerSecond is the resolution of the coarse clock: 1/16 s is fine enough
// for expiry exact to the second and lets 32 bits last 8.5 years.
const TicksPerSecond = 16

// Tick is a point in time or a duration in 1/16 s since an arbitrary start.
// It wraps after 8.5 years; points are compared by signed difference (Before).
type Tick uint32

// MaxTimeout is the longest time-out a flow can have, 194 days; longer ones are
// cut to it. A record keeps time-outs in 28 bits.
const MaxTimeout Tick = 1<<28 - 1

// Before reports whether k is earlier than o, across a wrap.
func (k Tick) Before(o Tick) bool { return int32(k-o) < 0 }

// Seconds returns a duration in whole seconds, rounded down as conntrack does.
func (k Tick) Seconds() uint32 { return uint32(k) / TicksPerSecond }

// Ticks converts a duration to ticks, rounded up, at most MaxTimeout.
func Ticks(d time.Duration) Tick {
	const unit = time.Second / TicksPerSecond
	if d <= 0 {
		return 0
	}
	if d >= time.Duration(MaxTimeout)*unit {
		return MaxTimeout
	}
	return Tick((d + unit - 1) / unit)
}

// Duration converts a duration in ticks to a time.Duration.
func (k Tick) Duration() time.Duration {
	return time.Duration(k) * (time.Second / TicksPerSecond)
}

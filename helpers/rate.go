package helpers

import "github.com/xdpct/xdpct/flowtable"

// allowance limits how often a flow may announce: when it was last looked at, in
// ticks, << 16 | announcements spent.
type allowance uint32

// How many announcements a flow may make: rateBurst at once, rateRefill more
// with each tick (512 a second). What is beyond has to wait.
const (
	rateBurst  = 256
	rateRefill = 32
)

// spend takes one announcement from the allowance; false = there is none.
func (a *allowance) spend(now flowtable.Tick) bool {
	ticks := min(uint32(uint16(now)-uint16(*a>>16)), rateBurst)
	spent := uint32(*a) & 0xffff
	spent -= min(spent, ticks*rateRefill)
	ok := spent < rateBurst
	if ok {
		spent++
	}
	*a = allowance(uint32(now)<<16 | spent)
	return ok
}

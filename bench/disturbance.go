package bench

import "golang.org/x/sys/unix"

// Disturbance notices when the kernel gives the CPU of the measuring thread to
// another one. Short pieces of a measurement in which that happened are better
// left out: on a machine that does other things, too, they would be all that
// the worst values tell, and much of what the others do.
type Disturbance struct {
	switches   int64 // involuntary ones of this thread, so far
	kept, left int   // pieces
}

// WatchDisturbance begins to watch the calling thread, which must be locked.
func WatchDisturbance() *Disturbance {
	return &Disturbance{switches: switches()}
}

// Seen reports whether the thread lost its CPU since the last call.
func (d *Disturbance) Seen() bool {
	before := d.switches
	d.switches = switches()
	return d.switches != before
}

// Keep reports whether the piece since the last call counts: if it was not
// disturbed, or if so many are that a quarter has to be kept all the same.
func (d *Disturbance) Keep() bool {
	if d.Seen() && d.left < 3*(d.kept+1) {
		d.left++
		return false
	}
	d.kept++
	return true
}

// switches returns how often the kernel has taken the CPU from this thread, 0
// if it does not tell.
func switches() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return u.Nivcsw
}

package forward

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpuTime is what the gateway's work has taken so far.
type cpuTime struct {
	at      time.Duration
	threads map[int]time.Duration // run time of each thread, by id
	core    time.Duration         // time that the gateway's CPU was not idle
}

// readCPU reads the run time of the gateway's NAPI threads and of the
// contender's threads. /proc/PID/schedstat has it in nanoseconds, interrupts
// in its course included.
func (l *lab) readCPU(r *Running) (*cpuTime, error) {
	t := &cpuTime{at: now(), threads: make(map[int]time.Duration)}
	tids, err := r.threads()
	if err != nil {
		return t, err
	}
	for _, tid := range slices.Concat(tids, l.napi.in, l.napi.out) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		word, _, _ := strings.Cut(string(text), " ")
		ns, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return t, fmt.Errorf("read /proc/%d/schedstat: %w", tid, err)
		}
		t.threads[tid] = time.Duration(ns)
	}
	idle, err := idleTime(l.site.CPU)
	t.core = t.at - idle
	return t, err
}

// since returns the run time of all threads since an earlier reading.
func (t *cpuTime) since(before *cpuTime) time.Duration {
	var spent time.Duration
	for tid, total := range t.threads {
		spent += total - before.threads[tid]
	}
	return spent
}

// idleTime is how long a CPU has been idle: exact in kernels that stop the tick
// when idle, but printed in units of 10 ms.
func idleTime(cpu int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 5 && f[0] == "cpu"+strconv.Itoa(cpu) {
			idle, err1 := strconv.ParseInt(f[4], 10, 64)
			wait, err2 := strconv.ParseInt(f[5], 10, 64)
			if err1 != nil || err2 != nil {
				return 0, fmt.Errorf("read /proc/stat: %q", line)
			}
			return time.Duration(idle+wait) * 10 * time.Millisecond, nil
		}
	}
	return 0, fmt.Errorf("/proc/stat knows no CPU %d", cpu)
}

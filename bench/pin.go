package bench

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// UsableCPUs returns the numbers of the CPUs that this process may run on.
func UsableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read the CPUs of this process: %w", err)
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// Pinned calls f on a thread that stays on one CPU, with the garbage collector
// off, as a measurement needs it. Afterwards all is as it was.
func Pinned(cpu int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the CPUs of this process: %w", err)
	}
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin the measuring thread to CPU %d: %w", cpu, err)
	}
	percent := debug.SetGCPercent(-1)
	err := f()
	debug.SetGCPercent(percent)
	if undo := unix.SchedSetaffinity(0, &before); undo != nil && err == nil {
		err = fmt.Errorf("free the measuring thread from CPU %d: %w", cpu, undo)
	}
	return err
}

// AvailableMemory returns how many bytes can be taken without swapping, as the
// kernel estimates it; 0 if it does not tell.
func AvailableMemory() uint64 {
	return meminfo("MemAvailable")
}

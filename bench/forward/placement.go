package forward

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Placement says which CPU is the gateway's and which one everything else has.
type Placement struct {
	Home, Gateway int
	// Both gives the gateway two queues and both CPUs. There is a generator on each
	// of them then, because the CPU decides which queue of a veth is reached by
	// redirection (veth_xdp_xmit).
	Both bool
}

// queues are the CPUs of the gateway, by queue.
func (p *Placement) queues() []int {
	switch {
	case !p.Both:
		return []int{p.Gateway}
	case p.Home%2 == 0:
		return []int{p.Home, p.Gateway}
	}
	return []int{p.Gateway, p.Home}
}

// generators are the CPUs that send, by part of the flows.
func (p *Placement) generators() []int {
	if !p.Both {
		return []int{p.Home}
	}
	return p.queues()
}

// mostUrgent is the nice value of the generator and of threads that never sleep.
const mostUrgent = -20

// napiThreads are the kernel's threads that receive for the lab's interfaces, by
// queue.
type napiThreads struct{ gen, in, out, sink []int }

// settle moves this process to the home CPU, where its children start, and puts
// its session before others. The function that it returns undoes both.
func (p *Placement) settle() (release func(), err error) {
	var before, home unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read the CPUs of this process: %w", err)
	}
	home.Set(p.Home)
	calm, err := raiseSession()
	if err != nil {
		return nil, err
	}
	if err := allow(&home); err != nil {
		calm()
		return nil, err
	}
	return func() {
		_ = allow(&before) // it was allowed before
		calm()
	}, nil
}

// allow lets all threads of this process run on some CPUs. New ones may run where
// the thread may that makes them.
func allow(cpus *unix.CPUSet) error {
	tids, err := threadsOf(os.Getpid())
	if err != nil {
		return err
	}
	for _, tid := range tids {
		if err := unix.SchedSetaffinity(tid, cpus); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("choose the CPU of thread %d: %w", tid, err)
		}
	}
	return nil
}

// raiseSession makes nice values mean something: where the kernel shares CPU
// time out between sessions (sched_autogroup), they only count within one, and
// a session has a nice value of its own.
func raiseSession() (release func(), err error) {
	const file = "/proc/self/autogroup"
	text, err := os.ReadFile(file)
	if err != nil {
		return func() {}, nil // sessions do not matter here
	}
	before, grouped, err := sessionNice(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if !grouped {
		return func() {}, nil
	}
	if err := os.WriteFile(file, []byte(strconv.Itoa(mostUrgent)), 0); err != nil {
		return nil, fmt.Errorf("raise the priority of this session: %w", err)
	}
	return func() { _ = os.WriteFile(file, []byte(before), 0) }, nil // it was taken before
}

// sessionNice reads a session's nice value out of /proc/PID/autogroup. The file is
// empty for a process that no setsid has put into a group of its own (init and what
// it starts; proc_sched_autogroup_show_task): such a process competes by its own
// nice value.
func sessionNice(text string) (nice string, grouped bool, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "", false, nil
	}
	_, nice, found := strings.Cut(text, " nice ")
	if !found {
		return "", false, fmt.Errorf("no nice value in %q", text)
	}
	return nice, true, nil
}

// place pins the NAPI threads and lets them run before everything else. Generator
// and sink share a CPU: there the sink comes first, or its queue of 256 packets
// would overflow while the generator runs. The kernel takes the CPU away from
// the generator after at most one batch.
func (l *lab) place(p *Placement) error {
	gateway := p.queues()
	home := slices.Repeat([]int{p.Home}, len(gateway))
	for _, t := range []struct {
		iface string
		tids  *[]int
		cpus  []int
	}{
		{l.gen.name, &l.napi.gen, home},
		{l.drain.name, &l.napi.sink, home},
		{l.site.In.Name, &l.napi.in, gateway},
		{l.site.Out.Name, &l.napi.out, gateway},
	} {
		tids, err := napiThreadsOf(t.iface, len(t.cpus))
		if err != nil {
			return err
		}
		*t.tids = tids
		for q, tid := range tids {
			if err := errors.Join(pin(tid, t.cpus[q]), realTime(tid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// promote puts a contender's threads into the class of the NAPI threads, where
// they take turns: each runs until it has nothing to do. A thread that never
// sleeps would keep those from running, so it stays in the ordinary class and
// they interrupt it, as interrupts do.
func (l *lab) promote(r *Running) error {
	const look = 100 * time.Millisecond // without traffic
	before, err := l.readCPU(r)
	if err != nil {
		return err
	}
	time.Sleep(look)
	after, err := l.readCPU(r)
	if err != nil {
		return err
	}
	for tid := range after.threads {
		if spins := after.threads[tid]-before.threads[tid] > look*9/10; spins {
			err = unix.Setpriority(unix.PRIO_PROCESS, tid, mostUrgent)
		} else {
			err = realTime(tid)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
			return fmt.Errorf("raise the priority of thread %d: %w", tid, err)
		}
	}
	return nil
}

// realTime lets a thread run before all that is not real-time.
func realTime(tid int) error {
	err := unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	if err != nil {
		return fmt.Errorf("put thread %d into the real-time class: %w", tid, err)
	}
	return nil
}

// threads lists all threads that work for a contender.
func (r *Running) threads() ([]int, error) {
	all := append([]int(nil), r.TIDs...)
	for _, pid := range r.PIDs {
		tids, err := threadsOf(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, tids...)
	}
	return all, nil
}

// threadsOf lists the threads of a process.
func threadsOf(pid int) ([]int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, fmt.Errorf("list threads of process %d: %w", pid, err)
	}
	tids := make([]int, 0, len(entries))
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, fmt.Errorf("list threads of process %d: %w", pid, err)
		}
		tids = append(tids, tid)
	}
	return tids, nil
}

// napiThreadsOf finds the kernel's threads of an interface by their name,
// napi/IF-ID. The queues have their IDs in the order of their numbers.
func napiThreadsOf(iface string, queues int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	byID := make(map[int]int)
	for _, f := range files {
		name, err := os.ReadFile(f)
		if err != nil {
			continue // a process that has ended meanwhile
		}
		word, found := strings.CutPrefix(strings.TrimSpace(string(name)), "napi/"+iface+"-")
		if !found {
			continue
		}
		id, err1 := strconv.Atoi(word)
		tid, err2 := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("find the NAPI threads of %s: %w", iface, err)
		}
		byID[id] = tid
	}
	if len(byID) != queues {
		return nil, fmt.Errorf("interface %s has %d NAPI threads, want %d: the kernel must have threaded NAPI (Linux 5.12)",
			iface, len(byID), queues)
	}
	tids := make([]int, 0, queues)
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		tids = append(tids, byID[id])
	}
	return tids, nil
}

// pin allows a thread one CPU.
func pin(tid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(tid, &set); err != nil {
		return fmt.Errorf("pin thread %d to CPU %d: %w", tid, cpu, err)
	}
	return nil
}

// pinned reports whether a thread may run on this CPU only.
func pinned(tid, cpu int) (bool, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(tid, &set); err != nil {
		return false, fmt.Errorf("read CPU affinity of thread %d: %w", tid, err)
	}
	return set.Count() == 1 && set.IsSet(cpu), nil
}

// check fails unless threads are where they have to be: the NAPI threads and,
// of a contender with threads, at least one on each of the gateway's CPUs.
func (l *lab) check(r *Running) error {
	for _, t := range []struct {
		what string
		tids []int
		cpus []int
	}{
		{"the sink", l.napi.sink, slices.Repeat([]int{l.site.HomeCPU}, len(l.site.CPUs))},
		{l.site.In.Name, l.napi.in, l.site.CPUs},
		{l.site.Out.Name, l.napi.out, l.site.CPUs},
	} {
		for q, tid := range t.tids {
			ok, err := pinned(tid, t.cpus[q])
			if err != nil {
				return err
			}
			if !ok {
				return fmt.Errorf("placement did not take: the NAPI thread of %s, queue %d, is not on CPU %d", t.what, q, t.cpus[q])
			}
		}
	}
	tids, err := r.threads()
	if err != nil || len(tids) == 0 {
		return err
	}
	for _, cpu := range l.site.CPUs {
		if !slices.ContainsFunc(tids, func(tid int) bool { ok, err := pinned(tid, cpu); return ok && err == nil }) {
			return fmt.Errorf("placement did not take: no thread of the contender is pinned to CPU %d", cpu)
		}
	}
	return nil
}

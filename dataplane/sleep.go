package dataplane

import (
	"golang.org/x/sys/unix"
)

// sleepLimit is how long a worker without packets sleeps, in milliseconds: one
// tick, so that timers fire in time on a silent link. With packets that the
// kernel has not taken yet it is retryLimit.
const (
	sleepLimit = 62
	retryLimit = 1
)

// sleeper is what an idle worker waits for.
type sleeper struct {
	fds []unix.PollFd // RX sockets, then the waker
}

// newSleeper collects the file descriptors of a worker.
func newSleeper(w *Worker) sleeper {
	var s sleeper
	for p := range w.ports {
		for q := range w.ports[p].queues {
			s.fds = append(s.fds, unix.PollFd{Fd: int32(w.ports[p].queues[q].sock.FD()), Events: unix.POLLIN})
		}
	}
	s.fds = append(s.fds, unix.PollFd{Fd: int32(w.edge.waker.fd), Events: unix.POLLIN})
	return s
}

// sleep waits for a packet, a handed-over packet, a command, or the next tick.
// The last look at the rings comes after the flag is up: whoever adds
// something afterwards sees the flag and wakes us.
func (w *Worker) sleep() {
	w.flushTX() // what the kernel refused before, and completions
	if w.cfg.spin {
		return
	}
	w.publishLedger()
	limit := sleepLimit
	if w.unsent() {
		limit = retryLimit
	}
	k := w.edge.waker
	k.sleeping.Store(true)
	if !w.hasWork() {
		// EINTR and every other outcome lead to the same: look again.
		_, _ = unix.Poll(w.idle.fds, limit)
		if wake := &w.idle.fds[len(w.idle.fds)-1]; wake.Revents != 0 {
			var drain [8]byte
			_, _ = unix.Read(k.fd, drain[:])
		}
	}
	k.sleeping.Store(false)
}

// arrived reports whether packets wait in an RX ring.
func (w *Worker) arrived() bool {
	for p := range w.ports {
		for q := range w.ports[p].queues {
			if w.ports[p].queues[q].sock.Received() {
				return true
			}
		}
	}
	return false
}

// unsent reports whether a TX ring still holds packets: the link's queue or the
// socket's send buffer was full.
func (w *Worker) unsent() bool {
	for i := range w.ports {
		if w.ports[i].tx.Outstanding().TX > 0 {
			return true
		}
	}
	return false
}

// hasWork reports whether another thread has left something.
func (w *Worker) hasWork() bool {
	if w.edge.mail.full.Load() || w.stopped.Load() {
		return true
	}
	for i := range w.edge.peers {
		if in := w.edge.peers[i].in; in != nil && in.len() > 0 {
			return true
		}
	}
	return false
}

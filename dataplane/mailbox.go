package dataplane

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrStopped is returned for commands to a gateway that is shutting down.
var ErrStopped = errors.New("gateway is stopped")

// mailbox carries commands of the control plane to a worker. The worker looks
// once a burst: one atomic load while there is none.
type mailbox struct {
	full atomic.Bool // there is something in todo
	mu   sync.Mutex
	todo []func(*Worker)
	shut bool
}

// readMail runs the commands that have come in. They must be short: packets
// wait meanwhile.
func (w *Worker) readMail() {
	if !w.edge.mail.full.Load() {
		return
	}
	m := &w.edge.mail
	m.mu.Lock()
	todo := m.todo
	m.todo = nil
	m.full.Store(false)
	m.mu.Unlock()
	for _, f := range todo {
		f(w)
	}
}

// do runs f on the worker's thread between two bursts and waits for it.
func (w *Worker) do(ctx context.Context, f func(*Worker)) error {
	done := make(chan struct{})
	m := &w.edge.mail
	m.mu.Lock()
	if m.shut {
		m.mu.Unlock()
		return ErrStopped
	}
	m.todo = append(m.todo, func(w *Worker) {
		defer close(done)
		f(w)
	})
	m.full.Store(true)
	m.mu.Unlock()
	w.edge.waker.wake()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shutMail refuses further commands and runs those that are waiting.
func (w *Worker) shutMail() {
	w.edge.mail.mu.Lock()
	w.edge.mail.shut = true
	w.edge.mail.mu.Unlock()
	w.readMail()
}

// waker ends a worker's sleep from another thread.
type waker struct {
	fd       int // eventfd
	sleeping atomic.Bool
}

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &waker{fd: fd}, nil
}

// wake ends the sleep, if there is one. No system call otherwise.
func (k *waker) wake() {
	if k.sleeping.Load() {
		// The only possible error is a full counter, and then it is awake.
		one := [8]byte{1} // native order: any number but 0
		_, _ = unix.Write(k.fd, one[:])
	}
}

func (k *waker) close() error { return unix.Close(k.fd) }

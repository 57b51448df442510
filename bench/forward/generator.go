package forward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// generator is one program that sends, and the CPU that it does so on.
type generator struct {
	objects generatorObjects
	cpu     int
}

// send runs the generator until the trial or ctx is over. It takes a thread of
// its own. The kernel would call the program repeat times; what ends it is a
// signal that Go uses for itself and that otherwise does nothing.
func (g *generator) send(ctx context.Context, namespace string) error {
	return inNamespace(namespace, func() error {
		tid := unix.Gettid()
		if err := pin(tid, g.cpu); err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, mostUrgent); err != nil {
			return fmt.Errorf("raise the generator's priority: %w", err)
		}
		over := make(chan struct{})
		var watcher sync.WaitGroup
		watcher.Go(func() { g.interrupt(ctx, tid, over) })
		defer watcher.Wait()
		defer close(over)
		for ctx.Err() == nil && !g.over() {
			err := runLive(g.objects.Generate.FD(), make([]byte, frameSize), math.MaxUint32, batch)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return fmt.Errorf("run the generator: %w", err)
			}
		}
		return ctx.Err()
	})
}

// interrupt ends the system call of the generator's thread once there is
// nothing more to send.
func (g *generator) interrupt(ctx context.Context, tid int, over <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if ctx.Err() != nil || g.over() {
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread waits for us before it ends
		}
	}
}

// over reports whether the time of the trial is up.
func (g *generator) over() bool {
	var sent generatorProgress
	err := g.objects.Sent.Get(&sent)
	return err != nil || sent.End != 0 && now() >= time.Duration(sent.End)
}

package peers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// patience is how long a program gets to end by itself.
const patience = 5 * time.Second

// child is a program that runs beside this one until it is stopped. A nil child
// was never started.
type child struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startChild starts a program. Its output goes nowhere: it has a log.
func startChild(cmd *exec.Cmd) (*child, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	c := &child{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is of no interest: it was told to
		close(c.done)
	}()
	return c, nil
}

// pid is the program's id, also when `ip netns exec` started it.
func (c *child) pid() int { return c.cmd.Process.Pid }

// running tells whether it has not ended yet.
func (c *child) running() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// stop waits for the end, and asks for it with more and more force.
func (c *child) stop() error {
	if c == nil {
		return nil
	}
	for _, signal := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL} {
		if signal != 0 {
			_ = c.cmd.Process.Signal(signal) // it may end at this moment
		}
		wait := patience
		if signal == 0 {
			wait = patience / 5
		}
		select {
		case <-c.done:
			return nil
		case <-time.After(wait):
		}
	}
	return fmt.Errorf("process %d does not end", c.pid())
}

// Package agent runs commands in the virtual machine for a test outside of it: a
// net/rpc service over the one serial line between them. The line's end is the end
// of everything, so that no machine outlives its test.
package agent

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/xdpct/xdpct/test/fdstore"
)

// Name is the service's, before the dot of its methods.
const Name = "Agent"

// Command is a program to run; no shell is involved.
type Command struct {
	Args    []string
	Timeout time.Duration // of Run: it is killed then
	Managed bool          // of Start: it is under the service manager
}

// Result is what a program wrote and how it ended.
type Result struct {
	Stdout, Stderr string
	Status         int  // exit status; -1 if a signal ended it, or it has not ended
	Ended          bool // false: it runs
}

// Signal is for a program that Start started.
type Signal struct {
	ID     int
	Number syscall.Signal
}

// Agent is the service.
type Agent struct {
	manager *fdstore.Store
	mu      sync.Mutex
	started []*process
}

// New returns the service; manager plays the service manager of programs that are to have
// one.
func New(manager *fdstore.Store) *Agent { return &Agent{manager: manager} }

// process is a program that runs or has ended.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{}
}

// output is written by a program while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts a program with open files, from descriptor 3 on; done is closed at its end.
func start(args []string, files []*os.File) (*process, error) {
	if len(args) == 0 {
		return nil, errors.New("no command")
	}
	p := &process{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.ExtraFiles = files
	p.cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the status is in ProcessState
		close(p.done)
	}()
	return p, nil
}

// result is how the program stands.
func (p *process) result() Result {
	r := Result{Status: -1}
	select {
	case <-p.done:
		r.Ended, r.Status = true, p.cmd.ProcessState.ExitCode()
	default:
	}
	r.Stdout, r.Stderr = p.stdout.String(), p.stderr.String()
	return r
}

// Run runs a program to its end.
func (a *Agent) Run(c *Command, r *Result) error {
	p, err := start(c.Args, nil)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		*r = p.result()
		return nil
	case <-time.After(c.Timeout):
		_ = p.cmd.Process.Kill()
		<-p.done
		*r = p.result()
		return fmt.Errorf("%v: killed after %v: %s%s", c.Args, c.Timeout, r.Stdout, r.Stderr)
	}
}

// Start starts a program and returns a number for it.
func (a *Agent) Start(c *Command, id *int) error {
	args, files := c.Args, []*os.File(nil)
	if c.Managed {
		var starter []string
		starter, files = a.manager.Passing()
		args = append(starter, args...)
	}
	p, err := start(args, files)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	*id = len(a.started)
	a.started = append(a.started, p)
	return nil
}

// find returns a program that Start started.
func (a *Agent) find(id int) (*process, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id < 0 || id >= len(a.started) {
		return nil, fmt.Errorf("no process %d", id)
	}
	return a.started[id], nil
}

// Kill sends a signal; a program that has ended is no mistake.
func (a *Agent) Kill(s *Signal, _ *struct{}) error {
	p, err := a.find(s.ID)
	if err == nil {
		_ = p.cmd.Process.Signal(s.Number)
	}
	return err
}

// Stored tells the names of the descriptors that the service manager keeps.
func (a *Agent) Stored(_ int, names *[]string) error {
	*names = a.manager.Stored()
	return nil
}

// Release has the service manager close what it keeps, as when a service is stopped.
func (a *Agent) Release(_ int, _ *struct{}) error {
	a.manager.Release()
	return nil
}

// Beat does nothing, see the caller.
func (a *Agent) Beat(_ int, _ *struct{}) error { return nil }

// Look tells what a program wrote so far, and whether it has ended.
func (a *Agent) Look(id int, r *Result) error {
	p, err := a.find(id)
	if err == nil {
		*r = p.result()
	}
	return err
}

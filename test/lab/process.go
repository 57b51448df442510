package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// commandTimeout is how long a command of a test may take before it is killed.
const commandTimeout = 90 * time.Second

// Namespace is a network namespace that programs can be run in.
type Namespace struct {
	Name string
}

// Result is how a program ended.
type Result struct {
	Stdout, Stderr string
	Status         int // exit status; -1 if a signal ended it
}

// Output is what the program wrote to either of its outputs.
func (r Result) Output() string { return r.Stdout + r.Stderr }

// Try runs a program to its end, however it ends.
func (n *Namespace) Try(args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := n.command(ctx, args)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Status: cmd.ProcessState.ExitCode()}
	if ctx.Err() != nil {
		r.Stderr += "\nkilled: it took longer than " + commandTimeout.String()
	} else if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		r.Stderr += "\n" + err.Error()
	}
	return r
}

// Run runs a program that has to succeed and returns its standard output.
func (n *Namespace) Run(t testing.TB, args ...string) string {
	t.Helper()
	r := n.Try(args...)
	if r.Status != 0 {
		t.Fatalf("%s: %s: exit status %d\n%s", n.Name, strings.Join(args, " "), r.Status, r.Output())
	}
	return r.Stdout
}

// Start starts a program that ends at the latest with the test.
func (n *Namespace) Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return n.startWith(t, nil, args)
}

// startWith is Start with open files, from descriptor 3 on.
func (n *Namespace) startWith(t testing.TB, files []*os.File, args []string) *Process {
	t.Helper()
	p := &Process{name: args[0], done: make(chan struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.cmd = n.command(context.Background(), args)
	p.cmd.ExtraFiles = files
	p.cmd.Stdout, p.cmd.Stderr = stream{p, &p.stdout}, stream{p, &p.stderr}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: start %s: %v", n.Name, strings.Join(args, " "), err)
	}
	go func() {
		_ = p.cmd.Wait() // the status is in ProcessState
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		p.changed.Broadcast()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		<-p.done
	})
	return p
}

func (n *Namespace) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Name}, args...)...)
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes
	return cmd
}

// Process is a program that runs in a namespace.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu             sync.Mutex
	changed        *sync.Cond // more output, or the end
	stdout, stderr bytes.Buffer
	ended          bool
}

// stream collects one output of a process.
type stream struct {
	p *Process
	b *bytes.Buffer
}

func (s stream) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.changed.Broadcast()
	return s.b.Write(b)
}

// PID is the process's id; `ip netns exec` becomes the program itself.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal; a process that has ended is no mistake.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stdout is what the process wrote so far.
func (p *Process) Stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// StdoutFrom is what the process wrote so far, without the first offset bytes.
func (p *Process) StdoutFrom(offset int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.stdout.Bytes()[offset:])
}

// Output is what the process wrote so far to both outputs.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String() + p.stderr.String()
}

// Wait waits for the end and returns how it came; the test fails after timeout.
func (p *Process) Wait(t testing.TB, timeout time.Duration) Result {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(timeout):
		t.Fatalf("%s has not ended within %v\n%s", p.name, timeout, p.Output())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Status: p.cmd.ProcessState.ExitCode()}
}

// WaitOutput waits until the output matches the regular expression.
func (p *Process) WaitOutput(t testing.TB, pattern string, timeout time.Duration) {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	expired := false
	timer := time.AfterFunc(timeout, func() {
		p.mu.Lock()
		expired = true
		p.mu.Unlock()
		p.changed.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !re.Match(p.stdout.Bytes()) && !re.Match(p.stderr.Bytes()) {
		if p.ended || expired {
			t.Fatalf("%s: no %q within %v (ended: %v); it wrote:\n%s%s",
				p.name, pattern, timeout, p.ended, &p.stdout, &p.stderr)
		}
		p.changed.Wait()
	}
}

// Eventually calls condition until it is true; the test fails after timeout.
func Eventually(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", timeout, what)
		}
	}
}

// StartServer starts a program and waits until it listens on the port of the
// protocol, "tcp" or "udp".
func (n *Namespace) StartServer(t testing.TB, protocol string, port int, args ...string) *Process {
	t.Helper()
	p := n.Start(t, args...)
	Eventually(t, 5*time.Second, strings.Join(args, " ")+" listens", func() bool {
		if !p.Running() {
			t.Fatalf("%s ended at once:\n%s", strings.Join(args, " "), p.Output())
		}
		return n.Run(t, "ss", "-Hln", "--"+protocol, fmt.Sprintf("sport = :%d", port)) != ""
	})
	return p
}

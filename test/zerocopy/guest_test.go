package zerocopy

import (
	"net/rpc"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
	"github.com/xdpct/xdpct/test/zerocopy/agent"
)

// commandTimeout is how long a program in the machine may take before it is killed.
const commandTimeout = time.Minute

// patience is how long something in the machine may take; the host may be busy.
const patience = 60 * time.Second

type result = agent.Result

func commandOf(args ...string) *agent.Command {
	return &agent.Command{Args: args, Timeout: commandTimeout}
}

// call calls the agent, which has to answer within a time that is longer than any
// command may take.
func (m *machine) call(t *testing.T, method string, args, reply any) {
	t.Helper()
	call := m.agent.Go(agent.Name+"."+method, args, reply, make(chan *rpc.Call, 1))
	select {
	case <-call.Done:
		if call.Error != nil {
			t.Fatalf("in the machine: %s: %v", method, call.Error)
		}
	case <-m.ended:
		t.Fatalf("the machine has ended during %s", method)
	case <-time.After(2 * commandTimeout):
		t.Fatalf("the machine does not answer to %s", method)
	}
}

// try runs a program in the machine to its end, however it ends.
func (m *machine) try(t *testing.T, args ...string) result {
	t.Helper()
	var r result
	m.call(t, "Run", commandOf(args...), &r)
	return r
}

// run runs a program in the machine that has to succeed and returns what it printed.
func (m *machine) run(t *testing.T, args ...string) string {
	t.Helper()
	r := m.try(t, args...)
	if r.Status != 0 {
		t.Fatalf("in the machine: %s: exit status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// program is one that runs in the machine.
type program struct {
	m    *machine
	id   int
	name string
}

// start starts a program in the machine.
func (m *machine) start(t *testing.T, args ...string) *program {
	t.Helper()
	return m.startCommand(t, commandOf(args...))
}

// startManaged starts a program in the machine under a service manager, which passes it
// the descriptors that it keeps of the one before.
func (m *machine) startManaged(t *testing.T, args ...string) *program {
	t.Helper()
	c := commandOf(args...)
	c.Managed = true
	return m.startCommand(t, c)
}

func (m *machine) startCommand(t *testing.T, c *agent.Command) *program {
	t.Helper()
	p := &program{m: m, name: c.Args[0]}
	m.call(t, "Start", c, &p.id)
	return p
}

// stored are the names of what the service manager keeps.
func (m *machine) stored(t *testing.T) []string {
	t.Helper()
	var names []string
	m.call(t, "Stored", 0, &names)
	return names
}

// release has the service manager close what it keeps.
func (m *machine) release(t *testing.T) {
	t.Helper()
	m.call(t, "Release", 0, &struct{}{})
}

// look is how the program stands.
func (p *program) look(t *testing.T) result {
	t.Helper()
	var r result
	p.m.call(t, "Look", p.id, &r)
	return r
}

// signal sends a signal to the program.
func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	p.m.call(t, "Kill", &agent.Signal{ID: p.id, Number: s}, &struct{}{})
}

// wait waits for the end of the program.
func (p *program) wait(t *testing.T) (r result) {
	t.Helper()
	lab.Eventually(t, patience, p.name+" ends", func() bool {
		r = p.look(t)
		return r.Ended
	})
	return r
}

// waitOutput waits until a line of the program's matches; it must not end before.
func (p *program) waitOutput(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	lab.Eventually(t, patience, p.name+" prints "+pattern, func() bool {
		r := p.look(t)
		if re.MatchString(r.Stdout) || re.MatchString(r.Stderr) {
			return true
		}
		if r.Ended {
			t.Fatalf("%s has ended with %d without %q:\n%s%s", p.name, r.Status, pattern, r.Stdout, r.Stderr)
		}
		return false
	})
}

package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/xdpct/xdpct/bench/forward"
)

// Contenders returns the gateways that bench/forward can measure, in the order
// of a table: first the ones without NAT. The program is xdpct, whose command
// bench l2fwd they are: in a process of their own, as all others, what this one
// does besides cannot keep them from running.
func Contenders(program string) []forward.Contender {
	return []forward.Contender{
		{Name: "l2fwd", KeepsTTL: true, Start: startL2fwd(program)},
		{Name: "asavie-l2fwd", KeepsTTL: true, Start: startL2fwd(program, "--asavie")},
		{Name: "ovs", NAT: true, Missing: missingOVS, Start: startOVS},
	}
}

// startL2fwd runs `xdpct bench l2fwd`.
func startL2fwd(program string, flags ...string) func(context.Context, *forward.Site) (*forward.Running, error) {
	return func(ctx context.Context, s *forward.Site) (*forward.Running, error) {
		args := append([]string{"bench", "l2fwd", "--cpu", strconv.Itoa(s.CPU)}, flags...)
		for _, p := range []forward.Port{s.In, s.Out} {
			args = append(args, p.Name+"="+p.PeerMAC.String())
		}
		cmd := s.Command(context.WithoutCancel(ctx), program, args...)
		said := newFirstLine()
		cmd.Stderr = said
		c, err := startChild(cmd)
		if err != nil {
			return nil, err
		}
		stop := func() error {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			return c.stop()
		}
		if err := said.forwarding(c); err != nil {
			return nil, errors.Join(fmt.Errorf("%s bench l2fwd: %w", program, err), stop())
		}
		return &forward.Running{PIDs: []int{c.pid()}, Stop: stop}, nil
	}
}

// firstLine is the first line that a program prints.
type firstLine struct {
	text bytes.Buffer
	line chan string
}

func newFirstLine() *firstLine { return &firstLine{line: make(chan string, 1)} }

// Write takes what the program prints; nothing after the first line counts.
func (f *firstLine) Write(p []byte) (int, error) {
	if !strings.Contains(f.text.String(), "\n") {
		f.text.Write(p)
		if line, _, whole := strings.Cut(f.text.String(), "\n"); whole {
			f.line <- line
		}
	}
	return len(p), nil
}

// forwarding waits until a program says that it forwards; any other line is why
// it does not.
func (f *firstLine) forwarding(c *child) error {
	select {
	case line := <-f.line:
		if strings.HasPrefix(line, "forwarding") {
			return nil
		}
		return errors.New(line)
	case <-c.done:
		return errors.New("it ended at once")
	}
}

package forward

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startLimit is how long a program may take until it forwards.
const startLimit = 20 * time.Second

// XDPCT is the gateway itself: the program at path, run with further flags.
func XDPCT(name, path string, flags ...string) Contender {
	return Contender{Name: name, NAT: true, Queues: true, Start: func(ctx context.Context, s *Site) (*Running, error) {
		return startXDPCT(ctx, s, path, flags)
	}}
}

// cpuList is a list of CPUs as --cpus takes it.
func cpuList(cpus []int) string {
	words := make([]string, len(cpus))
	for i, cpu := range cpus {
		words[i] = strconv.Itoa(cpu)
	}
	return strings.Join(words, ",")
}

func startXDPCT(ctx context.Context, s *Site, path string, flags []string) (*Running, error) {
	dir, err := os.MkdirTemp("", "xdpct-bench-")
	if err != nil {
		return nil, err
	}
	control := filepath.Join(dir, "control.sock")
	cmd := s.Command(ctx, path, append([]string{
		"run", "--internal", s.In.Name, "--external", s.Out.Name, "--snat", s.SNAT.String(),
		"--cpus", cpuList(s.CPUs), "--control", control, "--max-flows", "2M", "--log-level", "warn",
	}, flags...)...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	// The context's end is told politely: the sockets and programs go with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = startLimit
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		err := <-ended
		_ = os.RemoveAll(dir)
		if err != nil {
			return fmt.Errorf("%s: %w: %s", path, err, bytes.TrimSpace(said.Bytes()))
		}
		return nil
	}
	for end := time.Now().Add(startLimit); ; time.Sleep(10 * time.Millisecond) {
		// The socket is there once packets are being forwarded.
		if conn, err := net.Dial("unix", control); err == nil {
			conn.Close()
			return &Running{PIDs: []int{cmd.Process.Pid}, Stop: stop}, nil
		}
		select {
		case err := <-ended:
			ended <- err
			return nil, fmt.Errorf("it ended at once: %w", stop())
		default:
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("it did not forward after %v: %w", startLimit, stop())
		}
	}
}

package soak

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// session is a TCP connection that lasts as long as the course: numbered lines, and their
// echo. It does not wait for the echo before it goes on. A gateway that was killed has
// forgotten the flow until a packet comes from inside, and the echo may be all that was
// lost.
type session struct {
	conn             net.Conn
	sent, came       atomic.Int64 // lines
	writing, reading chan error   // how it ended
}

func (c *course) openSession(t *testing.T) *session {
	t.Helper()
	c.lab.Server.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
	s := &session{writing: make(chan error, 1), reading: make(chan error, 1)}
	err := c.lab.Client.Do(func() (err error) {
		s.conn, err = net.Dial("tcp", lab.ServerAddr+":7")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	go func() { s.writing <- s.write() }()
	go func() { s.reading <- s.read() }()
	return s
}

// write sends a line ten times a second.
func (s *session) write() error {
	for {
		if _, err := fmt.Fprintf(s.conn, "line %d\n", s.sent.Load()+1); err != nil {
			return err
		}
		s.sent.Add(1)
		time.Sleep(100 * time.Millisecond)
	}
}

// read fails unless every line comes back, in its order.
func (s *session) read() error {
	lines := bufio.NewScanner(s.conn)
	for lines.Scan() {
		if want := fmt.Sprintf("line %d", s.came.Load()+1); lines.Text() != want {
			return fmt.Errorf("came back as %q instead of %q", lines.Text(), want)
		}
		s.came.Add(1)
	}
	return fmt.Errorf("closed: %w", errors.Join(io.EOF, lines.Err()))
}

// check fails unless all that was sent by now comes back, and more.
func (s *session) check(t *testing.T) {
	t.Helper()
	want := s.sent.Load() + 5
	lab.Eventually(t, sessionWait, "the session goes on", func() bool {
		select {
		case err := <-s.writing:
			t.Fatalf("the session after %d lines: %v", s.sent.Load(), err)
		case err := <-s.reading:
			t.Fatalf("the session after %d lines: %v", s.came.Load(), err)
		default:
		}
		return s.came.Load() >= want
	})
}

func (s *session) close() { _ = s.conn.Close() } // a second time is no harm

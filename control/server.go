package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is where the socket is unless the operator names another place.
const DefaultPath = "/run/xdpct.sock"

const (
	// probeTimeout bounds the question whether a socket file has an owner.
	probeTimeout = time.Second
	// drainTimeout bounds how long Close waits for readers to take what has
	// been rendered for them.
	drainTimeout = time.Second
	// headerTimeout bounds how long a client may take to send its request.
	headerTimeout = 10 * time.Second
)

// ErrInUse means that another gateway answers on the socket.
var ErrInUse = errors.New("another gateway answers there")

// Server answers on a control socket.
type Server struct {
	backend Backend
	log     *slog.Logger
	http    *http.Server
	lis     net.Listener
	cancel  context.CancelFunc // ends the requests under way
	mu      sync.Mutex         // guards closing
	closing bool               // no request may start any more
	running sync.WaitGroup     // serve and the requests under way
	once    sync.Once
	err     error // of the first Close
}

// CheckPath reports whether a server could listen on path, without touching
// it: nil when the path is free or holds the socket of a process that has died,
// ErrInUse when a gateway answers there. run calls it before the long part of
// its set-up; Listen checks again.
func CheckPath(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: a file of that name exists and is no socket: remove it or give another --control", path)
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		c.Close()
		return fmt.Errorf("control socket %s: %w: stop it or give another --control", path, ErrInUse)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket %s: %w", path, err)
	}
	return nil
}

// Listen makes the socket, readable and writable by its owner only, and starts
// to answer. The socket of a process that has died is taken over. The caller
// must Close the server.
func Listen(path string, backend Backend, log *slog.Logger) (*Server, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("take over control socket: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	lc := net.ListenConfig{Control: ownerOnly}
	lis, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	s := &Server{backend: backend, log: log, lis: lis, cancel: cancel}
	s.http = &http.Server{
		Handler:           s.counted(s.routes()),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.running.Go(s.serve)
	return s, nil
}

// ownerOnly gives the socket file mode 0600 from its first moment on: bind(2)
// takes the mode of the socket's inode.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
		return cerr
	}
	return err
}

// AllowGroup lets the members of a group use the socket, too: mode 0660.
func (s *Server) AllowGroup(gid int) error {
	path := s.lis.Addr().String()
	err := os.Chown(path, -1, gid) // first: nobody else's group may have it for a moment
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return fmt.Errorf("give the control socket to group %d: %w", gid, err)
	}
	return nil
}

// serve accepts until Close.
func (s *Server) serve() {
	if err := s.http.Serve(s.lis); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("control socket stopped", "err", err)
	}
}

// counted lets Close wait for the requests under way.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			http.Error(w, "the gateway is stopping", http.StatusServiceUnavailable)
			return
		}
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		next.ServeHTTP(w, r)
	})
}

// Close ends event streams and long listings, and removes the socket. When it has returned, nothing uses the Backend any more, so that flow
// tables may be unmapped. It is idempotent.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
		s.cancel()
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err := s.http.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = s.http.Close()
		}
		s.running.Wait()
		s.err = err
	})
	return s.err
}

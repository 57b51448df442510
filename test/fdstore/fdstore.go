// Package fdstore plays a service manager for tests, as far as sd_notify(3) and
// sd_listen_fds(3) go: it keeps the descriptors that a program leaves with it and passes
// them to the next one. It is small, for the first process of the virtual machine of
// package zerocopy has it too.
package fdstore

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxPassed is how many descriptors a message can carry (SCM_MAX_FD).
const maxPassed = 253

// Store is what keeps them.
type Store struct {
	socket *net.UnixConn
	done   chan struct{}

	mu     sync.Mutex
	stored []*os.File // each has the name that the program gave it
}

// Listen starts to listen to programs at a socket of this path.
func Listen(path string) (*Store, error) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	s := &Store{socket: socket, done: make(chan struct{})}
	go s.listen()
	return s, nil
}

// listen takes messages until the socket is closed.
func (s *Store) listen() {
	defer close(s.done)
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*maxPassed))
	for {
		n, r, _, _, err := s.socket.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		s.handle(string(text[:n]), passed(rights[:r]))
	}
}

// passed returns the descriptors that came with a message.
func passed(rights []byte) []int {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return nil
	}
	fds, _ := unix.ParseUnixRights(&messages[0]) // nil if it is something else
	return fds
}

// handle does what a message asks for.
func (s *Store) handle(message string, fds []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines, name := strings.Split(message, "\n"), "stored"
	for _, line := range lines {
		if value, ok := strings.CutPrefix(line, "FDNAME="); ok {
			name = value
		}
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), name)
		if slices.Contains(lines, "FDSTORE=1") {
			s.stored = append(s.stored, file)
		} else {
			file.Close()
		}
	}
	if slices.Contains(lines, "FDSTOREREMOVE=1") {
		s.stored = slices.DeleteFunc(s.stored, func(f *os.File) bool {
			return f.Name() == name && f.Close() == nil
		})
	}
}

// Passing returns how a program is to be started that gets what is kept: by another one,
// whose arguments end with the program's, and with these files from descriptor 3 on.
func (s *Store) Passing() (starter []string, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, f := range s.stored {
		names = append(names, f.Name())
	}
	environment := fmt.Sprintf("NOTIFY_SOCKET=%s LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s",
		s.socket.LocalAddr(), len(names), strings.Join(names, ":"))
	return []string{"sh", "-c", "export " + environment + `; exec "$@"`, "sh"}, slices.Clone(s.stored)
}

// Put adds a file to what is kept; the store closes it.
func (s *Store) Put(f *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = append(s.stored, f)
}

// Stored returns the names of what is kept.
func (s *Store) Stored() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, f := range s.stored {
		names = append(names, f.Name())
	}
	return names
}

// Release closes all that is kept, as when a service is stopped.
func (s *Store) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.stored {
		f.Close()
	}
	s.stored = nil
}

// Close listens no more and closes all that is kept.
func (s *Store) Close() {
	s.socket.Close()
	<-s.done
	s.Release()
}

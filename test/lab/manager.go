package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// maxPassed is how many descriptors a message can carry (SCM_MAX_FD).
const maxPassed = 253

// Manager plays the service manager, as far as sd_notify(3) and sd_listen_fds(3) go: it
// keeps the descriptors that a gateway leaves with it and passes them to the next one.
type Manager struct {
	lab    *Lab
	socket *net.UnixConn
	done   chan struct{}

	mu     sync.Mutex
	stored []*os.File // each has the name that the gateway gave it
	told   []string   // all messages
}

// NewManager starts to listen to gateways.
func (l *Lab) NewManager(t testing.TB) *Manager {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(l.Dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{lab: l, socket: socket, done: make(chan struct{})}
	go m.listen()
	t.Cleanup(func() {
		socket.Close()
		<-m.done
		m.Release()
	})
	return m
}

// listen takes messages until the socket is closed.
func (m *Manager) listen() {
	defer close(m.done)
	text, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*maxPassed))
	for {
		n, r, _, _, err := m.socket.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		m.handle(string(text[:n]), passed(rights[:r]))
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
func (m *Manager) handle(message string, fds []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, message)
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
			m.stored = append(m.stored, file)
		} else {
			file.Close()
		}
	}
	if slices.Contains(lines, "FDSTOREREMOVE=1") {
		m.stored = slices.DeleteFunc(m.stored, func(f *os.File) bool {
			return f.Name() == name && f.Close() == nil
		})
	}
}

// StartXDPCT starts xdpct on lan and wan and passes it what is kept. When the test ends it
// has to end cleanly and leave nothing behind but what Release releases.
func (m *Manager) StartXDPCT(t testing.TB, flags ...string) *Gateway {
	t.Helper()
	m.mu.Lock()
	files := slices.Clone(m.stored)
	m.mu.Unlock()
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	environment := fmt.Sprintf("NOTIFY_SOCKET=%s LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=%s",
		m.socket.LocalAddr(), len(files), strings.Join(names, ":"))
	g := &Gateway{lab: m.lab, binary: Binary(t), Control: filepath.Join(m.lab.Dir, "xdpct.sock"), manager: m}
	g.start(t, []string{"bash", "-c", "export " + environment + `; exec "$@"`, "bash"}, files, flags)
	return g
}

// Put adds a file to what is kept; the manager closes it.
func (m *Manager) Put(f *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stored = append(m.stored, f)
}

// Stored returns the names of what is kept.
func (m *Manager) Stored() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, f := range m.stored {
		names = append(names, f.Name())
	}
	return names
}

// Told returns all messages of gateways.
func (m *Manager) Told() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.told)
}

// Release closes all that is kept, as when a service is stopped.
func (m *Manager) Release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.stored {
		f.Close()
	}
	m.stored = nil
}

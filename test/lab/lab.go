package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// Addresses of the topology that scripts/lab builds.
const (
	ClientAddr     = "10.1.2.3"
	GatewayLAN     = "10.1.2.1"
	GatewayWAN     = "203.0.113.1"
	ServerAddr     = "203.0.113.47"
	NATAddr        = "198.51.100.32" // routed to the gateway by the server, configured nowhere
	SecondAddr     = "10.1.2.4"      // see AddSecond
	ClientAddr6    = "fd00:1:2::3"
	SecondAddr6    = "fd00:1:2::4"
	ServerAddr6    = "2001:db8:113::47"
	MaxFrameLength = 1514 // bytes, Ethernet header included
)

// sequence makes the names of the labs of one test process unique.
var sequence atomic.Uint32

// Lab is one client, gateway and server. It lives as long as the test.
type Lab struct {
	Client, Gateway, Server *Namespace
	// Second is another host on the client's wire; nil without AddSecond.
	Second *Namespace
	// Dir is a scratch folder that every user may read.
	Dir    string
	name   string
	script string // path of scripts/lab
	root   string // folder of the repository
}

// New builds a lab whose ports have the given number of queues. It skips nothing:
// without root or without a built binary the test fails.
func New(t testing.TB, queues int) *Lab {
	t.Helper()
	l := newLab(t, "up", fmt.Sprint(queues))
	l.Gateway = &Namespace{Name: l.name + "-gateway"}
	return l
}

// NewEnds builds a lab without a gateway: Gateway is nil, and eth0 of client and
// server are TAP devices for a virtual machine, see OpenTAP.
func NewEnds(t testing.TB) *Lab {
	t.Helper()
	return newLab(t, "ends")
}

// AddSecond adds Second. The client's address is then on br0, no longer on eth0.
func (l *Lab) AddSecond(t testing.TB) {
	t.Helper()
	l.Script(t, "second")
	l.Second = &Namespace{Name: l.name + "-second"}
}

// newLab builds a lab by a verb of scripts/lab.
func newLab(t testing.TB, verb string, args ...string) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root for network namespaces and AF_XDP: sudo make test-root")
	}
	root := repository(t)
	l := &Lab{
		Dir:    t.TempDir(),
		name:   fmt.Sprintf("xdpct-%d-%d", os.Getpid(), sequence.Add(1)),
		script: filepath.Join(root, "scripts", "lab"),
		root:   root,
	}
	l.Client = &Namespace{Name: l.name + "-client"}
	l.Server = &Namespace{Name: l.name + "-server"}
	// vsftpd serves as user ftp, which has to be able to get here.
	for dir := l.Dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatalf("open the test's folder to all users: %v", err)
		}
	}
	t.Cleanup(func() { l.remove(t) })
	l.Script(t, verb, args...)
	return l
}

// remove takes the network down and fails the test if something is left of it.
func (l *Lab) remove(t testing.TB) {
	t.Helper()
	l.Script(t, "down")
	if out, err := exec.Command(l.script, "left", l.name).CombinedOutput(); err != nil {
		t.Errorf("left over after the test: %s", out)
	}
}

// Script runs one command of scripts/lab on this lab: verb, arguments.
func (l *Lab) Script(t testing.TB, verb string, args ...string) {
	t.Helper()
	args = append([]string{verb, l.name}, args...)
	if out, err := exec.Command(l.script, args...).CombinedOutput(); err != nil {
		t.Fatalf("scripts/lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Cross makes what the client sends come to queue 0 of the gateway, and what the
// server sends to queue 1: the directions of a flow never share a queue.
func (l *Lab) Cross(t testing.TB) {
	t.Helper()
	l.Script(t, "queue", "client", "0")
	l.Script(t, "queue", "server", "1")
}

// Serve starts vsftpd and nginx in a namespace. They serve the files of the
// folder that it returns; FTP clients may upload to its sub-folder upload.
func (l *Lab) Serve(t testing.TB, ns *Namespace) string {
	t.Helper()
	role := strings.TrimPrefix(ns.Name, l.name+"-")
	dir := filepath.Join(l.Dir, role)
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.Script(t, "serve", role, dir)
	return filepath.Join(dir, "files")
}

// Hold keeps new TCP connections of a host (its role in scripts/lab), FTP control apart,
// from leaving until Release: what expects them then waits.
func (l *Lab) Hold(t testing.TB, role string) {
	t.Helper()
	l.Script(t, "hold", role)
}

// Release lets the connections go that Hold kept. The end's TCP sends its SYN
// again within a second.
func (l *Lab) Release(t testing.TB, role string) {
	t.Helper()
	l.Script(t, "release", role)
}

// Binary is the path of the xdpct binary under test.
func Binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("XDPCT")
	if path == "" {
		path = filepath.Join(repository(t), "bin", "xdpct")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no binary to test: %v: make build", err)
	}
	return path
}

// repository finds the folder that holds go.mod.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test's folder")
	return ""
}

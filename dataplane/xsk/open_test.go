package xsk

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func setUp(t testing.TB, ifindex int, up bool) {
	t.Helper()
	l, err := netlink.LinkByIndex(ifindex)
	mustDo(t, "find link", err)
	if up {
		mustDo(t, "up", netlink.LinkSetUp(l))
	} else {
		mustDo(t, "down", netlink.LinkSetDown(l))
	}
}

func TestOpenRefusesWrongOptions(t *testing.T) {
	u := newTestUMEM(t, UMEMOptions{Frames: 16})
	tests := []struct {
		name string
		o    SocketOptions
	}{
		{"no UMEM", SocketOptions{}},
		{"negative queue", SocketOptions{UMEM: u, Queue: -1}},
		{"ring not a power of two", SocketOptions{UMEM: u, RXSize: 100}},
		{"negative ring", SocketOptions{UMEM: u, FillSize: -8}},
		{"negative busy polling", SocketOptions{UMEM: u, BusyPoll: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if s, err := Open(tt.o); err == nil {
				s.Close()
				t.Error("accepted")
			}
		})
	}
}

func TestOpenExplainsWhatIsWrong(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "open0", 2)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	other := newTestUMEM(t, UMEMOptions{Frames: 64})
	newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0)})

	zeroCopy := smallRings(other, &port.Device, 1)
	zeroCopy.ZeroCopy = ZeroCopyOn
	tests := []struct {
		name string
		o    SocketOptions
		want error
	}{
		{"queue taken, other UMEM", smallRings(other, &port.Device, 0), ErrQueueBusy},
		{"queue taken, same UMEM", smallRings(u, &port.Device, 0), ErrQueueBusy},
		{"zero-copy on veth", zeroCopy, ErrNoZeroCopy},
		{"queue beyond the last, first socket", smallRings(other, &port.Device, 7), ErrNoQueue},
		{"queue beyond the last, shared", smallRings(u, &port.Device, 7), ErrNoQueue},
		{"no such interface", smallRings(other, &Device{Ifindex: 1 << 20}, 0), ErrNoPort},
	}
	for _, tt := range tests {
		// Not t.Run: the namespace belongs to this thread.
		s, err := Open(tt.o)
		if err == nil {
			s.Close()
		}
		t.Logf("%s: %v", tt.name, err)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// OpenAll leaves nothing behind when one socket cannot be had.
func TestOpenAllIsAllOrNone(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "all0", 2)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	_, err := OpenAll([]SocketOptions{
		smallRings(u, &port.Device, 0), smallRings(u, &port.Device, 1), smallRings(u, &port.Device, 2),
	})
	checkErrorIs(t, err, ErrNoQueue)
	sockets := newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0), smallRings(u, &port.Device, 1)})
	if sockets[0].ZeroCopy() || sockets[1].ZeroCopy() {
		t.Error("a veth says that it does zero-copy")
	}
	if u.Close() == nil {
		t.Error("a UMEM with open sockets was closed")
	}
}

// A socket that cannot be had leaves no file and no mapping.
func TestFailedOpenLeavesNothing(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "leak0", 1)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	count := func() (files, mappings int) {
		entries, err := os.ReadDir("/proc/self/fd")
		mustDo(t, "read fds", err)
		text, err := os.ReadFile("/proc/self/maps")
		mustDo(t, "read maps", err)
		return len(entries), strings.Count(string(text), "[xdp]") + strings.Count(string(text), "socket:")
	}
	files, mappings := count()
	for range 3 {
		_, err := Open(smallRings(u, &port.Device, 5))
		checkErrorIs(t, err, ErrNoQueue)
	}
	if f, m := count(); f != files || m != mappings {
		t.Errorf("%d files and %d mappings, before %d and %d", f, m, files, mappings)
	}
	s, err := Open(smallRings(u, &port.Device, 0))
	mustDo(t, "open", err)
	if _, m := count(); m != mappings+4 {
		t.Errorf("an open socket has %d mappings, want 4: the count above counts nothing", m-mappings)
	}
	mustDo(t, "close", s.Close())
	if f, m := count(); f != files || m != mappings {
		t.Errorf("after Close %d files and %d mappings, before %d and %d", f, m, files, mappings)
	}
}

// The socket that brought the UMEM may go first; the others live on and new
// ones can still join.
func TestFirstSocketMayCloseFirst(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "first0", 3)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	first, err := Open(smallRings(u, &port.Device, 0))
	mustDo(t, "open first", err)
	newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 1)})
	mustDo(t, "close first", first.Close())
	mustDo(t, "close first again", first.Close())
	newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 2), smallRings(u, &port.Device, 0)})
}

// A queue that is released while Open waits is got.
func TestOpenWaitsForABusyQueue(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "busy0", 1)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	other := newTestUMEM(t, UMEMOptions{Frames: 64})
	owner, err := Open(smallRings(other, &port.Device, 0))
	mustDo(t, "open", err)
	released := make(chan error)
	go func() {
		time.Sleep(100 * time.Millisecond)
		released <- owner.Close()
	}()
	newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0)})
	mustDo(t, "close", <-released)
}

// With ZeroCopyAuto a port that is not trusted is not asked for zero-copy, and the reason
// is told.
func TestAutoCopiesWhereZeroCopyIsDistrusted(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "trust0", 1)
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	o := smallRings(u, &port.Device, 0)
	o.Name, o.Distrust = "trust0", ErrHeaderAddress
	sockets := newTestSockets(t, []SocketOptions{o})
	reason := sockets[0].CopyReason()
	checkErrorIs(t, reason, ErrHeaderAddress)
	if errors.Is(reason, ErrNoZeroCopy) || !strings.Contains(reason.Error(), "interface trust0: ") {
		t.Errorf("the reason is %v", reason)
	}
}

package xsk

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNewUMEMRefusesWrongSizes(t *testing.T) {
	tests := []struct {
		name string
		o    UMEMOptions
	}{
		{"no frames", UMEMOptions{}},
		{"negative frames", UMEMOptions{Frames: -1}},
		{"too many frames", UMEMOptions{Frames: 1 << 40}},
		{"frame size not a power of two", UMEMOptions{Frames: 16, FrameSize: 3000}},
		{"frame larger than a page", UMEMOptions{Frames: 16, FrameSize: 8192}},
		{"frame too small", UMEMOptions{Frames: 16, FrameSize: 1024}},
		{"headroom fills the frame", UMEMOptions{Frames: 16, Headroom: 2048 - 256}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if u, err := NewUMEM(tt.o); err == nil {
				u.Close()
				t.Error("accepted")
			}
		})
	}
}

func TestUMEMAddressesFrames(t *testing.T) {
	for _, huge := range []bool{false, true} {
		u := newTestUMEM(t, UMEMOptions{Frames: 64, FrameSize: 4096, Headroom: 64, HugePages: huge})
		t.Logf("huge pages %v: got %s pages", huge, u.Pages())
		if u.Frames() != 64 || u.Size() != 64*4096 || u.MaxPacket() != 4096-256-64 {
			t.Errorf("%d frames, %d bytes, packets of %d", u.Frames(), u.Size(), u.MaxPacket())
		}
		addr := u.Frame(3) + 320
		if got := u.FrameOf(addr); got != 3*4096 {
			t.Errorf("FrameOf(%d) = %d", addr, got)
		}
		b := u.Bytes(addr, 100)
		if len(b) != 100 || cap(b) != 100 {
			t.Errorf("Bytes: length %d, capacity %d, want 100", len(b), cap(b))
		}
		b[0] = 7
		room := u.FrameRoom(addr)
		if len(room) != 4096-320 || cap(room) != len(room) || room[0] != 7 {
			t.Errorf("FrameRoom: length %d, capacity %d, first byte %d", len(room), cap(room), room[0])
		}
		if room := u.FrameRoom(u.Frame(63)); len(room) != 4096 {
			t.Errorf("FrameRoom of the last frame: %d bytes", len(room))
		}
	}
}

func TestUMEMCloseIsIdempotent(t *testing.T) {
	u, err := NewUMEM(UMEMOptions{Frames: 16})
	mustDo(t, "make UMEM", err)
	mustDo(t, "close", u.Close())
	mustDo(t, "close again", u.Close())
	if _, err := Open(SocketOptions{UMEM: u}); err == nil {
		t.Error("a socket was opened on a closed UMEM")
	}
}

// Reserved huge pages are used if the machine has any. The test reserves some
// for its own time if it may.
func TestUMEMUsesReservedHugePages(t *testing.T) {
	needRoot(t)
	const knob = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(knob)
	if err != nil {
		t.Skipf("NOT TESTED: no huge pages in this kernel: %v", err)
	}
	if strings.TrimSpace(string(before)) == "0" {
		if err := os.WriteFile(knob, []byte("4"), 0); err != nil {
			t.Skipf("NOT TESTED: cannot reserve huge pages: %v", err)
		}
		t.Cleanup(func() { mustDo(t, "restore huge pages", os.WriteFile(knob, before, 0)) })
	}
	u, err := NewUMEM(UMEMOptions{Frames: 1024, HugePages: true})
	mustDo(t, "make UMEM", err)
	defer u.Close()
	if u.Pages() != PagesReserved {
		t.Errorf("got %s pages", u.Pages())
	}
}

// Children of the memlock test leave root and its capabilities behind.
func TestMemlockLimitIsExplained(t *testing.T) {
	needRoot(t)
	if err := unprivileged(t, "memlock"); err != nil {
		t.Error(err)
	}
}

// Frames of wires need no right to lock memory.
func TestUnlockedFramesNeedNoLimit(t *testing.T) {
	needRoot(t)
	if err := unprivileged(t, "unlocked"); err != nil {
		t.Error(err)
	}
}

func childUnlocked() error {
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{}); err != nil {
		return err
	}
	u, err := NewUMEM(UMEMOptions{Frames: 1024, Unlocked: true})
	if err != nil {
		return err
	}
	return u.Close()
}

func childMemlock() error {
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}); err != nil {
		return err
	}
	_, err := NewUMEM(UMEMOptions{Frames: 1024})
	if !errors.Is(err, ErrMemlock) {
		return errors.Join(errors.New("want ErrMemlock, got:"), err)
	}
	return nil
}

func childPermission() error {
	u, err := NewUMEM(UMEMOptions{Frames: 2})
	if err != nil {
		return err
	}
	if _, err := Open(SocketOptions{UMEM: u, Ifindex: 1}); !errors.Is(err, ErrNotPermitted) {
		return errors.Join(errors.New("socket: want ErrNotPermitted, got:"), err)
	}
	if _, err := NewMaps(MapsOptions{}); !errors.Is(err, ErrNotPermitted) {
		return errors.Join(errors.New("maps: want ErrNotPermitted, got:"), err)
	}
	return nil
}

func TestMissingCapabilityIsExplained(t *testing.T) {
	needRoot(t)
	if err := unprivileged(t, "permission"); err != nil {
		t.Error(err)
	}
}

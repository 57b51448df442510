//go:build invariants

package dataplane

import (
	"strings"
	"testing"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// panics returns what f panics with, "" if it does not.
func panics(f func()) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text, _ = r.(string)
		}
	}()
	f()
	return ""
}

// TestInvariantsFindBugs does to frames what must not be done to them.
func TestInvariantsFindBugs(t *testing.T) {
	umem, err := xsk.NewUMEM(xsk.UMEMOptions{Frames: 64, Unlocked: true})
	if err != nil {
		t.Fatal(err)
	}
	defer umem.Close()
	fresh := func() (*framePool, uint64) {
		p := newFramePools(1, 64, uint64(umem.FrameSize()), newFrameCheck(umem))[0]
		addr, _ := p.get()
		return p, addr
	}
	for _, c := range []struct {
		name, want string
		bug        func(*framePool, uint64)
	}{
		{"freed twice", "is free", func(p *framePool, addr uint64) { p.put(addr); p.put(addr + 300) }},
		{"freed while the kernel has it", "is the kernel's", func(p *framePool, addr uint64) {
			p.check.sent([]xsk.Desc{{Addr: addr + 256, Len: 60}})
			p.put(addr)
		}},
		{"sent after it was freed", "is free", func(p *framePool, addr uint64) {
			p.put(addr)
			p.check.sent([]xsk.Desc{{Addr: addr, Len: 60}})
		}},
		{"received though nobody gave it", "is a worker's", func(p *framePool, addr uint64) {
			p.check.received([]xsk.Desc{{Addr: addr}})
		}},
		{"written to while it was free", "was written to", func(p *framePool, addr uint64) {
			p.put(addr)
			umem.FrameRoom(addr)[100] = 1
			p.get()
		}},
		{"no frame", "is in no frame", func(p *framePool, _ uint64) { p.check.completed([]uint64{1 << 40}) }},
	} {
		p, addr := fresh()
		if got := panics(func() { c.bug(p, addr) }); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want a panic with %q", c.name, got, c.want)
		}
		p, addr = fresh()
		if got := panics(func() { p.put(addr); p.get() }); got != "" {
			t.Errorf("right use: %s", got)
		}
	}
}

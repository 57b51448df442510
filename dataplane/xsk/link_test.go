package xsk

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inherit opens a link as a process does that it was passed to.
func inherit(t *testing.T, p *Program) *Link {
	t.Helper()
	fd, ok := p.LinkFD()
	if !ok {
		t.Fatal("the program has no link")
	}
	l, err := OpenLink(duplicate(t, fd))
	mustDo(t, "open link", err)
	t.Cleanup(func() { l.Close() })
	return l
}

func duplicate(t *testing.T, fd int) int {
	t.Helper()
	copied, err := unix.Dup(fd)
	mustDo(t, "duplicate descriptor", err)
	return copied
}

// decided adds up the decisions of programs.
func decided(t *testing.T, programs ...*Program) (sum uint64) {
	t.Helper()
	var counts [Decisions]uint64
	for _, p := range programs {
		mustDo(t, "counters", p.Counters(&counts))
	}
	for _, n := range counts {
		sum += n
	}
	return sum
}

// TestReplaceMissesNoPacket: programs take each other's place while frames come, and each
// frame has met one of them.
func TestReplaceMissesNoPacket(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "swap0", 1)
	m := newTestMaps(t)
	programs := []*Program{newTestProgram(t, m, &port.Device)}
	mustDo(t, "attach", programs[0].Attach(port.Ifindex, AttachAuto))
	frame := udp4(port.MAC, port.peerMAC, [4]byte{192, 0, 2, 1}, 9, 60)
	var sent atomic.Uint64
	for range 20 {
		last, next := programs[len(programs)-1], newTestProgram(t, m, &port.Device)
		var sending sync.WaitGroup
		begun := make(chan struct{})
		sending.Go(func() {
			for i := range 200 {
				if _, err := unix.Write(port.wire, frame); err == nil {
					sent.Add(1)
				}
				if i == 20 {
					close(begun)
				}
			}
		})
		<-begun
		mustDo(t, "replace", next.Replace(inherit(t, last), port.Ifindex, AttachAuto))
		if next.Mode() != AttachNative {
			t.Errorf("mode %s", next.Mode())
		}
		mustDo(t, "detach the one before", last.Detach()) // the link is the next one's, too
		sending.Wait()
		programs = append(programs, next)
	}
	if sent.Load() == 0 {
		t.Fatal("nothing was sent")
	}
	for end := time.Now().Add(2 * time.Second); decided(t, programs...) != sent.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of %d frames have met a program", decided(t, programs...), sent.Load())
		}
	}
	mustDo(t, "detach", programs[len(programs)-1].Detach())
	if xdpAttached(t, port.Ifindex) {
		t.Error("a program stays attached")
	}
}

func TestReplaceRefusesWhatDoesNotFit(t *testing.T) {
	newLab(t)
	port, other := newTestPort(t, "fit0", 1), newTestPort(t, "fit1", 1)
	m := newTestMaps(t)
	old, next := newTestProgram(t, m, &port.Device), newTestProgram(t, m, &port.Device)
	mustDo(t, "attach", old.Attach(port.Ifindex, AttachGeneric))
	l := inherit(t, old)
	if l.Ifindex() != port.Ifindex {
		t.Errorf("interface %d, want %d", l.Ifindex(), port.Ifindex)
	}
	checkErrorIs(t, next.Replace(l, port.Ifindex, AttachNative), ErrStaleLink)
	checkErrorIs(t, next.Replace(l, other.Ifindex, AttachAuto), ErrStaleLink)
	checkErrorIs(t, next.Replace(l, 1<<20, AttachAuto), ErrNoPort)
	mustDo(t, "replace in the same mode", next.Replace(l, port.Ifindex, AttachAuto))
	if next.Mode() != AttachGeneric {
		t.Errorf("mode %s", next.Mode())
	}
	checkErrorIs(t, next.Replace(inherit(t, old), port.Ifindex, AttachAuto), ErrProgramAttached)
	checkErrorIs(t, newTestProgram(t, m, &port.Device).Replace(l, port.Ifindex, AttachAuto), ErrStaleLink) // it is next's

	kept := inherit(t, next)
	mustDo(t, "detach for all", inherit(t, next).Detach())
	if xdpAttached(t, port.Ifindex) {
		t.Error("the program stays attached although its link was detached")
	}
	checkErrorIs(t, next.Replace(kept, port.Ifindex, AttachAuto), ErrProgramAttached)
	device, err := netlink.LinkByIndex(other.Ifindex)
	mustDo(t, "find interface", err)
	mustDo(t, "detach", old.Detach())
	mustDo(t, "attach", old.Attach(other.Ifindex, AttachAuto))
	mustDo(t, "delete interface", netlink.LinkDel(device))
	gone := inherit(t, old)
	if gone.Ifindex() != 0 {
		t.Errorf("a link of no interface tells %d", gone.Ifindex())
	}
	mustDo(t, "detach", gone.Detach())
	mustDo(t, "detach again", gone.Detach())
}

// Indices are of a namespace: an interface of the same number elsewhere is another one.
func TestReplaceLooksAtTheNamespace(t *testing.T) {
	newLab(t)
	const index = 4242
	m := newTestMaps(t)
	add := func() {
		v := netlink.NewVeth(netlink.LinkAttrs{Name: "same0", Index: index})
		v.PeerName = "same1"
		mustDo(t, "add veth", netlink.LinkAdd(v))
	}
	add()
	device := Device{MAC: ourMAC, RXQueues: 1, TXQueues: 1}
	here, there, next := newTestProgram(t, m, &device), newTestProgram(t, m, &device), newTestProgram(t, m, &device)
	mustDo(t, "attach", here.Attach(index, AttachAuto))
	l := inherit(t, here)
	inNewNetNS(t, func() {
		add()
		mustDo(t, "attach", there.Attach(index, AttachAuto))
		checkErrorIs(t, next.Replace(l, index, AttachAuto), ErrStaleLink)
	})
	mustDo(t, "replace", next.Replace(l, index, AttachAuto))
}

func TestOpenLinkRefusesOtherDescriptors(t *testing.T) {
	newLab(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	mustDo(t, "make file", err)
	defer file.Close()
	if _, err := OpenLink(duplicate(t, int(file.Fd()))); err == nil {
		t.Error("a file was taken for a link")
	}
	dissector, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.FlowDissector, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	mustDo(t, "load", err)
	defer dissector.Close()
	here, err := netns.Get()
	mustDo(t, "get namespace", err)
	defer here.Close()
	l, err := link.AttachNetNs(int(here), dissector)
	mustDo(t, "attach", err)
	defer l.Close()
	fd := duplicate(t, l.FD())
	if _, err := OpenLink(fd); err == nil {
		t.Error("a link of a flow dissector was taken for one of XDP")
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
		t.Error("its descriptor stays open")
	}
}

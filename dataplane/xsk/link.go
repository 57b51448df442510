package xsk

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Link is a bpf_link that another process made and that keeps its program on an
// interface. That process may have ended, and the program may be of another version.
type Link struct {
	link    link.Link // nil = closed, or a Program's
	ifindex int       // in the namespace of the interface; 0 = the interface is gone
	program ebpf.ProgramID
}

// OpenLink takes over a descriptor of an XDP link: from now on it belongs to the Link,
// or it is closed (what is no link at all may stay open until the next garbage
// collection).
func OpenLink(fd int) (*Link, error) {
	unix.CloseOnExec(fd)
	l, err := link.NewFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("descriptor %d is no bpf_link: %w", fd, err)
	}
	info, err := l.Info()
	if err == nil && info.XDP() == nil {
		err = fmt.Errorf("descriptor %d is a bpf_link of another type (%d)", fd, info.Type)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Link{link: l, ifindex: int(info.XDP().Ifindex), program: info.Program}, nil
}

// Ifindex returns the interface that the link was for when it was opened, 0 if that was
// gone. Indices are of a network namespace, and which one is not told: Replace finds out.
func (l *Link) Ifindex() int { return l.ifindex }

// Close closes the descriptor; if nobody else has the link, its program is detached. It is
// idempotent.
func (l *Link) Close() error { return l.end(link.Link.Close) }

// Detach takes the program off its interface, even if others have the link, and closes it.
func (l *Link) Detach() error {
	return l.end(func(k link.Link) error { return errors.Join(k.Detach(), k.Close()) })
}

func (l *Link) end(how func(link.Link) error) error {
	if l.link == nil {
		return nil
	}
	err := how(l.link)
	l.link = nil
	if err != nil {
		return fmt.Errorf("end XDP link: %w", err)
	}
	return nil
}

// attachedMode returns where the link's program runs, if it does so on an interface of the
// calling thread's network namespace.
func (l *Link) attachedMode(ifindex int) (AttachMode, error) {
	device, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoPort, err)
	}
	// The number of a program is the only one in the system.
	xdp := device.Attrs().Xdp
	if l.link == nil || xdp == nil || xdp.ProgId != uint32(l.program) {
		return 0, fmt.Errorf("%w: its program is not on interface %d", ErrStaleLink, ifindex)
	}
	switch xdp.AttachMode {
	case nl.XDP_ATTACHED_DRV:
		return AttachNative, nil
	case nl.XDP_ATTACHED_SKB:
		return AttachGeneric, nil
	}
	return 0, fmt.Errorf("%w: its program runs elsewhere (%d)", ErrStaleLink, xdp.AttachMode)
}

// Replace puts the program in the place of l's, in the calling thread's network
// namespace and without a moment in between: each packet meets the one or the other.
// The link then is p's. The program stays where the other one ran, so with AttachAuto in
// generic mode if that did. If there is an error, which wraps ErrStaleLink unless the kernel
// refuses, l is as it was.
func (p *Program) Replace(l *Link, ifindex int, mode AttachMode) error {
	if p.link != nil {
		return fmt.Errorf("replace XDP program of interface %d: %w", ifindex, ErrProgramAttached)
	}
	now, err := l.attachedMode(ifindex)
	if err == nil && mode != AttachAuto && mode != now {
		err = fmt.Errorf("%w: its program runs in %s mode", ErrStaleLink, now)
	}
	if err == nil {
		err = l.link.Update(p.objects.XdpctPort)
	}
	if err != nil {
		return fmt.Errorf("replace XDP program of interface %d: %w", ifindex, err)
	}
	p.link, p.mode, l.link = l.link, now, nil
	return nil
}

// LinkFD returns the descriptor of the link that keeps the program attached. It is p's
// until Detach; ok = false: the program is not attached.
func (p *Program) LinkFD() (fd int, ok bool) {
	raw, ok := p.link.(interface{ FD() int })
	if !ok {
		return 0, false
	}
	return raw.FD(), true
}

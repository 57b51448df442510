package xsk

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AttachMode is where in the kernel the program of a port runs.
type AttachMode uint8

// Modes. AttachAuto is a request only.
const (
	AttachAuto    AttachMode = iota // native if possible, else generic
	AttachNative                    // in the driver
	AttachGeneric                   // in the network stack: slower, any device
)

// String returns the mode as flags and listings spell it.
func (m AttachMode) String() string {
	switch m {
	case AttachNative:
		return "native"
	case AttachGeneric:
		return "generic"
	default:
		return "auto"
	}
}

// ProgramOptions describes the port that a program is for.
type ProgramOptions struct {
	// MAC is the port's address. Frames to any other are the kernel's, which
	// drops them: a promiscuous port must not forward what is not its own.
	MAC net.HardwareAddr
	// Queues is the number of queues that can have a socket.
	Queues int
}

// Program is the XDP program of one port.
type Program struct {
	objects programObjects
	link    link.Link // nil = not attached
	mode    AttachMode
}

// NewProgram loads an instance of the program that shares m with others.
func NewProgram(m *Maps, o ProgramOptions) (*Program, error) {
	if o.Queues < 1 {
		return nil, fmt.Errorf("load XDP program: %d queues", o.Queues)
	}
	spec, err := m.spec()
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	spec.Maps[programMapXsks].MaxEntries = uint32(o.Queues)
	p := &Program{}
	err = spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{
			programMapLocal4:  m.local4,
			programMapLocal6:  m.local6,
			programMapPortUse: m.portUse,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", explainBPF(err))
	}
	if err := p.SetMAC(o.MAC); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// SetMAC tells the program a new address of the port.
func (p *Program) SetMAC(mac net.HardwareAddr) error {
	if len(mac) != 6 {
		return fmt.Errorf("set MAC address of XDP program: %q is not an Ethernet address", mac)
	}
	if err := p.objects.PortMac.Set(macWord([6]byte(mac))); err != nil {
		return fmt.Errorf("set MAC address of XDP program: %w", err)
	}
	return nil
}

// Register makes the program hand frames of the socket's queue to it. The
// kernel takes the entry out again when the socket is closed.
func (p *Program) Register(s *Socket) error {
	if err := p.objects.Xsks.Put(uint32(s.Queue()), uint32(s.FD())); err != nil {
		return fmt.Errorf("register socket of queue %d: %w", s.Queue(), err)
	}
	return nil
}

// Attach attaches the program to an interface in the calling thread's network
// namespace, by a bpf_link that lasts until Detach, Close or the end of the
// process. AttachAuto falls back to generic mode if the driver cannot run the
// program; Mode tells the outcome. Errors wrap ErrProgramAttached, ErrNoNative,
// ErrNoPort or ErrNotPermitted where those apply.
func (p *Program) Attach(ifindex int, mode AttachMode) error {
	if p.link != nil {
		return fmt.Errorf("attach XDP program to interface %d: %w", ifindex, ErrProgramAttached)
	}
	// The kernel answers EINVAL, as for so much else.
	if _, err := netlink.LinkByIndex(ifindex); err != nil {
		return fmt.Errorf("attach XDP program to interface %d: %w: %w", ifindex, ErrNoPort, err)
	}
	var err error
	if mode != AttachGeneric {
		if err = p.attach(ifindex, link.XDPDriverMode, AttachNative); err == nil {
			return nil
		}
	}
	if mode == AttachGeneric || mode == AttachAuto && errors.Is(err, ErrNoNative) {
		err = p.attach(ifindex, link.XDPGenericMode, AttachGeneric)
	}
	if err != nil {
		return fmt.Errorf("attach XDP program to interface %d: %w", ifindex, err)
	}
	return nil
}

func (p *Program) attach(ifindex int, flags link.XDPAttachFlags, mode AttachMode) error {
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objects.XdpctPort, Interface: ifindex, Flags: flags})
	if err != nil {
		return fmt.Errorf("%s mode: %w", mode, explainAttach(err, mode))
	}
	p.link, p.mode = l, mode
	return nil
}

// explainAttach adds what an errno of BPF_LINK_CREATE means.
func explainAttach(err error, mode AttachMode) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrProgramAttached, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	case mode == AttachNative:
		// Drivers answer with EOPNOTSUPP, EINVAL, ERANGE (MTU), ENOSPC (queues).
		return fmt.Errorf("%w: %w", ErrNoNative, err)
	}
	return err
}

// explainBPF adds what an errno of loading means.
func explainBPF(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		var verifier *ebpf.VerifierError
		// The verifier also answers EACCES; what it lets only CAP_PERFMON do it
		// calls prohibited for !root.
		if !errors.As(err, &verifier) || strings.Contains(err.Error(), "!root") {
			return fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
	}
	return err
}

// Mode returns where the program runs; AttachAuto while it is not attached.
func (p *Program) Mode() AttachMode { return p.mode }

// Counters adds the program's decisions, summed over CPUs, to dst. Many system
// calls: not for the packet path.
func (p *Program) Counters(dst *[Decisions]uint64) error {
	var perCPU []uint64
	for d := range Decisions {
		if err := p.objects.Counters.Lookup(uint32(d), &perCPU); err != nil {
			return fmt.Errorf("read counter %s of XDP program: %w", d, err)
		}
		for _, n := range perCPU {
			dst[d] += n
		}
	}
	return nil
}

// Detach takes the program off its port. It is idempotent.
func (p *Program) Detach() error {
	if p.link == nil {
		return nil
	}
	err := p.link.Close()
	p.link, p.mode = nil, AttachAuto
	if err != nil {
		return fmt.Errorf("detach XDP program: %w", err)
	}
	return nil
}

// Close detaches and unloads the program. It is idempotent.
func (p *Program) Close() error {
	return errors.Join(p.Detach(), p.objects.Close())
}

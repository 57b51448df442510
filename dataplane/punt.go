package dataplane

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/xdpct/xdpct/packet"
)

// puntDevice gives packets back to the kernel as if it had received them: a
// TAP interface of which only the kernel's end is used.
//
// It is needed where a NAT address is also the box's own (masquerade). There
// the XDP program can only tell by the port number whether a packet is for a
// flow or for the box, and a number may be in use by both; the flow table then
// knows better. The interface goes away with the process.
type puntDevice struct {
	fd  int
	mac [6]byte
}

// puntAddr is the address of the TAP interface: link-local, of host scope, and
// never on a wire.
const puntAddr = "169.254.255.254"

// newPuntDevice makes the interface in the current network namespace. The
// kernel picks the number in its name (xdpct0, ...).
func newPuntDevice() (*puntDevice, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	d := &puntDevice{fd: fd}
	if err := d.setUp(); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return d, nil
}

func (d *puntDevice) setUp() error {
	req, err := unix.NewIfreq("xdpct%d")
	if err != nil {
		return fmt.Errorf("name the TAP interface: %w", err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(d.fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("create a TAP interface: %w", err)
	}
	name := req.Name()
	// Answers leave by the real interfaces, so only a loose reverse path check
	// can hold here.
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/conf/" + name + "/rp_filter": "2",
		"/proc/sys/net/ipv6/conf/" + name + "/accept_ra": "0",
	} {
		// A kernel without IPv6 has no such file.
		if err := writeFile(file, value); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("set up %s: %w", name, err)
		}
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	copy(d.mac[:], link.Attrs().HardwareAddr)
	if err := netlink.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("set up %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", name, err)
	}
	// The kernel drops what comes in by an interface without an address if any
	// reverse path check is on (net/ipv4/fib_frontend.c, last_resort).
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(puntAddr), Mask: net.CIDRMask(32, 32)}, Scope: unix.RT_SCOPE_HOST}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s an address: %w", name, err)
	}
	return nil
}

// writeFile writes a short value to a file that exists.
func writeFile(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	_, err = unix.Write(fd, []byte(value))
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Close removes the interface.
func (d *puntDevice) Close() error { return unix.Close(d.fd) }

// puntOne gives a packet to the kernel and frees its frame.
func (w *Worker) puntOne(p *pkt) {
	w.punt(p.frame, p.addr)
	if p.rest != 0 {
		w.puntRest(p)
	}
}

// punt gives the frame at addr to the kernel and frees it.
func (w *Worker) punt(frame []byte, addr uint64) {
	if w.edge.punt.Load().write(frame) {
		w.count.punted.Add(1)
	} else {
		w.count.drops[DropPuntFailed].Add(1)
	}
	w.frames.put(addr)
}

// write gives a frame to the kernel; false means that it did not take it. Any
// thread may call it.
func (d *puntDevice) write(frame []byte) bool {
	if d == nil {
		return false
	}
	copy(packet.Ethernet(frame).Dst(), d.mac[:])
	_, err := unix.Write(d.fd, frame)
	return err == nil
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vishvananda/netlink"
)

// Addresses of the lab, see doc.go.
const (
	hostNet     = "10.10.0.0/16"
	hostFirst   = "10.10.0.2"
	serverNet   = "198.18.0.0/15"
	serverFirst = "198.18.0.1"
	natAddr     = "198.51.100.32"
	inAddr      = "10.9.0.1"
	genAddr     = "10.9.0.2"
	outAddr     = "203.0.113.1"
	sinkAddr    = "203.0.113.2"
)

// lab is the network around one contender: three namespaces in a row. It is
// made anew for each, so that none meets what another left in the kernel.
type lab struct {
	generator, sink string // namespaces
	gen, drain      end    // their interfaces
	site            Site   // the namespace between them
	napi            napiThreads
	senders         []int // CPUs of the generators
}

// end is an interface of the generator or the sink.
type end struct {
	name    string
	ifindex int
	mac     net.HardwareAddr
	peerMAC net.HardwareAddr // of the gateway's interface
}

// labs makes the names of the labs of one process unique.
type labs struct{ made atomic.Uint32 }

// build makes a lab. What a lab that could not be finished has made is removed.
func (n *labs) build(ctx context.Context, p *Placement) (*lab, error) {
	id := fmt.Sprintf("%d-%d", os.Getpid(), n.made.Add(1))
	l := &lab{generator: "xdpct-gen-" + id, sink: "xdpct-sink-" + id, senders: p.generators()}
	l.site = Site{
		Namespace: "xdpct-gw-" + id, SNAT: netip.MustParseAddr(natAddr),
		CPU: p.Gateway, HomeCPU: p.Home, CPUs: p.queues(),
	}
	// NAPI threads are found by the interface's name, so that has to be unique.
	l.gen.name, l.drain.name = "g"+id, "s"+id
	l.site.In.Name, l.site.Out.Name = "i"+id, "o"+id
	if err := errors.Join(l.up(ctx), l.lookUp(), l.place(p)); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

// up makes namespaces, interfaces, addresses and routes.
func (l *lab) up(ctx context.Context) error {
	in, out, gw := l.site.In.Name, l.site.Out.Name, l.site.Namespace
	for _, ns := range []string{l.generator, gw, l.sink} {
		if err := ip(ctx, "netns", "add", ns); err != nil {
			return err
		}
		if err := inside(ctx, ns, "sysctl", "-qw",
			"net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1",
			"net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
			"net.ipv4.ip_forward=0"); err != nil {
			return err
		}
	}
	if err := errors.Join(
		pair(ctx, len(l.site.CPUs), l.generator, l.gen.name, gw, in),
		pair(ctx, len(l.site.CPUs), l.sink, l.drain.name, gw, out),
	); err != nil {
		return err
	}
	return errors.Join(
		ip(ctx, "-n", l.generator, "addr", "add", genAddr+"/24", "dev", l.gen.name),
		ip(ctx, "-n", l.sink, "addr", "add", sinkAddr+"/24", "dev", l.drain.name),
		ip(ctx, "-n", gw, "addr", "add", inAddr+"/24", "dev", in),
		ip(ctx, "-n", gw, "addr", "add", outAddr+"/24", "dev", out),
		ip(ctx, "-n", gw, "route", "add", hostNet, "via", genAddr),
		ip(ctx, "-n", gw, "route", "add", serverNet, "via", sinkAddr),
		moderate(ctx, l.generator, l.gen.name),
		moderate(ctx, l.sink, l.drain.name),
	)
}

// moderate makes an end look for packets every 20 microseconds by itself, as a
// NIC with interrupt moderation does. Otherwise the gateway would have to wake
// it, which a real next hop does not ask for and which takes longer, in a
// virtual machine, than forwarding the packet.
func moderate(ctx context.Context, ns, name string) error {
	dir := "/sys/class/net/" + name
	return inside(ctx, ns, "sh", "-c",
		"echo 20000 >"+dir+"/gro_flush_timeout && echo 1000 >"+dir+"/napi_defer_hard_irqs")
}

// pair joins two namespaces by a veth pair of some queues without offloads. Generic receive
// offload is what makes veth receive by NAPI without an XDP program; it does
// not merge these packets.
func pair(ctx context.Context, queues int, ns1, if1, ns2, if2 string) error {
	ends := [][2]string{{ns1, if1}, {ns2, if2}}
	n := strconv.Itoa(queues)
	if err := ip(ctx, "link", "add", if1, "netns", ns1, "numtxqueues", n, "numrxqueues", n,
		"type", "veth", "peer", "name", if2, "netns", ns2, "numtxqueues", n, "numrxqueues", n); err != nil {
		return err
	}
	// The order matters: an interface learns when it comes up whether frames may
	// be redirected to its peer, and only then it has NAPI.
	for _, step := range []func(ns, name string) error{
		func(ns, name string) error {
			return inside(ctx, ns, "ethtool", "-K", name, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "sg", "off", "gro", "on")
		},
		func(ns, name string) error { return ip(ctx, "-n", ns, "link", "set", name, "up") },
		func(ns, name string) error {
			return inside(ctx, ns, "sh", "-c", "echo 1 >/sys/class/net/"+name+"/threaded")
		},
	} {
		for _, e := range ends {
			if err := step(e[0], e[1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookUp reads indices and addresses, and introduces neighbours to each other.
func (l *lab) lookUp() error {
	var err error
	find := func(name string) (int, net.HardwareAddr) {
		link, lookErr := netlink.LinkByName(name)
		if lookErr != nil {
			err = errors.Join(err, fmt.Errorf("interface %s: %w", name, lookErr))
			return 0, nil
		}
		return link.Attrs().Index, link.Attrs().HardwareAddr
	}
	enter := func(ns string, f func()) {
		err = errors.Join(err, inNamespace(ns, func() error { f(); return nil }))
	}
	in, out := &l.site.In, &l.site.Out
	enter(l.generator, func() { l.gen.ifindex, l.gen.mac = find(l.gen.name) })
	enter(l.sink, func() { l.drain.ifindex, l.drain.mac = find(l.drain.name) })
	enter(l.site.Namespace, func() {
		in.Ifindex, in.MAC = find(in.Name)
		out.Ifindex, out.MAC = find(out.Name)
	})
	in.PeerMAC, out.PeerMAC, l.gen.peerMAC, l.drain.peerMAC = l.gen.mac, l.drain.mac, in.MAC, out.MAC
	if err != nil {
		return err
	}
	return l.site.Enter(func() error {
		return errors.Join(introduce(in, genAddr), introduce(out, sinkAddr))
	})
}

// introduce makes the host behind a port a permanent neighbour.
func introduce(p *Port, addr string) error {
	err := netlink.NeighSet(&netlink.Neigh{
		LinkIndex: p.Ifindex, State: netlink.NUD_PERMANENT, IP: net.ParseIP(addr), HardwareAddr: p.PeerMAC,
	})
	if err != nil {
		return fmt.Errorf("make %s a neighbour on %s: %w", addr, p.Name, err)
	}
	return nil
}

// remove takes the lab down, whether or not the run was interrupted. It may be
// called for one that is only half there.
func (l *lab) remove() error {
	var errs []error
	for _, ns := range []string{l.generator, l.site.Namespace, l.sink} {
		if _, err := os.Stat("/run/netns/" + ns); err == nil {
			errs = append(errs, ip(context.Background(), "netns", "del", ns))
		}
	}
	return errors.Join(errs...)
}

// inside runs a program in a namespace.
func inside(ctx context.Context, ns, name string, args ...string) error {
	return ip(ctx, append([]string{"netns", "exec", ns, name}, args...)...)
}

// ip runs the program of that name, whose output is of interest only if it fails.
func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

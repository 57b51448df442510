package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

// machine is what check has read of this computer. Reading changes nothing.
type machine struct {
	release      string // uname -r
	socketErr    error  // of making an AF_XDP socket
	jit          string // net.core.bpf_jit_enable; "" = not there
	forward      string // net.ipv4.ip_forward
	caps         uint64 // effective capabilities of this process
	memlock      uint64 // soft limit, bytes
	memAvailable uint64 // bytes; 0 = not told
	hugeFree     uint64 // free pages of 2 MiB
	cpus         []int  // allowed to this process
	controlErr   error  // why the control socket cannot be made
	stateErr     error  // why flows cannot be saved
	ports        []portFacts
}

// portFacts is what check has read of one interface.
type portFacts struct {
	name, role string
	err        error // why nothing could be read; the rest is empty then
	device     xsk.Device
	addrs      []netip.Prefix
	program    uint32 // id of the attached XDP program; 0 = none
	busy       []int  // queues that an AF_XDP socket is bound to
	rpFilter   string // the stricter one of all and the interface
}

// has reports whether the process has a capability.
func (m *machine) has(capability uint) bool { return m.caps>>capability&1 != 0 }

// sockets returns how many queues of the port would get a socket.
func (p *portFacts) sockets() int {
	if p.err != nil {
		return 0
	}
	return p.device.RXQueues
}

// readMachine reads what a run with cfg would meet.
func readMachine(cfg *runConfig) *machine {
	m := &machine{
		jit:     readLine("/proc/sys/net/core/bpf_jit_enable"),
		forward: readLine("/proc/sys/net/ipv4/ip_forward"),
		caps:    parseHex(procField("/proc/self/status", "CapEff:")),
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.release = unix.ByteSliceToString(name.Release[:])
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if m.socketErr = err; err == nil {
		m.socketErr = unix.Close(fd)
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil {
		m.memlock = limit.Cur
	}
	kib, _ := strconv.ParseUint(strings.TrimSuffix(procField("/proc/meminfo", "MemAvailable:"), " kB"), 10, 64)
	m.memAvailable = kib << 10
	m.hugeFree, _ = strconv.ParseUint(readLine("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"), 10, 64)
	m.cpus = allowedCPUs()
	m.stateErr = (&stateFile{path: cfg.State}).look()
	if m.controlErr = control.CheckPath(cfg.Control); m.controlErr == nil {
		_, m.controlErr = os.Stat(filepath.Dir(cfg.Control))
	}
	busy := busyQueues()
	for _, name := range cfg.Internal {
		m.ports = append(m.ports, readPort(name, "internal", busy))
	}
	for _, name := range cfg.External {
		m.ports = append(m.ports, readPort(name, "external", busy))
	}
	return m
}

// readPort reads one interface.
func readPort(name, role string, busy map[int][]int) portFacts {
	p := portFacts{name: name, role: role}
	if p.device, p.err = xsk.ReadDevice(name); p.err != nil {
		return p
	}
	link, err := netlink.LinkByName(name)
	if p.err = err; err != nil {
		return p
	}
	if x := link.Attrs().Xdp; x != nil && x.Attached {
		p.program = max(x.ProgId, 1)
	}
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if p.err = err; err != nil {
		return p
	}
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && !ip.Unmap().IsLinkLocalUnicast() {
			ones, _ := a.Mask.Size()
			p.addrs = append(p.addrs, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	p.busy = busy[p.device.Ifindex]
	p.rpFilter = max(readLine("/proc/sys/net/ipv4/conf/all/rp_filter"), readLine("/proc/sys/net/ipv4/conf/"+name+"/rp_filter"))
	return p
}

// busyQueues returns the queues that AF_XDP sockets are bound to, by interface
// index; nil when the kernel does not tell (CONFIG_XDP_SOCKETS_DIAG).
func busyQueues() map[int][]int {
	socks, err := netlink.SocketDiagXDP()
	if err != nil {
		return nil
	}
	busy := make(map[int][]int)
	for _, s := range socks {
		if s.XDPInfo != nil {
			busy[int(s.XDPInfo.Ifindex)] = append(busy[int(s.XDPInfo.Ifindex)], int(s.XDPInfo.QueueID))
		}
	}
	return busy
}

// allowedCPUs returns the CPUs that this process may run on.
func allowedCPUs() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := range maxCPU + 1 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// readLine returns the content of a small file without blanks at its ends, ""
// when it cannot be read.
func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// procField returns what follows a label at the start of a line.
func procField(path, label string) string {
	for line := range strings.Lines(readLine(path)) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func parseHex(s string) uint64 {
	n, _ := strconv.ParseUint(s, 16, 64)
	return n
}

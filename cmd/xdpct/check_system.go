package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane"
)

// Oldest kernel that has all that is used: busy polling of AF_XDP sockets and
// memory of BPF maps outside of RLIMIT_MEMLOCK (Linux 5.11).
const (
	minKernelMajor = 5
	minKernelMinor = 11
)

// flowBytes is about what one flow takes, with its keys in the index and its
// NAT mapping: table_bytes of stats, divided by --max-flows.
const flowBytes = 130

// framesPerSlot is about how many frames there are for each slot of an RX ring:
// the fill ring is twice as long, and TX and the workers hold some.
const framesPerSlot = 4

// checkKernel judges what the kernel was built and set up with.
func (f *findings) checkKernel(m *machine) {
	major, minor, ok := kernelVersion(m.release)
	switch {
	case !ok:
		f.warn("kernel", fmt.Sprintf("release %q cannot be read", m.release), "5.11 or newer is needed")
	case major < minKernelMajor || major == minKernelMajor && minor < minKernelMinor:
		f.fail("kernel", m.release+" is too old", "5.11 or newer is needed")
	default:
		f.ok("kernel", "%s", m.release)
	}
	switch {
	case m.socketErr == nil:
		f.ok("af_xdp", "sockets can be made")
	case errors.Is(m.socketErr, unix.EPERM):
		f.fail("af_xdp", "sockets are not permitted", "run as root or grant CAP_NET_RAW")
	default:
		f.fail("af_xdp", "no sockets: "+m.socketErr.Error(), "the kernel needs CONFIG_XDP_SOCKETS=y")
	}
	switch m.jit {
	case "1", "2":
		f.ok("bpf jit", "on")
	case "":
		f.ok("bpf jit", "always on, or not told")
	default:
		f.warn("bpf jit", "off: the XDP program is interpreted", "sysctl -w net.core.bpf_jit_enable=1")
	}
}

// kernelVersion reads the first two numbers of a release.
func kernelVersion(release string) (major, minor int, ok bool) {
	a, rest, _ := strings.Cut(release, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(rest[:end])
	return major, minor, err1 == nil && err2 == nil
}

// checkCapabilities judges what the process may do.
func (f *findings) checkCapabilities(m *machine) {
	need := []struct {
		name string
		bits []uint // one of them
	}{
		{"CAP_NET_ADMIN", []uint{unix.CAP_NET_ADMIN}},
		{"CAP_NET_RAW", []uint{unix.CAP_NET_RAW}},
		{"CAP_BPF", []uint{unix.CAP_BPF, unix.CAP_SYS_ADMIN}},
		{"CAP_PERFMON", []uint{unix.CAP_PERFMON, unix.CAP_SYS_ADMIN}},
	}
	var missing []string
	for _, n := range need {
		if !slices.ContainsFunc(n.bits, m.has) {
			missing = append(missing, n.name)
		}
	}
	if len(missing) > 0 {
		f.fail("capabilities", "missing "+strings.Join(missing, ", "), "run as root, or grant them (AmbientCapabilities= of systemd)")
		return
	}
	f.ok("capabilities", "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON")
}

// checkMemory judges whether frames and tables find room.
func (f *findings) checkMemory(cfg *runConfig, m *machine) {
	sockets := 0
	for i := range m.ports {
		sockets += m.ports[i].sockets()
	}
	frames := uint64(sockets) * uint64(cfg.RingSize) * framesPerSlot * uint64(cfg.FrameSize)
	tables := uint64(cfg.MaxFlows) * flowBytes
	switch {
	case m.has(unix.CAP_IPC_LOCK):
		f.ok("locked memory", "no limit (CAP_IPC_LOCK)")
	case m.memlock < frames:
		f.fail("locked memory", fmt.Sprintf("limit %s, frames take about %s", mib(m.memlock), mib(frames)),
			"raise it (ulimit -l unlimited, LimitMEMLOCK=infinity of systemd), grant CAP_IPC_LOCK, or give a smaller --ring-size")
	default:
		f.ok("locked memory", "limit %s, frames take about %s", mib(m.memlock), mib(frames))
	}
	switch {
	case m.memAvailable == 0:
	case frames+tables > m.memAvailable:
		f.fail("memory", fmt.Sprintf("frames take about %s and tables %s, but %s are available", mib(frames), mib(tables), mib(m.memAvailable)),
			"give a smaller --max-flows or --ring-size")
	default:
		f.ok("memory", "frames take about %s and tables %s of %s available", mib(frames), mib(tables), mib(m.memAvailable))
	}
	const hugePage = 2 << 20
	switch huge := m.hugeFree * hugePage; {
	case cfg.HugePages == dataplane.HugePagesOff:
	case huge >= frames:
		f.ok("huge pages", "%d of 2 MiB are free", m.hugeFree)
	case cfg.HugePages == dataplane.HugePagesOn:
		f.fail("huge pages", fmt.Sprintf("%d of 2 MiB are free, frames take about %d", m.hugeFree, frames/hugePage+1),
			fmt.Sprintf("sysctl -w vm.nr_hugepages=%d, or --huge-pages auto", (frames+tables)/hugePage+1))
	default:
		f.ok("huge pages", "%d of 2 MiB are reserved: transparent ones are used", m.hugeFree)
	}
}

// mib prints bytes for people.
func mib(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20)
}

// checkCPUs judges the CPUs that workers are to be pinned to.
func (f *findings) checkCPUs(cfg *runConfig, m *machine) {
	for _, cpu := range cfg.CPUs {
		if !slices.Contains(m.cpus, cpu) {
			f.fail("cpus", fmt.Sprintf("CPU %d is not there, or not allowed to this process", cpu), "see taskset -p $$ and give other --cpus")
		}
	}
	queues := 0
	for i := range m.ports {
		queues = max(queues, m.ports[i].sockets())
	}
	switch {
	case len(cfg.CPUs) > queues && queues > 0:
		f.warn("cpus", fmt.Sprintf("%d CPUs for %d queues: some workers have no queue", len(cfg.CPUs), queues), "give fewer --cpus")
	case len(cfg.CPUs) == 0 && queues > len(m.cpus):
		f.warn("cpus", fmt.Sprintf("%d queues on %d CPUs: workers share a CPU or serve several queues", queues, len(m.cpus)),
			fmt.Sprintf("ethtool -L IF combined %d", len(m.cpus)))
	default:
		f.ok("cpus", "%d allowed to this process", len(m.cpus))
	}
}

// checkControl judges the place of the control socket.
func (f *findings) checkControl(cfg *runConfig, m *machine) {
	if m.controlErr != nil {
		f.fail("control", strings.TrimPrefix(m.controlErr.Error(), "control socket "), "")
		return
	}
	f.ok("control", "%s is free", cfg.Control)
}

// checkState judges the place where flows are kept over a restart.
func (f *findings) checkState(cfg *runConfig, m *machine) {
	switch {
	case m.stateErr != nil:
		f.fail("state", strings.TrimPrefix(m.stateErr.Error(), "--state "), "")
	case cfg.State != "":
		f.ok("state", "flows can be saved as %s", cfg.State)
	}
}

// checkRouting judges the settings of the kernel's own forwarding.
func (f *findings) checkRouting(m *machine) {
	if m.forward == "1" {
		f.warn("ip_forward", "on: while xdpct is not running, the kernel forwards untranslated packets",
			"sysctl -w net.ipv4.ip_forward=0 unless that is wanted")
	} else {
		f.ok("ip_forward", "off: while xdpct is not running, nothing is forwarded")
	}
}

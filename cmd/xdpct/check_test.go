package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

// goodMachine has everything that a run needs.
func goodMachine() *machine {
	port := func(name, role, addr string) portFacts {
		return portFacts{
			name: name, role: role, addrs: []netip.Prefix{netip.MustParsePrefix(addr)}, rpFilter: "0",
			device: xsk.Device{Name: name, Ifindex: 3, Driver: "ice", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, MTU: 1500, Up: true, RXQueues: 2, TXQueues: 2},
		}
	}
	return &machine{
		release: "6.8.0-45-generic", jit: "1", forward: "0", caps: ^uint64(0), memlock: 8 << 20,
		memAvailable: 8 << 30, hugeFree: 512, cpus: []int{0, 1, 2, 3},
		ports: []portFacts{port("in0", "internal", "10.0.0.1/24"), port("out0", "external", "203.0.113.2/24")},
	}
}

func goodConfig(t *testing.T) *runConfig {
	t.Helper()
	cfg, err := parseArgs(t, withPorts("--masquerade")...)
	if err != nil {
		t.Fatal(err)
	}
	return &cfg
}

func TestCheckOfAGoodMachineIsAllOK(t *testing.T) {
	found := checkAll(goodConfig(t), goodMachine())
	for _, f := range found {
		if f.Level != levelOK {
			t.Errorf("%+v", f)
		}
	}
	if !found.canRun() || len(found) < 10 {
		t.Errorf("%d findings, can run %v", len(found), found.canRun())
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	cases := []struct {
		name   string
		change func(*runConfig, *machine)
		level  level
		want   string // in the line
	}{
		{"old kernel", func(_ *runConfig, m *machine) { m.release = "5.10.0" }, levelFail, "5.11 or newer"},
		{"oldest kernel", func(_ *runConfig, m *machine) { m.release = "4.19.1" }, levelFail, "too old"},
		{"odd release", func(_ *runConfig, m *machine) { m.release = "linux" }, levelWarn, "cannot be read"},
		{"rss not told", func(c *runConfig, _ *machine) { c.Steering = dataplane.SteeringRSS }, levelFail, "RSS key and table: --steering rss"},
		{"rss of addresses", func(_ *runConfig, m *machine) {
			for i := range m.ports {
				m.ports[i].device.RSS = xsk.RSS{Key: make([]byte, 40), Function: "toeplitz", Table: []int{0, 1}, Fields: [4]string{"sdfn", "sd", "sdfn", "sdfn"}}
			}
		}, levelWarn, "ethtool -N in0 rx-flow-hash udp4 sdfn"},
		{"no af_xdp", func(_ *runConfig, m *machine) { m.socketErr = unix.EAFNOSUPPORT }, levelFail, "CONFIG_XDP_SOCKETS"},
		{"af_xdp forbidden", func(_ *runConfig, m *machine) { m.socketErr = unix.EPERM }, levelFail, "CAP_NET_RAW"},
		{"jit off", func(_ *runConfig, m *machine) { m.jit = "0" }, levelWarn, "bpf_jit_enable=1"},
		{"no capabilities", func(_ *runConfig, m *machine) { m.caps = 0 }, levelFail, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON"},
		{"no bpf", func(_ *runConfig, m *machine) { m.caps &^= 1<<unix.CAP_BPF | 1<<unix.CAP_SYS_ADMIN }, levelFail, "missing CAP_BPF"},
		{"memlock", func(_ *runConfig, m *machine) { m.caps &^= 1 << unix.CAP_IPC_LOCK }, levelFail, "LimitMEMLOCK"},
		{"memory", func(_ *runConfig, m *machine) { m.memAvailable = 64 << 20 }, levelFail, "--max-flows"},
		{"huge pages", func(c *runConfig, m *machine) { c.HugePages, m.hugeFree = dataplane.HugePagesOn, 3 }, levelFail, "vm.nr_hugepages="},
		{"cpu", func(c *runConfig, _ *machine) { c.CPUs = []int{0, 9} }, levelFail, "CPU 9"},
		{"idle cpus", func(c *runConfig, _ *machine) { c.CPUs = []int{0, 1, 2} }, levelWarn, "3 CPUs for 2 queues"},
		{"few cpus", func(_ *runConfig, m *machine) { m.cpus = []int{0} }, levelWarn, "2 queues on 1 CPUs"},
		{"control", func(_ *runConfig, m *machine) { m.controlErr = errors.New("control socket /x: taken") }, levelFail, "/x: taken"},
		{"no interface", func(_ *runConfig, m *machine) { m.ports[0].err = xsk.ErrNoPort }, levelFail, "ip link"},
		{"down", func(_ *runConfig, m *machine) { m.ports[0].device.Up = false }, levelFail, "ip link set in0 up"},
		{"no ethernet", func(_ *runConfig, m *machine) { m.ports[0].device.MAC = nil }, levelFail, "no Ethernet address"},
		{"lro", func(_ *runConfig, m *machine) {
			m.ports[1].device.Offloads = []xsk.Offload{{Flag: "lro", Why: "merged"}}
		}, levelWarn, "ethtool -K out0 lro off"},
		{"gro in generic mode", func(c *runConfig, m *machine) {
			c.XDP = xsk.AttachGeneric
			m.ports[1].device.Offloads = []xsk.Offload{{Flag: "gro", GenericOnly: true}}
		}, levelWarn, "ethtool -K out0 gro off"},
		{"zero-copy", func(c *runConfig, m *machine) {
			c.ZeroCopy = xsk.ZeroCopyOn
			m.ports[1].device.Driver = "some_nic"
		}, levelWarn, "not known to do zero-copy"},
		{"no zero-copy", func(c *runConfig, m *machine) {
			c.ZeroCopy = xsk.ZeroCopyOn
			m.ports[1].device.Driver = "veth"
		}, levelFail, "cannot do zero-copy"},
		{"distrusted zero-copy", func(c *runConfig, m *machine) {
			c.ZeroCopy = xsk.ZeroCopyOn
			m.ports[1].device.Driver, m.ports[1].device.Distrust = "virtio_net", xsk.ErrHeaderAddress
		}, levelWarn, "as a module, virtio_net may lose"},
		{"distrusted zero-copy is not taken", func(_ *runConfig, m *machine) {
			m.ports[1].device.Driver, m.ports[1].device.Distrust = "virtio_net", xsk.ErrHeaderAddress
		}, levelOK, "packets are copied: as a module"},
		{"veth", func(_ *runConfig, m *machine) { m.ports[1].device.Driver = "veth" }, levelWarn, "ethtool -K PEER tx off"},
		{"mtu", func(_ *runConfig, m *machine) { m.ports[0].device.MTU = 1779 }, levelFail, "--frame-size 4096"},
		{"jumbo", func(_ *runConfig, m *machine) { m.ports[0].device.MTU = 9000 }, levelFail, "ip link set in0 mtu 1500"},
		{"program", func(_ *runConfig, m *machine) { m.ports[1].program = 77 }, levelFail, "id 77"},
		{"busy", func(_ *runConfig, m *machine) { m.ports[1].busy = []int{0, 1} }, levelFail, "queue 0,1"},
		{"no address outside", func(_ *runConfig, m *machine) { m.ports[1].addrs = nil }, levelFail, "masquerade"},
		{"no address inside", func(_ *runConfig, m *machine) { m.ports[0].addrs = nil }, levelWarn, "ip addr add"},
		{"queues differ", func(_ *runConfig, m *machine) { m.ports[0].device.RXQueues = 4 }, levelFail, "4 receive but 2 send"},
		{"few queues", func(c *runConfig, _ *machine) { c.Queues = 4 }, levelFail, "has 2 receive queues"},
		{"unserved queues", func(c *runConfig, _ *machine) { c.Queues = 1 }, levelFail, "--queues asks for 1"},
		{"uneven ports", func(_ *runConfig, m *machine) {
			m.ports[0].device.RXQueues, m.ports[0].device.TXQueues = 1, 1
		}, levelWarn, "interfaces differ"},
		{"forwarding", func(_ *runConfig, m *machine) { m.forward = "1" }, levelWarn, "net.ipv4.ip_forward=0"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, m := goodConfig(t), goodMachine()
			c.change(cfg, m)
			found := checkAll(cfg, m)
			hit := false
			for _, f := range found {
				hit = hit || f.Level == c.level && strings.Contains(f.Text+": "+f.Todo, c.want)
			}
			if !hit || found.canRun() != (c.level != levelFail) {
				t.Errorf("can run %v, want a %s with %q in %+v", found.canRun(), c.level, c.want, found)
			}
		})
	}
}

func TestCheckPrintsALineForEachFinding(t *testing.T) {
	m := goodMachine()
	m.ports[0].device.Up = false
	found := checkAll(goodConfig(t), m)
	var b bytes.Buffer
	if err := writeFindings(&b, found); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != len(found) || !strings.Contains(b.String(), "fail  in0            is down: ip link set in0 up\n") {
		t.Errorf("%d lines for %d findings:\n%s", n, len(found), b.String())
	}
	b.Reset()
	var doc struct {
		CanRun   bool `json:"can_run"`
		Findings []finding
	}
	if err := errors.Join(writeFindingsJSON(&b, found), json.Unmarshal(b.Bytes(), &doc)); err != nil || doc.CanRun || len(doc.Findings) != len(found) {
		t.Errorf("%v, can run %v, %d findings", err, doc.CanRun, len(doc.Findings))
	}
}

func TestCheckReadsThisMachine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := runCommand(t, "check", "--internal", "lo", "--external", "nope0", "--masquerade", "--control", path)
	if r.code != exitNotPermitted || !strings.Contains(r.stdout, "fail  nope0") || !strings.Contains(r.stdout, "fail  lo             has no Ethernet address") {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	m := readMachine(&runConfig{Control: path})
	if _, _, ok := kernelVersion(m.release); !ok || len(m.cpus) == 0 || m.memAvailable == 0 || m.controlErr != nil {
		t.Errorf("%+v", m)
	}
	if m := readMachine(&runConfig{Control: filepath.Join(path, "no", "s")}); m.controlErr == nil {
		t.Error("control socket in a directory that is not there")
	}
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string][2]int{"6.18.44-fc": {6, 18}, "5.11": {5, 11}, "5.4-rc1": {5, 4}, "10.0.0": {10, 0}} {
		if a, b, ok := kernelVersion(release); !ok || [2]int{a, b} != want {
			t.Errorf("%s: %d.%d %v", release, a, b, ok)
		}
	}
}

package zerocopy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
	"github.com/xdpct/xdpct/test/zerocopy/agent"
)

// bootTimeout is how long QEMU may take until it connects.
const bootTimeout = time.Minute

// queues is the number of queues of lan and wan.
const queues = 2

// hugePages is the number of pages of 2 MiB that the machine reserves.
const hugePages = 64

// capable are the options of a virtio NIC that can do zero-copy: its buffers are
// mapped for DMA, and a queue can be reset (virtio 1.1).
const capable = ",iommu_platform=on,disable-legacy=on,romfile="

// nics are the machine's interfaces in the order of their PCI addresses, which is
// that of eth0, eth1 ...
var nics = []struct{ name, device, netdev string }{
	{"lan", capable + ",mq=on,vectors=6,mac=02:00:0a:01:02:01", "tap,vhost=off,fds=3:4"},
	{"wan", capable + ",mq=on,vectors=6,mac=02:00:cb:00:71:01", "tap,vhost=off,fds=5:6"},
	// Two wires, each with both ends in the machine.
	{"near0", capable, "hubport,hubid=0"},
	{"near1", capable, "hubport,hubid=1"},
	{"far0", capable, "hubport,hubid=0"},
	{"far1", capable, "hubport,hubid=1"},
	// What virtio_net refuses zero-copy for: no DMA device, no queue reset. They are wired
	// to each other, for a NIC on no wire never gets rid of what it is to send.
	{"nodma", ",disable-legacy=on,romfile=", "hubport,hubid=2"},
	{"noreset", capable + ",queue_reset=off", "hubport,hubid=2"},
}

// machine is the virtual machine.
type machine struct {
	agent   *rpc.Client
	monitor *json.Encoder
	answers *json.Decoder
	console string        // path of what the kernel wrote
	ended   chan struct{} // closed when QEMU has ended
}

// boot starts the machine between the ends of a lab. It ends with the test.
func boot(t *testing.T, l *lab.Lab, img image) *machine {
	t.Helper()
	m := &machine{console: filepath.Join(l.Dir, "console"), ended: make(chan struct{})}
	line, qmp := listen(t, filepath.Join(l.Dir, "agent.sock")), listen(t, filepath.Join(l.Dir, "qmp.sock"))
	cmd := exec.Command("qemu-system-x86_64", m.arguments(img, line, qmp)...)
	cmd.ExtraFiles = append(l.Client.OpenTAP(t, "eth0", queues), l.Server.OpenTAP(t, "eth0", queues)...)
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("start QEMU: %v: scripts/setup zerocopy installs it", err)
	}
	for _, f := range cmd.ExtraFiles {
		_ = f.Close() // QEMU has its own
	}
	go func() {
		_ = cmd.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.ended
		if t.Failed() {
			t.Logf("QEMU: %s\nconsole:\n%s", &output, m.consoleText())
		}
	})
	m.connect(t, line, qmp)
	return m
}

// arguments is QEMU's command line. Both processors are emulated by one thread: with one
// each, the kernel's changes of its own code went wrong at times (a panic by int3 in
// sched_clock_cpu). Where the kernel lies is not randomised, for the sake of checkHeader.
func (m *machine) arguments(img image, line, qmp *net.UnixListener) []string {
	args := []string{
		"-accel", "tcg,thread=single", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "2G",
		"-display", "none", "-nodefaults", "-no-reboot", "-serial", "file:" + m.console,
		"-kernel", img.kernel, "-initrd", img.initrd,
		"-append", "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable net.ifnames=0 " +
			fmt.Sprintf("hugepages=%d nokaslr memmap=%d$%d", hugePages, keptSize, keptFrom),
		"-chardev", "socket,id=qmp,path=" + qmp.Addr().String(), "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=agent,path=" + line.Addr().String(),
		"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
	}
	for i, n := range nics {
		args = append(args, "-netdev", fmt.Sprintf("%s,id=%s-wire", n.netdev, n.name),
			"-device", fmt.Sprintf("virtio-net-pci,id=%s,netdev=%[1]s-wire,addr=%#x%s", n.name, 0x10+i, n.device))
	}
	return args
}

// listen makes a socket for QEMU to connect to.
func listen(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect waits until machine and monitor answer.
func (m *machine) connect(t *testing.T, line, qmp *net.UnixListener) {
	t.Helper()
	monitor := m.accept(t, qmp)
	m.monitor, m.answers = json.NewEncoder(monitor), json.NewDecoder(monitor)
	m.command(t, "qmp_capabilities", nil)
	m.agent = rpc.NewClient(m.accept(t, line))
	go m.beat()
	began := time.Now()
	release := strings.TrimSpace(m.run(t, "uname", "-r"))
	t.Logf("Linux %s up after %v", release, time.Since(began).Round(time.Second))
}

// beat calls the machine twice a second until it has ended. An emulated processor may
// miss that it is to wake up (seen with QEMU 7.2: a process is ready to run, and
// nothing happens), and then sleeps until the next interrupt from outside.
func (m *machine) beat() {
	for m.agent.Call(agent.Name+".Beat", 0, &struct{}{}) == nil {
		select {
		case <-m.ended:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (m *machine) accept(t *testing.T, l *net.UnixListener) net.Conn {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(bootTimeout)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatalf("QEMU does not connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// command gives QEMU's monitor a command, which has to succeed.
func (m *machine) command(t *testing.T, name string, arguments map[string]any) {
	t.Helper()
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := m.monitor.Encode(request); err != nil {
		t.Fatalf("QEMU: %s: %v", name, err)
	}
	for { // greeting and events come in between
		var answer map[string]json.RawMessage
		if err := m.answers.Decode(&answer); err != nil {
			t.Fatalf("QEMU: %s: %v", name, err)
		}
		if reason, bad := answer["error"]; bad {
			t.Fatalf("QEMU: %s: %s", name, reason)
		}
		if _, good := answer["return"]; good {
			return
		}
	}
}

// plug connects the cable of a NIC, or pulls it.
func (m *machine) plug(t *testing.T, nic string, up bool) {
	t.Helper()
	m.command(t, "set_link", map[string]any{"name": nic, "up": up})
}

// consoleText is what the kernel wrote.
func (m *machine) consoleText() string {
	text, err := os.ReadFile(m.console)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

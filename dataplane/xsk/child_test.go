package xsk

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// childVariable names what a child process of the test binary shall do.
const childVariable = "XDPCT_XSK_TEST_CHILD"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childVariable) {
	case "":
		os.Exit(m.Run())
	case "memlock":
		err = childMemlock()
	case "unlocked":
		err = childUnlocked()
	case "permission":
		err = childPermission()
	case "gateway":
		err = childGateway()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// unprivileged runs a child without any capability.
func unprivileged(t *testing.T, what string) error {
	t.Helper()
	// The binary may be in a directory that only root can read.
	exe, err := os.Open("/proc/self/exe")
	mustDo(t, "open test binary", err)
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Env = append(os.Environ(), childVariable+"="+what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("child %s: %w: %s", what, err, out)
	}
	return nil
}

// childGateway attaches and binds in the namespace of file 3 and waits for its
// end.
func childGateway() error {
	runtime.LockOSThread()
	if err := netns.Set(netns.NsHandle(3)); err != nil {
		return err
	}
	d, err := ReadDevice("kill0")
	if err != nil {
		return err
	}
	m, err := NewMaps(MapsOptions{LocalAddresses: 16, SharedAddresses: 1})
	if err != nil {
		return err
	}
	p, err := NewProgram(m, ProgramOptions{MAC: d.MAC, Queues: 1})
	if err != nil {
		return err
	}
	if err := p.Attach(d.Ifindex, AttachNative); err != nil {
		return err
	}
	u, err := NewUMEM(UMEMOptions{Frames: 256})
	if err != nil {
		return err
	}
	s, err := Open(SocketOptions{UMEM: u, Ifindex: d.Ifindex})
	if err != nil {
		return err
	}
	if err := p.Register(s); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// A process that dies by SIGKILL leaves no program on its port and its queue
// can be bound again at once (the retry in Open covers the kernel's delay).
func TestKilledProcessLeavesNothing(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "kill0", 1)
	lab, err := netns.Get()
	mustDo(t, "get namespace", err)
	cmd := exec.Command("/proc/self/exe")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(lab), "netns")}
	cmd.Env = append(os.Environ(), childVariable+"=gateway")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	mustDo(t, "pipe", err)
	mustDo(t, "start child", cmd.Start())
	cmd.ExtraFiles[0].Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		cmd.Process.Kill()
		t.Fatalf("child said %q, %v", line, err)
	}
	if !xdpAttached(t, port.Ifindex) {
		t.Error("no program while the child lives")
	}
	mustDo(t, "kill", cmd.Process.Kill())
	_ = cmd.Wait()
	end := time.Now().Add(2 * time.Second)
	for xdpAttached(t, port.Ifindex) {
		if time.Now().After(end) {
			t.Fatal("the program is still attached 2 s after the child's death")
		}
		time.Sleep(time.Millisecond)
	}
	u := newTestUMEM(t, UMEMOptions{Frames: 16})
	newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0)})
}

func xdpAttached(t testing.TB, ifindex int) bool {
	t.Helper()
	l, err := netlink.LinkByIndex(ifindex)
	mustDo(t, "read link", err)
	return l.Attrs().Xdp != nil && l.Attrs().Xdp.Attached
}

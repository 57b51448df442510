// Command init is the first process of the virtual machine: it mounts what programs
// expect, loads the modules of the initramfs in the order of their names and then
// does what the test says (package agent), until the test hangs up.
package main

import (
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/test/fdstore"
	"github.com/xdpct/xdpct/test/zerocopy/agent"
)

// line is the name of the serial line to the test (virtserialport,name=).
const line = "agent"

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "init:", err) // to the console, which the test shows
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// serve sets the machine up and serves until the test hangs up.
func serve() error {
	if err := mountAll(); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := os.Setenv("PATH", "/bin"); err != nil {
		return err
	}
	if out, err := exec.Command("/bin/busybox", "--install", "-s", "/bin").CombinedOutput(); err != nil {
		return fmt.Errorf("install busybox: %w: %s", err, out)
	}
	port, err := openLine()
	if err != nil {
		return err
	}
	manager, err := fdstore.Listen("/run/notify")
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName(agent.Name, agent.New(manager)); err != nil {
		return err
	}
	server.ServeConn(port)
	return nil
}

func mountAll() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
		{"tracefs", "/sys/kernel/tracing"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

func loadModules(dir string) error {
	files, err := filepath.Glob(dir + "/*.ko")
	if err != nil {
		return err
	}
	slices.Sort(files)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
			return fmt.Errorf("load %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openLine finds the serial line by its name.
func openLine() (*os.File, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == line {
			return openConnected("/dev/" + filepath.Base(filepath.Dir(name)))
		}
	}
	return nil, fmt.Errorf("no serial line %q among %v", line, names)
}

// openConnected opens a line and waits until the driver has heard that there is
// somebody at the other end: before that, to read is to find the end.
func openConnected(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	for range 1000 {
		p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}
		if _, err := unix.Poll(p, 0); err == nil && p[0].Revents&unix.POLLHUP == 0 {
			return f, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("nobody at the other end of %s", name)
}

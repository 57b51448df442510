package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// bootSystemd makes the calling shell the systemd of a container: DIR NAME BINARY. Its cgroups are
// NAME's, all but /run and what it is given here is read-only, and it starts no unit by
// itself, so that nothing of the machine is touched.
const bootSystemd = `
set -e
dir=$1 name=$2 binary=$3
mount -t cgroup2 none /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$name"
echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
exec unshare --mount --pid --cgroup --uts --ipc --fork --kill-child --mount-proc bash -ec '
	umount /sys/fs/cgroup
	mount -t cgroup2 none /sys/fs/cgroup
	mount -t tmpfs none /mnt
	cp "$2" /mnt/xdpct
	cp "$1/xdpct.service" "$1/flags" /mnt
	mount -o remount,bind,ro /
	for place in /usr/local/sbin /etc/default /run /var/lib /tmp; do mount -t tmpfs none $place; done
	mkdir -p /run/systemd/system/xdpct.service.d
	cp /mnt/xdpct /usr/local/sbin
	cp /mnt/flags /etc/default/xdpct
	cp /mnt/xdpct.service /mnt/flags /run/systemd/system
	printf "[Unit]\nDefaultDependencies=no\n[Service]\nStandardError=append:/run/log\n" >/run/systemd/system/xdpct.service.d/lab.conf
	# Where root may not raise limits, systemd cannot either.
	(ulimit -l unlimited) 2>/dev/null || echo CapabilityBoundingSet=CAP_IPC_LOCK >>/run/systemd/system/xdpct.service.d/lab.conf
	printf "[Unit]\nDefaultDependencies=no\n" >/run/systemd/system/lab.target
	export container=lab
	exec /usr/lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no
' bash "$dir" "$binary"
`

// removeCgroup removes what bootSystemd has made outside of its namespaces: NAME.
const removeCgroup = `mount -t cgroup2 none /sys/fs/cgroup; find /sys/fs/cgroup/"$1" -depth -type d -exec rmdir {} +`

// systemd is a running service manager in the gateway's namespace.
type systemd struct {
	lab *lab.Lab
	pid string
}

// startSystemd runs systemd with the unit as it is, but for dependencies and logs.
func startSystemd(t *testing.T, l *lab.Lab, flags string) *systemd {
	t.Helper()
	unit, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"xdpct.service": string(unit), "flags": "XDPCT_FLAGS=" + flags + "\n"} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Base(filepath.Dir(l.Dir))
	p := l.Gateway.Start(t, "bash", "-c", bootSystemd, "bash", l.Dir, name, lab.Binary(t))
	s := &systemd{lab: l}
	t.Cleanup(func() {
		p.Signal(syscall.SIGKILL)
		p.Wait(t, 10*time.Second)
		lab.Eventually(t, 10*time.Second, "systemd's cgroup is removed", func() bool {
			return l.Gateway.Try("bash", "-c", removeCgroup, "bash", name).Status == 0
		})
		if t.Failed() {
			t.Logf("systemd wrote:\n%s", p.Output())
		}
	})
	lab.Eventually(t, 20*time.Second, "systemd runs", func() bool {
		if !p.Running() {
			t.Fatalf("systemd has ended:\n%s", p.Output())
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.PID()))
		s.pid = strings.TrimSpace(string(children))
		return err == nil && s.pid != "" && s.try("systemctl", "show", "xdpct").Status == 0
	})
	return s
}

// try runs a command where systemd is.
func (s *systemd) try(args ...string) lab.Result {
	return s.lab.Gateway.Try(append([]string{"nsenter", "-t", s.pid, "-m", "-p", "-C", "-u", "-i"}, args...)...)
}

func (s *systemd) run(t *testing.T, args ...string) string {
	t.Helper()
	r := s.try(args...)
	if r.Status != 0 {
		t.Fatalf("%s: %d, %s\n%s", strings.Join(args, " "), r.Status, r.Output(), s.try("cat", "/run/log").Output())
	}
	return r.Stdout
}

func (s *systemd) property(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimSpace(s.run(t, "systemctl", "show", "-P", name, "xdpct"))
}

// TestUnitUnderSystemd runs the unit under systemd: a restart keeps the programs, connections go
// on and nothing is refused; a start that fails and a stop let go of them.
func TestUnitUnderSystemd(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	s := startSystemd(t, l, "--internal lan --external wan --masquerade")
	s.run(t, "systemctl", "start", "xdpct")
	atServer := l.Server.Capture(t, "eth0", refusals)
	stop := filepath.Join(l.Dir, "stop")
	streams := []*stream{
		startStream(t, "the upload", "tcp", l.Client, l.Server, l.Server, lab.ServerAddr, 9001, stop),
		startStream(t, "the download", "tcp", l.Server, l.Client, l.Server, lab.ServerAddr, 9002, stop),
		startStream(t, "the datagrams to the client", "udp", l.Server, l.Client, l.Server, lab.ServerAddr, 9003, stop),
	}
	for range 3 {
		for _, st := range streams {
			st.goesOn(t)
		}
		s.run(t, "systemctl", "restart", "xdpct")
		if n := s.property(t, "NFileDescriptorStore"); n != "0" {
			t.Errorf("%s descriptors are still kept", n)
		}
	}
	for _, st := range streams {
		st.goesOn(t)
	}
	if n := strings.Count(s.run(t, "cat", "/run/log"), "XDP program of the last run is replaced"); n != 6 {
		t.Errorf("%d programs were replaced, want 6:\n%s", n, s.run(t, "cat", "/run/log"))
	}
	checkRefusals(t, atServer, l.Server, lab.GatewayWAN)
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, st := range streams {
		st.checkEnd(t)
	}
	// systemd would try this one again and again.
	s.run(t, "sh", "-c", "echo XDPCT_FLAGS=--internal lan --external none --masquerade >/etc/default/xdpct")
	if r := s.try("systemctl", "restart", "xdpct"); r.Status == 0 {
		t.Error("a gateway without its interface has started")
	}
	l.CheckNoProgram(t)
	s.run(t, "sh", "-c", "cat /run/systemd/system/flags >/etc/default/xdpct")
	s.run(t, "systemctl", "restart", "xdpct")
	s.run(t, "systemctl", "stop", "xdpct")
	l.CheckNoProgram(t)
	if result := s.property(t, "Result"); result != "success" {
		t.Errorf("the service ended with %s", result)
	}
}

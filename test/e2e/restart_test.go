package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// startSSH starts an SSH server and returns the command of a client that may log in.
func startSSH(t *testing.T, l *lab.Lab) string {
	t.Helper()
	dir := filepath.Join(l.Dir, "ssh")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"host", "user"} {
		l.Server.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	config := fmt.Sprintf("HostKey %[1]s/host\nAuthorizedKeysFile %[1]s/user.pub\nPidFile none\nStrictModes no\nUsePAM no\n"+
		"PasswordAuthentication no\nPermitRootLogin yes\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// Its mounts are its own, as of everything that ip netns exec starts.
	l.Server.StartServer(t, "tcp", 22, "bash", "-c", "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f "+dir+"/config")
	return "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -i " +
		dir + "/user root@" + lab.ServerAddr
}

// ftpAcrossRestarts is an FTP session in active mode that waits twice for a file of
// the name that it tells: when it is idle, and in the middle of a transfer.
const ftpAcrossRestarts = `
import ftplib, os, sys, time
host, files, flags = sys.argv[1:]
def wait(name):
    print(name, flush=True)
    while not os.path.exists(flags + "/" + name):
        time.sleep(0.05)
def check(name, got):
    if got != open(files + "/" + name, "rb").read():
        sys.exit(name + " has changed on its way")
def get(name):
    parts = []
    ftp.retrbinary("RETR " + name, parts.append)
    check(name, b"".join(parts))
ftp = ftplib.FTP(host, timeout=40)
ftp.login()
ftp.set_pasv(False)
get("file.bin")
wait("idle")
get("file.bin")
data = ftp.transfercmd("RETR big.bin")
parts = [data.recv(100000)]
wait("transfer")
while parts[-1]:
    parts.append(data.recv(100000))
data.close()
ftp.voidresp()
check("big.bin", b"".join(parts))
get("file.bin")
ftp.quit()
print("done", flush=True)
`

// timeLeft is what of a listed flow changes by itself.
var timeLeft = regexp.MustCompile(`^(\S+ +\d+ )\d+ `)

// listedFlows are the flows with their ids but without the time left, in a fixed order.
func listedFlows(t *testing.T, g *lab.Gateway) []string {
	t.Helper()
	list := g.FlowsIn(t, "id")
	for i := range list {
		list[i] = timeLeft.ReplaceAllString(list[i], "$1")
	}
	slices.Sort(list)
	return list
}

// quietBox keeps the gateway's kernel from answering for connections that it does not
// know, as docs/state.md tells for the time when no xdpct runs.
const quietBox = `
nft add table inet xdpct-gap
nft add chain inet xdpct-gap output '{ type filter hook output priority 0; }'
nft add rule  inet xdpct-gap output oifname wan 'tcp flags & rst == rst drop'
nft add rule  inet xdpct-gap output oifname wan icmp type destination-unreachable icmp code port-unreachable drop
`

// TestRestart stops the gateway and starts it again under running programs, twice, on
// two queues with another number of workers each time. Source ports are changed, so that
// another number of workers has them elsewhere; or sources get the box's own address.
func TestRestart(t *testing.T) {
	lab.NeedsXDPCT(t)
	ports := []string{"--snat", lab.NATAddr + ":20000-29999"}
	for name, c := range map[string]struct {
		queues  int
		workers [3]string // CPUs for them
		nat     []string
	}{
		"queues=1":   {1, [3]string{"0", "0", "0"}, ports},
		"queues=2":   {2, [3]string{"0,1", "0", "0,1"}, ports},
		"masquerade": {2, [3]string{"0", "0,1", "0"}, []string{"--masquerade"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, c.queues)
			if c.queues > 1 {
				l.Cross(t)
			}
			l.Gateway.Run(t, "bash", "-ec", quietBox)
			state := filepath.Join(l.Dir, "flows")
			start := func(i int) *lab.Gateway {
				return l.StartXDPCT(t, append([]string{"--helper", "ftp", "--state", state, "--cpus", c.workers[i]}, c.nat...)...)
			}
			files := l.Serve(t, l.Server)
			newFile(t, files, "file.bin", 300_000)
			newFile(t, files, "big.bin", 20_000_000)
			ssh := startSSH(t, l)
			l.Server.Start(t, "socat", "UDP-LISTEN:7,fork", "PIPE")
			g := start(0)

			stop := filepath.Join(l.Dir, "stop")
			count := "n=0; until [ -e " + stop + " ]; do echo line $((++n)).; sleep 0.1; done"
			session := l.Client.Start(t, "bash", "-c", "set -o pipefail; ("+count+") | "+ssh+" cat")
			udp := l.Client.Start(t, "bash", "-c", "("+count+") | socat -t2 - UDP:"+lab.ServerAddr+":7,sourceport=5000")
			l.Client.Start(t, "ping", "-q", "-i0.2", lab.ServerAddr)
			ftp := l.Client.Start(t, "python3", "-c", ftpAcrossRestarts, lab.ServerAddr, files, l.Dir)
			for i, moment := range []string{"idle", "transfer"} {
				ftp.WaitOutput(t, "^"+moment, 20*time.Second)
				session.WaitOutput(t, "line 5.", 10*time.Second)
				lab.Eventually(t, 10*time.Second, "the UDP flow is assured", func() bool {
					return strings.Contains(g.Command(t, "flows", "-p", "udp"), "[ASSURED]")
				})
				before := listedFlows(t, g)
				g.Stop(t)
				g = start(i + 1)
				if changed := strings.Contains(strings.Join(before, "\n"), "sport=7 dport=2"); changed != (c.nat[0] == "--snat") {
					t.Errorf("ports are changed: %v, in\n%q", changed, before)
				}
				if diff := cmp.Diff(before, listedFlows(t, g)); diff != "" {
					t.Errorf("flows before and after (-before +after):\n%s", diff)
				}
				checkNoFile(t, state)
				if err := os.WriteFile(filepath.Join(l.Dir, moment), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ftp.WaitOutput(t, "^done", 40*time.Second)
			if err := os.WriteFile(stop, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if r := session.Wait(t, 20*time.Second); r.Status != 0 {
				t.Errorf("the SSH session ended with %d: %s", r.Status, r.Stderr)
			}
			checkEchoed(t, "SSH", session.Stdout(), 0)
			udp.Wait(t, 20*time.Second)
			checkEchoed(t, "UDP", udp.Stdout(), 60)
		})
	}
}

// checkEchoed checks that lines came back in order, all but some.
func checkEchoed(t *testing.T, what, out string, lost int) {
	t.Helper()
	lines, last := strings.Fields(out), 0
	for i := 1; i < len(lines); i += 2 {
		n := 0
		if _, err := fmt.Sscanf(lines[i], "%d.", &n); err != nil || n <= last || n-last > lost+1 {
			t.Errorf("%s: after line %d came %q", what, last, lines[i])
		}
		lost -= n - last - 1
		last = n
	}
	if last < 20 {
		t.Errorf("%s: only %d lines came back", what, last)
	}
}

// checkNoFile: a state that was taken is not there any more.
func checkNoFile(t *testing.T, path string) {
	t.Helper()
	lab.Eventually(t, 2*time.Second, path+" is gone", func() bool { // a moment after the control socket is there
		_, err := os.Lstat(path)
		return os.IsNotExist(err)
	})
}

// stateReader reads a state file as docs/state.md tells its format.
const stateReader = `
import socket, struct, sys
b = open(sys.argv[1], "rb").read()
crc = 0xffffffff
for byte in b[:-4]:
    crc ^= byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
assert struct.unpack("<I", b[-4:])[0] == crc ^ 0xffffffff, "checksum"
magic, version, ticks, saved = struct.unpack("<8sIIQ", b[:24])
assert (magic, version, ticks) == (b"XDPCTST\n", 1, 16), "header"
at, flows = 24, 0
def ip(n):
    return socket.inet_ntoa(struct.pack(">I", n))
while True:
    kind, zero, length = struct.unpack("<BBH", b[at:at+4])
    body = b[at+4:at+4+length]
    at += 4 + length
    if kind == 255:
        assert struct.unpack("<QQI", body)[0] == flows and at == len(b) - 4, "end"
        break
    flows += 1
    parts, proto, state, status, timeout, idle, age, ident = struct.unpack("<BBBHIIII", body[:21])
    src, dst, sport, dport, rsrc, rdst, rsport, rdport = struct.unpack("<IIHHIIHH", body[21:45])
    assert (parts, proto, dport, rdport, length) == (0, 1, 0x800, 0, 45), "flow"
    print("icmp", ip(src), ip(dst), "reply", ip(rsrc), ip(rdst), "timeout", timeout // ticks)
`

// TestStateFile: what becomes of the file in good and bad cases.
func TestStateFile(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	dir := filepath.Join(l.Dir, "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(dir, "flows")
	start := func() *lab.Gateway { return l.StartXDPCT(t, snat("--state", state)...) }
	pinged := func(g *lab.Gateway) { // makes a flow
		t.Helper()
		ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
		if n := len(g.Flows(t)); n != 1 {
			t.Fatalf("%d flows, want 1", n)
		}
	}

	g := start()
	pinged(g)
	g.Stop(t)
	info, err := os.Stat(state)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the state file: %v, %v", info, err)
	}
	good, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("read by another program", func(t *testing.T) {
		// The address, ports and state of its flows, by docs/state.md alone.
		out := l.Client.Run(t, "python3", "-c", stateReader, state)
		if out != "icmp 10.1.2.3 203.0.113.47 reply 203.0.113.47 198.51.100.32 timeout 30\n" {
			t.Errorf("read as %q", out)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		bad := slices.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(state, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		g := start()
		if n := len(g.Flows(t)); n != 0 {
			t.Errorf("%d flows from a damaged file", n)
		}
		if out := g.Process.Output(); strings.Count(out, "the state file is not usable") != 1 {
			t.Errorf("not told, or not once:\n%s", out)
		}
		kept, err := os.ReadFile(state + ".bad")
		if err != nil || string(kept) != string(bad) {
			t.Errorf("the damaged file is not kept: %v", err)
		}
		pinged(g)
		g.Stop(t)
	})
	t.Run("killed", func(t *testing.T) {
		g := start()
		if n := len(g.Flows(t)); n != 1 {
			t.Errorf("%d flows taken back, want 1", n)
		}
		checkNoFile(t, state)
		g.Kill(t)
		checkNoFile(t, state)
		g = start()
		if n := len(g.Flows(t)); n != 0 {
			t.Errorf("%d flows after kill -9, want none", n)
		}
		g.Stop(t)
	})
	t.Run("no place", func(t *testing.T) {
		for _, path := range []string{filepath.Join(dir, "no", "flows"), dir} {
			r := l.Gateway.Try(lab.Binary(t), "run", "--internal", "lan", "--external", "wan", "--masquerade",
				"--control", filepath.Join(l.Dir, "other.sock"), "--state", path)
			if r.Status != 1 || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, "--state "+path) {
				t.Errorf("%s: status %d, %q", path, r.Status, r.Stderr)
			}
		}
	})
}

// TestStateOnAFullDisk: a state that cannot be saved is told, and what is there stays.
func TestStateOnAFullDisk(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	// A disk of the gateway's own: what ip netns exec starts has its own mounts.
	dir := filepath.Join(l.Dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`mount -t tmpfs -o size=64k none %[1]s || exit; "$@" & pid=$!; trap 'kill $pid' TERM; `+
		`while [ ! -e %[2]s/fill ]; do sleep 0.05; done; echo before >%[1]s/flows; head -c 1M /dev/zero >%[1]s/rest; touch %[2]s/filled; `+
		`wait $pid; wait $pid; status=$?; cat %[1]s/flows; ls %[1]s; exit $status`, dir, l.Dir)
	g := l.StartXDPCTUnder(t, []string{"bash", "-c", script, "bash"}, snat("--state", filepath.Join(dir, "flows"))...)
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
	if err := os.WriteFile(filepath.Join(l.Dir, "fill"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Eventually(t, 5*time.Second, "the disk is full", func() bool {
		_, err := os.Stat(filepath.Join(l.Dir, "filled"))
		return err == nil
	})
	g.Process.Signal(15)
	r := g.Process.Wait(t, 10*time.Second)
	if r.Status != 1 || !strings.Contains(r.Stderr, "no space left on device") || !strings.HasPrefix(r.Stdout, "before\nflows\nrest\n") {
		t.Errorf("status %d, %q, %q", r.Status, r.Stdout, r.Stderr)
	}
	l.CheckNoProgram(t)
}

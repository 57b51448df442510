package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// steady is one end of a connection over which numbers flow all the time, each one more than
// the last: steady send|receive tcp|udp listen|connect ADDRESS PORT STOP. A sender ends when
// there is a file STOP. The receiver tells how far it is; nothing may be missing over TCP.
const steady = `
import os, socket, struct, sys, time
role, proto, side, addr, port, stop = sys.argv[1:]
kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET, kind)
if side == "connect":
    s.connect((addr, int(port)))
    if proto == "udp":
        s.send(b"hello")
else:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, int(port)))
    if proto == "tcp":
        s.listen()
        s = s.accept()[0]
    else:
        s.connect(s.recvfrom(100)[1])
n, size = 0, 128
if role == "send":
    while not os.path.exists(stop):
        s.send(b"".join(struct.pack("<Q", n + i) for i in range(size))) if proto == "udp" else \
            s.sendall(b"".join(struct.pack("<Q", n + i) for i in range(size)))
        n += size
        time.sleep(0.01)
    for _ in range(1 if proto == "tcp" else 20):
        if proto == "udp":
            s.send(b"end")
    s.close()
    print("sent", n, flush=True)
    sys.exit()
rest, told = b"", 0
while True:
    got = s.recv(65536)
    if got in (b"", b"end"):
        break
    rest += got
    numbers = struct.unpack("<%dQ" % (len(rest) // 8), rest[:len(rest) // 8 * 8])
    rest = rest[len(numbers) * 8:]
    for v in numbers:
        if v != n and (proto == "tcp" or v < n):
            sys.exit("%d after %d" % (v, n - 1))
        n = v + 1
    if n >= told + 1000:
        told = n
        print("at", n, flush=True)
print("received", n, flush=True)
`

// stream is a steady connection.
type stream struct {
	name             string
	sender, receiver *lab.Process
	senderNS         *lab.Namespace
	proto, port      string
}

// startStream lets numbers flow over a connection that the client end opens to addr.
func startStream(t *testing.T, name, proto string, from, to *lab.Namespace, listener *lab.Namespace, addr string, port int, stop string) *stream {
	t.Helper()
	s := &stream{name: name, senderNS: from, proto: proto, port: strconv.Itoa(port)}
	start := func(role string, ns *lab.Namespace) *lab.Process {
		side := "connect"
		if ns == listener {
			side = "listen"
		}
		args := []string{"python3", "-c", steady, role, proto, side, addr, s.port, stop}
		if side == "listen" {
			return ns.StartServer(t, proto, port, args...)
		}
		return ns.Start(t, args...)
	}
	if from == listener {
		s.sender = start("send", from)
		s.receiver = start("receive", to)
	} else {
		s.receiver = start("receive", to)
		s.sender = start("send", from)
	}
	return s
}

// goesOn waits until the receiver has had something that was sent after now.
func (s *stream) goesOn(t *testing.T) {
	t.Helper()
	told := len(s.receiver.Stdout())
	lab.Eventually(t, 20*time.Second, s.name+" goes on", func() bool {
		if !s.sender.Running() || !s.receiver.Running() {
			t.Fatalf("%s has ended:\n%s%s", s.name, s.sender.Output(), s.receiver.Output())
		}
		return strings.Count(s.receiver.StdoutFrom(told), "at ") > 1
	})
}

// waitRepeats waits until TCP repeats what it has sent: nobody has answered.
func (s *stream) waitRepeats(t *testing.T) {
	t.Helper()
	lab.Eventually(t, 20*time.Second, s.name+" is repeated", func() bool {
		out := s.senderNS.Run(t, "ss", "-Htin", "( sport = :"+s.port+" or dport = :"+s.port+" )")
		return strings.Contains(out, " backoff:") || !s.sender.Running()
	})
}

// checkEnd checks that all has arrived, once senders have been told to stop.
func (s *stream) checkEnd(t *testing.T) {
	t.Helper()
	sent, received := s.sender.Wait(t, 30*time.Second), s.receiver.Wait(t, 30*time.Second)
	if sent.Status != 0 || received.Status != 0 {
		t.Errorf("%s: sender %d, receiver %d:\n%s%s", s.name, sent.Status, received.Status, sent.Output(), received.Stderr)
		return
	}
	last := received.Stdout[strings.LastIndex(received.Stdout, "received"):]
	if s.proto == "tcp" && strings.TrimPrefix(last, "received") != strings.TrimPrefix(sent.Stdout, "sent") {
		t.Errorf("%s: %s, %s", s.name, sent.Stdout, last)
	}
}

// refusals are packets by which a kernel says that it knows nothing of a connection.
const refusals = "tcp[tcpflags] & tcp-rst != 0 or (icmp and icmp[0] == 3)"

// checkRefusals checks that the kernel of the gateway has refused nothing to a host but the one
// datagram that the host sends now, to a port of the gateway that is closed.
func checkRefusals(t *testing.T, c *lab.Capture, host *lab.Namespace, gateway string) {
	t.Helper()
	host.Run(t, "bash", "-c", "echo x >/dev/udp/"+gateway+"/9")
	lab.Eventually(t, 5*time.Second, "the capture of "+host.Name+" shows a refusal", func() bool {
		return len(c.Packets("udp port 9 unreachable")) > 0
	})
	if all := c.Packets("."); len(all) != 1 {
		t.Errorf("%s was refused %d packets:\n%s", host.Name, len(all)-1, strings.Join(all, "\n"))
	}
}

// checkBox checks that the gateway's own service answers, and that it reaches others.
func checkBox(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, to := range []struct {
		from *lab.Namespace
		addr string
		port int
	}{
		{l.Client, lab.GatewayLAN, 2222}, {l.Client, lab.GatewayWAN, 2222}, {l.Server, lab.GatewayWAN, 2222}, {l.Gateway, lab.ServerAddr, 22},
	} {
		out := to.from.Run(t, "timeout", "10", "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d; read -t5 -u3 line; echo "$line"`, to.addr, to.port))
		if strings.TrimSpace(out) == "" {
			t.Errorf("%s: port %d of %s does not answer", to.from.Name, to.port, to.addr)
		}
	}
	ping(t, l.Server, "-c2", "-i0.2", "-W2", lab.GatewayWAN)
}

// flowID is the id of a listed flow of a stream.
var flowID = regexp.MustCompile(`dport=900\d .*\b(id=\d+)`)

// streamIDs are the ids of the flows of all streams; what else is listed of them changes.
func streamIDs(t *testing.T, g *lab.Gateway) []string {
	t.Helper()
	var ids []string
	for _, flow := range g.FlowsIn(t, "id") {
		if m := flowID.FindStringSubmatch(flow); m != nil {
			ids = append(ids, m[1])
		}
	}
	slices.Sort(ids)
	return ids
}

// TestRestartUnderAManager restarts a masquerading gateway twice while connections are busy,
// under a service manager that keeps the XDP programs: what comes in between is dropped and
// sent again, and the kernel refuses nothing, though the address is its own.
func TestRestartUnderAManager(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	l.Cross(t)
	ssh := startSSH(t, l)
	l.Gateway.StartServer(t, "tcp", 2222, "socat", "TCP-LISTEN:2222,fork,reuseaddr", "SYSTEM:echo gateway")
	m := l.NewManager(t)
	start := func(cpus string) *lab.Gateway {
		return m.StartXDPCT(t, "--masquerade", "--state", filepath.Join(l.Dir, "flows"), "--cpus", cpus)
	}
	g := start("0,1")
	atServer, atClient := l.Server.Capture(t, "eth0", refusals), l.Client.Capture(t, "eth0", refusals)

	stop := filepath.Join(l.Dir, "stop")
	streams := []*stream{
		startStream(t, "the upload", "tcp", l.Client, l.Server, l.Server, lab.ServerAddr, 9001, stop),
		startStream(t, "the download", "tcp", l.Server, l.Client, l.Server, lab.ServerAddr, 9002, stop),
		startStream(t, "the datagrams to the client", "udp", l.Server, l.Client, l.Server, lab.ServerAddr, 9003, stop),
	}
	own := startStream(t, "the box's own connection", "tcp", l.Gateway, l.Server, l.Gateway, lab.GatewayWAN, 9004, stop)
	session := l.Client.Start(t, "bash", "-c", "set -o pipefail; (n=0; until [ -e "+stop+" ]; do echo line $((++n)).; sleep 0.1; done) | "+ssh+" cat")
	for i, cpus := range []string{"0", "0,1"} {
		for _, s := range append(streams, own) {
			s.goesOn(t)
		}
		session.WaitOutput(t, "line 5.", 10*time.Second)
		before := streamIDs(t, g)
		g.End(t)
		lab.Eventually(t, 5*time.Second, "two programs are kept", func() bool {
			return slices.Equal(m.Stored(), []string{"xdpct-link", "xdpct-link"})
		})
		streams[0].waitRepeats(t)
		streams[1].waitRepeats(t)
		checkBox(t, l)
		own.goesOn(t)
		g = start(cpus)
		if n := strings.Count(g.Process.Output(), "XDP program of the last run is replaced"); n != 2 {
			t.Errorf("restart %d: %d programs were replaced:\n%s", i, n, g.Process.Output())
		}
		if stored := m.Stored(); len(stored) > 0 {
			t.Errorf("still kept: %q", stored)
		}
		if after := streamIDs(t, g); len(before) != len(streams) || !slices.Equal(before, after) {
			t.Errorf("flows %q became %q", before, after)
		}
	}
	for _, s := range append(streams, own) {
		s.goesOn(t)
	}
	checkBox(t, l)
	checkRefusals(t, atServer, l.Server, lab.GatewayWAN)
	checkRefusals(t, atClient, l.Client, lab.GatewayLAN)
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(streams, own) {
		s.checkEnd(t)
	}
	if r := session.Wait(t, 20*time.Second); r.Status != 0 {
		t.Errorf("the SSH session ended with %d: %s", r.Status, r.Stderr)
	}
	checkEchoed(t, "SSH", session.Stdout(), 0)
	g.Kill(t) // the manager has nothing that could stay
	l.CheckNoProgram(t)
}

// TestUnfitDescriptors: descriptors that are of no use are told and closed, and the gateway
// starts.
func TestUnfitDescriptors(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	m := l.NewManager(t)
	for _, name := range []string{"third", "fourth"} {
		l.Gateway.Run(t, "ip", "link", "add", name, "up", "type", "veth", "peer", "name", name+"-peer")
	}
	state := []string{"--masquerade", "--state", filepath.Join(l.Dir, "flows")}
	g := m.StartXDPCT(t, append(state, "--external", "third,fourth", "--xdp", "generic")...)
	g.End(t)
	lab.Eventually(t, 5*time.Second, "four programs are kept", func() bool { return len(m.Stored()) == 4 })
	file, err := os.Create(filepath.Join(l.Dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	m.Put(file)
	l.Gateway.Run(t, "ip", "link", "del", "fourth")

	g = m.StartXDPCT(t, append(state, "--xdp", "native")...)
	out := g.Process.Output()
	for text, want := range map[string]int{
		"is replaced":                          0,
		"its program runs in generic mode":     2, // of lan and wan
		"is on no port any more: let go":       2,
		"passed what is no XDP program":        1,
		"no port any more: let go\" ifindex=0": 1, // fourth
	} {
		if n := strings.Count(out, text); n != want {
			t.Errorf("%d times %q, want %d, in\n%s", n, text, want, out)
		}
	}
	if out := l.Gateway.Run(t, "ip", "link", "show"); strings.Contains(out, "xdpgeneric") || strings.Count(out, "prog/xdp") != 2 {
		t.Errorf("not two native programs: %s", out)
	}
	ping(t, l.Client, "-c1", "-W2", lab.ServerAddr)
}

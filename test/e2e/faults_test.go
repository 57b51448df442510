package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// TestInterfaceReplaced deletes interfaces under a running gateway and makes them again:
// a connection goes on, and no frame is lost.
func TestInterfaceReplaced(t *testing.T) {
	lab.NeedsXDPCT(t)
	for name, c := range map[string]struct {
		queues int
		ends   []string
	}{
		"outside, 1 queue": {1, []string{"server"}},
		"inside, 2 queues": {2, []string{"client"}},
		"both, 2 queues":   {2, []string{"client", "server"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, c.queues)
			g := l.StartXDPCT(t, snat()...)
			l.Server.StartServer(t, "tcp", 7, "socat", "TCP-LISTEN:7,fork,reuseaddr", "PIPE")
			session := l.Client.Start(t, "bash", "-c",
				`exec 3<>/dev/tcp/203.0.113.47/7; while sleep 0.1; do echo line $((++n)) >&3; read -u3 x; echo "$x"; done`)
			session.WaitOutput(t, "line 3\n", 5*time.Second)
			for range 2 {
				for _, end := range c.ends {
					l.Script(t, "unplug", end)
				}
				g.Process.WaitOutput(t, "interface is gone", 5*time.Second)
				before := strings.Count(session.Stdout(), "\n")
				for _, end := range c.ends {
					l.Script(t, "plug", end, fmt.Sprint(c.queues))
				}
				session.WaitOutput(t, fmt.Sprintf("line %d\n", before+4), 20*time.Second)
			}
			session.Signal(syscall.SIGTERM)
			lab.Eventually(t, 5*time.Second, "every frame is in its place", func() bool {
				return g.Counters(t)["frames_missing"] == 0
			})
			if lost := g.Counters(t)["frames_lost"]; lost != 0 {
				t.Errorf("%d frames are lost", lost)
			}
			if n := strings.Count(strings.Join(g.Flows(t), "\n"), " dport=7 "); n != 1 {
				t.Errorf("%d flows of the session, want 1", n)
			}
		})
	}
}

// TestInterfaceOfOtherForm: an interface that comes back with other queues cannot be
// served. That is told, the other one goes on, and the right one is served again.
func TestInterfaceOfOtherForm(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	g := l.StartXDPCT(t, snat()...)
	l.Script(t, "unplug", "server")
	l.Script(t, "plug", "server", "3")
	g.Process.WaitOutput(t, `interface is back, but cannot be served.*it has 3 receive and 3 transmit queues, and had 2`, 5*time.Second)
	ping(t, l.Client, "-c1", "-W2", lab.GatewayLAN)
	l.Script(t, "unplug", "server")
	l.Script(t, "plug", "server", "2")
	g.Process.WaitOutput(t, `interface is served again.*name=wan`, 10*time.Second)
	ping(t, l.Client, "-c1", "-W5", lab.ServerAddr)
}

// TestVanishedNeighbour: packets to a neighbour that answers no more are dropped under a
// name of their own, and go on when it is there again.
func TestVanishedNeighbour(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	g := l.StartXDPCT(t, snat()...)
	ping(t, l.Client, "-c1", "-W5", lab.ServerAddr)
	l.Server.Run(t, "ip", "link", "set", "eth0", "arp", "off")
	l.Gateway.Run(t, "ip", "neigh", "flush", "dev", "wan")
	if r := l.Client.Try("ping", "-q", "-c5", "-i0.2", "-W1", lab.ServerAddr); r.Status == 0 {
		t.Error("a neighbour without ARP answers")
	}
	lab.Eventually(t, 10*time.Second, "packets for it are dropped", func() bool {
		return g.Counters(t)["drop_neighbour_failed"] >= 4 // the first may be on its way before the flush is known
	})
	l.Server.Run(t, "ip", "link", "set", "eth0", "arp", "on")
	ping(t, l.Client, "-c1", "-W10", lab.ServerAddr)
}

// TestHungControlClients: clients that say nothing, or read nothing, hold up neither
// packets nor other clients, nor the end.
func TestHungControlClients(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	g := l.StartXDPCT(t, snat()...)
	for i := range 100 {
		c, err := net.Dial("unix", g.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprintf(c, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
		} else {
			fmt.Fprintf(c, "GET /fl")
		}
	}
	ping(t, l.Client, "-c3", "-i0.2", "-W2", lab.ServerAddr)
	if n := len(g.Flows(t)); n != 1 {
		t.Errorf("%d flows, want 1", n)
	}
	g.Stop(t)
}

// TestLogsToAFullDisk: what cannot be written is not waited for.
func TestLogsToAFullDisk(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 1)
	full := []string{"sh", "-c", `exec "$@" 2>/dev/full`, "sh"}
	g := l.StartXDPCTUnder(t, full, snat("--log-level", "debug")...)
	l.Gateway.Run(t, "ip", "link", "set", "wan", "down")
	l.Gateway.Run(t, "ip", "link", "set", "wan", "up")
	lab.Eventually(t, 10*time.Second, "forwarding goes on", func() bool {
		return l.Client.Try("ping", "-q", "-c1", "-W1", lab.ServerAddr).Status == 0
	})
	g.Stop(t)
}

// settings returns all that a gateway could leave changed behind it.
func settings(t *testing.T, l *lab.Lab) string {
	t.Helper()
	// Figures that change by themselves are left out.
	return l.Gateway.Run(t, "bash", "-c",
		`sysctl -a 2>/dev/null | grep -v 'random\|entropy\|file-nr\|inode\|nr_\|dentry\|count\|uuid\|boot_id\|jitter\|hugepages\|ns_last_pid\|sched_domain\|^kernel\.pty\|^fs\.\|^vm\.\|^debug\.'
		 ip -br link; ip -br addr; ip route show table all; ip -6 route show table all; ip rule; nft list ruleset`)
}

// TestLeavesNothing ends gateways by SIGTERM and by SIGKILL, under load: no route, no
// setting, no interface and no program is left.
func TestLeavesNothing(t *testing.T) {
	lab.NeedsXDPCT(t)
	for name, end := range map[string]func(*lab.Gateway, testing.TB){
		"SIGTERM": (*lab.Gateway).Stop,
		"SIGKILL": (*lab.Gateway).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := lab.New(t, 2)
			before := settings(t, l)
			for range 3 {
				g := l.StartXDPCT(t, "--masquerade") // the most that it sets up
				load := l.Client.Start(t, "ping", "-q", "-f", "-w30", lab.ServerAddr)
				lab.Eventually(t, 10*time.Second, "the load runs", func() bool { return g.Counters(t)["received"] > 2000 })
				end(g, t)
				load.Signal(syscall.SIGKILL)
				load.Wait(t, 5*time.Second)
				l.CheckNoProgram(t)
			}
			lab.Eventually(t, 5*time.Second, "all settings are as before", func() bool { return settings(t, l) == before })
		})
	}
}

// TestKillAtAnyMoment kills gateways while they start, and at work; the next one always
// starts.
func TestKillAtAnyMoment(t *testing.T) {
	lab.NeedsXDPCT(t)
	t.Parallel()
	l := lab.New(t, 2)
	before := settings(t, l)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		p := l.Gateway.Start(t, lab.Binary(t), "run", "--internal", "lan", "--external", "wan", "--masquerade",
			"--control", filepath.Join(l.Dir, "killed.sock"))
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		p.Signal(syscall.SIGKILL)
		if r := p.Wait(t, 10*time.Second); r.Status != -1 {
			t.Fatalf("it ended by itself: status %d\n%s", r.Status, r.Output())
		}
	}
	l.CheckNoProgram(t)
	lab.Eventually(t, 5*time.Second, "all settings are as before", func() bool { return settings(t, l) == before })
	l.StartXDPCT(t, "--masquerade")
	ping(t, l.Client, "-c1", "-W5", lab.ServerAddr)
}

// TestRoutesChangeUnderLoad changes routes, neighbours and addresses all the time while
// files are fetched.
func TestRoutesChangeUnderLoad(t *testing.T) {
	t.Parallel()
	l := lab.New(t, 2)
	file := newFile(t, l.Serve(t, l.Server), "file.bin", 20_000_000)
	l.StartGateway(t, snat()...)
	batch := filepath.Join(l.Dir, "batch")
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, "route replace 192.0.2.%d/32 via 203.0.113.47\naddr replace 203.0.113.%d/24 dev wan\n", i, i%20+100)
		fmt.Fprintf(&lines, "neigh replace 203.0.113.%d lladdr 02:00:00:00:00:01 dev wan\nroute del 192.0.2.%d/32\n", i%40+200, i)
	}
	if err := os.WriteFile(batch, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	changes := l.Gateway.Start(t, "bash", "-c", "while ip -batch "+batch+"; do :; done")
	got := filepath.Join(l.Dir, "got")
	for range 3 {
		l.Client.Run(t, "curl", "-sS", "--max-time", "60", "-o", got, "http://203.0.113.47/file.bin")
		checkSame(t, file, got)
	}
	if !changes.Running() {
		t.Errorf("the changes ended: %s", changes.Output())
	}
}

package peers

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/bench/forward"
	"github.com/xdpct/xdpct/test/lab"
)

// TestContendersForward starts each contender between a client and a server,
// pings through it, and looks whether anything is left once it has stopped.
func TestContendersForward(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: contenders need root for namespaces and AF_XDP")
	}
	for _, c := range Contenders(lab.Binary(t)) {
		t.Run(c.Name, func(t *testing.T) {
			if c.Missing != nil && c.Missing() != "" {
				t.Skip("NOT TESTED: " + c.Missing())
			}
			l := lab.New(t, 1)
			s := newSite(t, l)
			running, err := c.Start(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			stopped := false
			stop := func() {
				if !stopped {
					stopped = true
					if err := running.Stop(); err != nil {
						t.Errorf("stop: %v", err)
					}
				}
			}
			defer stop()
			checkPings(t, l, &c)
			checkThreads(t, running)
			stop()
			l.CheckNoProgram(t)
			if l.Client.Try("ping", "-c1", "-W1", lab.ServerAddr).Status == 0 {
				t.Error("packets get through after Stop")
			}
			if left := strings.TrimSpace(string(processes(t, l.Gateway.Name))); left != "" {
				t.Errorf("still running after Stop: %s", left)
			}
		})
	}
}

// TestOVSThatCannotStart gives it an interface that does not exist.
func TestOVSThatCannotStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: Open vSwitch needs root")
	}
	if missing := missingOVS(); missing != "" {
		t.Skip("NOT TESTED: " + missing)
	}
	l := lab.New(t, 1)
	s := newSite(t, l)
	s.Out.Name = "nosuch0"
	_, err := startOVS(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("got error %v, want one about nosuch0", err)
	}
	l.CheckNoProgram(t)
	if left := strings.TrimSpace(string(processes(t, l.Gateway.Name))); left != "" {
		t.Errorf("still running: %s", left)
	}
}

// newSite describes the lab's gateway and makes the neighbours of both ends
// permanent, since a contender need not answer ARP.
func newSite(t *testing.T, l *lab.Lab) *forward.Site {
	t.Helper()
	s := &forward.Site{Namespace: l.Gateway.Name, SNAT: netip.MustParseAddr(lab.NATAddr), CPU: 1, HomeCPU: 0}
	s.In, s.Out = portOf(t, l.Gateway, "lan", l.Client), portOf(t, l.Gateway, "wan", l.Server)
	l.Client.Run(t, "ip", "neigh", "replace", lab.GatewayLAN, "lladdr", s.In.MAC.String(), "dev", "eth0", "nud", "permanent")
	l.Server.Run(t, "ip", "neigh", "replace", lab.GatewayWAN, "lladdr", s.Out.MAC.String(), "dev", "eth0", "nud", "permanent")
	l.Server.Run(t, "ip", "route", "add", "10.1.2.0/24", "via", lab.GatewayWAN)
	return s
}

// portOf describes the gateway's interface and the end of the host behind it.
func portOf(t *testing.T, gateway *lab.Namespace, name string, host *lab.Namespace) forward.Port {
	t.Helper()
	index, err := strconv.Atoi(strings.TrimSpace(gateway.Run(t, "cat", "/sys/class/net/"+name+"/ifindex")))
	if err != nil {
		t.Fatal(err)
	}
	return forward.Port{Name: name, Ifindex: index, MAC: macOf(t, gateway, name), PeerMAC: macOf(t, host, "eth0")}
}

func macOf(t *testing.T, n *lab.Namespace, name string) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(strings.TrimSpace(n.Run(t, "cat", "/sys/class/net/"+name+"/address")))
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// checkPings sees that pings get through, translated and with a TTL as the
// contender says.
func checkPings(t *testing.T, l *lab.Lab, c *forward.Contender) {
	t.Helper()
	capture := l.Server.Capture(t, "eth0", "icmp")
	out := l.Client.Run(t, "ping", "-c", "20", "-i", "0.01", "-W", "2", lab.ServerAddr)
	if !strings.Contains(out, "20 received") {
		t.Errorf("not all of 20 pings were answered:\n%s", out)
	}
	source, ttl := lab.ClientAddr, "ttl=64"
	if c.NAT {
		source = lab.NATAddr
	}
	if !c.KeepsTTL {
		ttl = "ttl=63"
	}
	if n := strings.Count(out, ttl); n != 20 {
		t.Errorf("%d of 20 answers have %s:\n%s", n, ttl, out)
	}
	lab.Eventually(t, patience, "requests from "+source+" reach the server", func() bool {
		return len(capture.Packets(source+" > "+lab.ServerAddr)) == 20
	})
}

// checkThreads sees that the processes and threads that are to be charged exist.
func checkThreads(t *testing.T, r *forward.Running) {
	t.Helper()
	if len(r.PIDs)+len(r.TIDs) == 0 {
		t.Error("neither process nor thread is named")
	}
	for _, id := range slices.Concat(r.PIDs, r.TIDs) {
		if _, err := os.Stat("/proc/" + strconv.Itoa(id)); err != nil {
			t.Errorf("named as running, but: %v", err)
		}
	}
}

// processes lists what runs in a namespace.
func processes(t *testing.T, namespace string) []byte {
	t.Helper()
	out, err := exec.Command("ip", "netns", "pids", namespace).Output()
	if err != nil {
		t.Fatalf("list processes: %v", err)
	}
	return out
}

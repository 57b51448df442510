package zerocopy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// testRestart: an xdpct that is restarted at work, under a service manager that keeps its XDP
// programs in between. The next one is in zero-copy mode too, transfers go on both ways, and
// in between nothing is refused, also where NAT uses the box's own address.
func testRestart(t *testing.T, m *machine, s *site) {
	t.Run("snat", func(t *testing.T) { s.restarts(t, m, small...) })
	t.Run("masquerade", func(t *testing.T) {
		// No more huge pages than one xdpct takes: the next one gets those of the last.
		m.reserve(t, smallPages)
		t.Cleanup(func() { m.reserve(t, hugePages) }) // after the end of the gateways
		s.restarts(t, m, append([]string{"--masquerade", "--huge-pages", "on"}, small...)...)
	})
}

// smallPages is how many huge pages the frames of an xdpct take that has few.
const smallPages = 5

// restarts restarts an xdpct with these flags three times: twice after a time in which TCP
// gets no answer, and then at once.
func (s *site) restarts(t *testing.T, m *machine, flags ...string) {
	t.Helper()
	t.Cleanup(func() { m.release(t) }) // likewise
	start := func() *gateway {
		t.Helper()
		g := m.gatewayBy(t, m.startManaged, append([]string{"--state", "/run/flows"}, flags...))
		g.checkMode(t, "zero-copy")
		return g
	}
	g := start()
	if slices.Contains(flags, "--huge-pages") && m.freeHugePages(t) != 0 {
		t.Errorf("%d of %d huge pages are left, so that one that stays taken is not missed", m.freeHugePages(t), smallPages)
	}
	atServer, atClient := s.l.Server.Capture(t, "eth0", refusals), s.l.Client.Capture(t, "eth0", refusals)
	up, down := s.startUpload(t), s.startDownload(t)
	calls := m.callsDuring(t, func() {
		flows, links := g.transfers(t), m.xdpLinks(t)
		for _, atOnce := range []bool{false, false, true} {
			g.stop(t)
			if !atOnce {
				m.checkKept(t, links)
				down.waitRepeats(t)
				s.pingBox(t)
			}
			g = start()
			links = g.checkReplaced(t, links)
			if diff := cmp.Diff(flows, g.transfers(t)); diff != "" || len(flows) != 2 {
				t.Errorf("flows before and after (-before +after):\n%s", diff)
			}
			up.waitFor(t, 1_000_000)
			down.waitFor(t, 1_000_000)
		}
	})
	if calls[copyRX] != 0 || calls[copyTX] != 0 {
		t.Errorf("%d packets were copied at reception, there were %d rounds of copying to send", calls[copyRX], calls[copyTX])
	}
	checkRefusals(t, atServer, s.l.Server, lab.GatewayWAN)
	checkRefusals(t, atClient, s.l.Client, lab.GatewayLAN)
	up.finish(t)
	down.finish(t)
	s.ping(t)
	g.checkLedger(t)
	g.signal(t, syscall.SIGKILL) // the manager has nothing that could stay
	g.wait(t)
	m.checkNothingAttached(t)
}

// floodUDP sends more datagrams than there are frames, by all queues.
const floodUDP = `
import socket, sys, time
for i in range(64):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for j in range(80):
        s.sendto(b"x", (sys.argv[1], 9))
    time.sleep(0.005)
`

// testHeard: between the opening of sockets and the first look at them, which may be long
// with many flows to take back, packets are in frames of xdpct already; but what is for the
// box itself gets there, and is answered.
func testHeard(t *testing.T, m *machine, s *site) {
	// The first line of the log is that the state file is of no use. It has no room, and xdpct
	// waits, until somebody reads.
	m.run(t, "sh", "-c", "mkfifo /run/log && echo no flows >/run/flows")
	full := m.start(t, "sh", "-c", "exec 3<>/run/log; dd if=/dev/zero bs=64k count=1 >&3; exec sleep 1000")
	defer full.signal(t, syscall.SIGKILL)
	full.waitOutput(t, "1.0 records out")
	p := m.start(t, append([]string{"sh", "-c", `exec "$@" 2>/run/log`, "sh", "xdpct", "run", "--internal", "lan", "--external", "wan",
		"--masquerade", "--max-flows", "16k", "--log-level", "warn", "--state", "/run/flows"}, small...)...)
	defer p.signal(t, syscall.SIGKILL)
	lab.Eventually(t, patience, "xdpct waits, with sockets", func() bool {
		out := m.try(t, "sh", "-c", "cat /proc/$(pidof xdpct)/task/*/wchan; grep XDP /proc/net/protocols").Stdout
		return regexp.MustCompile(fmt.Sprintf(`pipe_write(?s:.*)XDP +\d+ +%d `, 2*queues)).MatchString(out)
	})
	s.pingBox(t)
	log := m.start(t, "sh", "-c", `tr -d '\0' </run/log`)
	log.waitOutput(t, "the state file is not usable")
	s.ping(t)

	// So it has to be when the workers have stopped, and flows are saved: what nobody takes out
	// of the rings must not take all frames.
	p.signal(t, syscall.SIGSTOP)
	s.l.Client.Run(t, "/usr/bin/python3", "-c", floodUDP, lab.ServerAddr)
	s.pingBox(t)
	p.signal(t, syscall.SIGCONT)
	s.ping(t)
	if ports := m.run(t, "xdpct", "ports", "-o", "json"); !regexp.MustCompile(`"drops": [1-9]`).MatchString(ports) {
		t.Errorf("the flood has not filled the rings:\n%s", ports)
	}
	p.signal(t, syscall.SIGTERM)
	if r := p.wait(t); r.Status != 0 {
		t.Errorf("xdpct ended with %d:\n%s", r.Status, log.look(t).Stdout)
	}
}

// refusals are packets by which a kernel says that it knows nothing of a connection.
const refusals = "tcp[tcpflags] & tcp-rst != 0 or (icmp and icmp[0] == 3)"

// checkRefusals demands that a host was refused nothing but what it sends now, to a port of
// the gateway that is closed.
func checkRefusals(t *testing.T, c *lab.Capture, host *lab.Namespace, gateway string) {
	t.Helper()
	host.Run(t, "bash", "-c", "echo x >/dev/udp/"+gateway+"/9")
	lab.Eventually(t, patience, "the capture of "+host.Name+" shows a refusal", func() bool {
		return len(c.Packets("udp port 9 unreachable")) > 0
	})
	if all := c.Packets("."); len(all) != 1 {
		t.Errorf("%s was refused %d packets:\n%s", host.Name, len(all)-1, strings.Join(all, "\n"))
	}
}

// pingBox demands that the box answers for itself.
func (s *site) pingBox(t *testing.T) {
	t.Helper()
	s.l.Client.Run(t, "ping", "-q", "-c1", "-W20", lab.GatewayLAN)
	s.l.Server.Run(t, "ping", "-q", "-c1", "-W20", lab.GatewayWAN)
}

// waitRepeats waits until the server's TCP repeats what it has sent of a download: nobody
// has answered.
func (u *transfer) waitRepeats(t *testing.T) {
	t.Helper()
	lab.Eventually(t, patience, "the "+u.name+" is repeated", func() bool {
		out := u.s.l.Server.Run(t, "ss", "-Htin", fmt.Sprintf("sport = :%d", downloadPort))
		return strings.Contains(out, " backoff:") || !u.sender.Running()
	})
}

// transferFlow is what does not change in the line of a transfer's flow.
var transferFlow = regexp.MustCompile(fmt.Sprintf(`(?m)src=\S+ dst=\S+ sport=\d+ dport=(%d|%d) .*id=\d+`, uploadPort, downloadPort))

// transfers are the flows of transfers with their ids.
func (g *gateway) transfers(t *testing.T) []string {
	t.Helper()
	flows := transferFlow.FindAllString(g.m.run(t, "xdpct", "flows", "-p", "tcp", "-o", "id"), -1)
	slices.Sort(flows)
	return flows
}

// reserve has the kernel reserve this number of huge pages, and waits until all are free.
func (m *machine) reserve(t *testing.T, pages int) {
	t.Helper()
	lab.Eventually(t, patience, fmt.Sprintf("%d huge pages are reserved and free", pages), func() bool {
		m.run(t, "sh", "-c", fmt.Sprintf("echo %d >/proc/sys/vm/nr_hugepages", pages))
		return m.freeHugePages(t) == pages
	})
}

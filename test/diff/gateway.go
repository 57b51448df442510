package diff

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// Gateway is one gateway with its ends.
type Gateway struct {
	// Name is "kernel", or "xdpct" with its number of workers.
	Name    string
	lab     *lab.Lab
	control *lab.Gateway
	ends    [2]*end
	events  *lab.Recorder
	told    int // bytes of events that have been read
	syncs   int
}

// MAC addresses of scripts/lab.
var (
	clientMAC = net.HardwareAddr{2, 0, 0x0a, 1, 2, 3}
	lanMAC    = net.HardwareAddr{2, 0, 0x0a, 1, 2, 1}
	serverMAC = net.HardwareAddr{2, 0, 0xcb, 0, 0x71, 0x2f}
	wanMAC    = net.HardwareAddr{2, 0, 0xcb, 0, 0x71, 1}
)

// startGateway builds a lab and starts the kernel (workers 0) or xdpct in it.
func startGateway(t testing.TB, p Profile, workers int) *Gateway {
	t.Helper()
	g := &Gateway{Name: "kernel", lab: lab.New(t, max(workers, 1))}
	for _, route := range [][]string{
		{"-4", "neigh", "replace", lab.ClientAddr, "lladdr", clientMAC.String(), "dev", "lan", "nud", "permanent"},
		{"-4", "neigh", "replace", lab.ServerAddr, "lladdr", serverMAC.String(), "dev", "wan", "nud", "permanent"},
		{"-6", "neigh", "replace", lab.ClientAddr6, "lladdr", clientMAC.String(), "dev", "lan", "nud", "permanent"},
		{"-6", "neigh", "replace", lab.ServerAddr6, "lladdr", serverMAC.String(), "dev", "wan", "nud", "permanent"},
		{"-4", "route", "add", "10.64.0.0/10", "via", lab.ClientAddr},
		{"-4", "route", "add", "100.64.0.0/10", "via", lab.ServerAddr},
		{"-6", "route", "add", "fd64::/16", "via", lab.ClientAddr6},
		{"-6", "route", "add", "2001:db8:64::/48", "via", lab.ServerAddr6},
		// What nobody asked for is not answered by the kernel's routing.
		{"-4", "route", "add", "blackhole", "198.51.100.0/24"},
		{"-6", "route", "add", "blackhole", "2001:db8:100::/48"},
	} {
		g.lab.Gateway.Run(t, append([]string{"ip"}, route...)...)
	}
	if workers == 0 {
		g.control = g.lab.StartKernel(t, p.flags...)
	} else {
		if workers > 1 {
			g.lab.Cross(t)
		}
		g.Name = fmt.Sprintf("xdpct, %d workers", workers)
		if workers == 1 {
			g.Name = "xdpct, 1 worker"
		}
		g.control = g.lab.StartXDPCT(t, join([]string{"--max-flows", "65536"}, p.flags)...)
		if workers > 1 && len(g.control.WorkerCounters(t)) != workers {
			t.Fatalf("xdpct has %d workers, want %d", len(g.control.WorkerCounters(t)), workers)
		}
	}
	g.ends[Inside] = openEnd(t, g.lab.Client, clientMAC, lanMAC)
	g.ends[Outside] = openEnd(t, g.lab.Server, serverMAC, wanMAC)
	g.events = g.control.Events(t)
	return g
}

// syncTimeout is how long a gateway may take to let a packet through and tell of it.
const syncTimeout = 10 * time.Second

// sentinelPorts are source ports of which each of two workers owns one (blocks of 64).
var sentinelPorts = []uint16{10240, 10304}

// sync waits until all that was sent before has gone through the gateway, and its
// events are told: it sends packets behind it, to each worker, from both ends, and
// waits for those. Their other port is a new one each time, so they are new flows.
func (g *Gateway) sync(told *[]string, arrived *[2][]frame) error {
	g.syncs = g.syncs%60000 + 1
	round := g.syncs
	deadline := time.Now().Add(syncTimeout)
	client, server := address("client", 4, sentinel, natAddresses{}), address("server", 4, sentinel, natAddresses{})
	var answers []natted
	for _, port := range sentinelPorts {
		if err := g.ends[Inside].send(sentinelPacket(client, server, port, uint16(round))); err != nil {
			return err
		}
	}
	err := g.collect(Outside, arrived, deadline, func(d *dissected) bool {
		if d.dst == server && d.dport == uint16(round) {
			answers = append(answers, natted{d.src, d.sport})
		}
		return len(answers) == len(sentinelPorts)
	})
	if err != nil {
		return err
	}
	for _, to := range answers {
		if err := g.ends[Outside].send(sentinelPacket(server, to.addr, uint16(round), to.port)); err != nil {
			return err
		}
	}
	back := 0
	err = g.collect(Inside, arrived, deadline, func(d *dissected) bool {
		if d.dst == client && d.sport == uint16(round) {
			back++
		}
		return back == len(sentinelPorts)
	})
	if err != nil {
		return err
	}
	return g.awaitEvents(fmt.Sprintf(" dst=%s ", server), round, told, deadline)
}

func sentinelPacket(src, dst netip.Addr, sport, dport uint16) []byte {
	p := &Packet{Proto: "udp"}
	l4 := buildUDP(p, sport, dport)
	finishChecksum(p, l4, protoUDP, src, dst)
	return buildIP(p, protoUDP, src, dst, l4)
}

// collect takes what arrives at an end until complete says so of a packet.
func (g *Gateway) collect(side Side, arrived *[2][]frame, deadline time.Time, complete func(*dissected) bool) error {
	e := g.ends[side]
	for found := false; ; {
		for _, f := range e.take() {
			arrived[side] = append(arrived[side], f) // those behind the last one as well
			if d, ok := dissect(f.packet); ok && complete(&d) {
				found = true
			}
		}
		if found {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: nothing comes through to the %s any more", g.Name, side)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// awaitEvents reads events until those of the sentinels of this round are told.
func (g *Gateway) awaitEvents(server string, round int, told *[]string, deadline time.Time) error {
	missing := len(sentinelPorts)
	port := fmt.Sprintf(" dport=%d ", round)
	for {
		lines, next := g.events.Since(g.told)
		g.told = next
		for _, line := range lines {
			*told = append(*told, line)
			if strings.Contains(line, "[UPDATE]") && strings.Contains(line, server) && strings.Contains(line, port) {
				missing--
			}
		}
		switch {
		case missing <= 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s: events do not come any more", g.Name)
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// list reads the listing.
func (g *Gateway) list() ([]string, error) {
	var r lab.Result
	if g.control.Kernel() {
		r = g.lab.Gateway.Try("conntrack", "-L")
	} else {
		r = g.lab.Gateway.Try(g.control.Binary(), "flows", "--control", g.control.Control)
	}
	if r.Status != 0 {
		return nil, fmt.Errorf("%s: the listing fails: %s", g.Name, r.Output())
	}
	return strings.Split(strings.TrimSuffix(r.Stdout, "\n"), "\n"), nil
}

// settle is how long late packets are waited for: those that no sentinel follows
// on the same path, such as what the gateway itself answers.
const settle = 5 * time.Millisecond

// shown is all that a gateway showed in a round.
type shown struct {
	arrived [2][]frame // by the side where it arrived
	events  []string
	flows   []string
}

// batchSize is how many packets are sent before they are waited for: fewer than the
// events that fit into the kernel's buffer, where they would otherwise be put
// together with later ones.
const batchSize = 100

// play sends the packets and returns what the gateway then shows. evict makes the
// kernel notice first what has timed out, which a listing does.
func (g *Gateway) play(evict bool, packets []outgoing) (s shown, err error) {
	if evict {
		if _, err := g.list(); err != nil {
			return s, err
		}
	}
	for batch := range slices.Chunk(append(packets, outgoing{}), batchSize) {
		for _, p := range batch {
			if p.bytes == nil {
				continue
			}
			if err := g.ends[p.from].send(p.bytes); err != nil {
				return s, err
			}
		}
		if err := g.sync(&s.events, &s.arrived); err != nil {
			return s, err
		}
	}
	// A packet may go from worker to worker twice: to the one that puts fragments
	// together, then to the one that has the flow.
	if err := g.sync(&s.events, &s.arrived); err != nil {
		return s, err
	}
	time.Sleep(settle)
	for side := range g.ends {
		s.arrived[side] = append(s.arrived[side], g.ends[side].take()...)
	}
	s.flows, err = g.list()
	return s, err
}

// outgoing is a packet to be sent from one end.
type outgoing struct {
	from  Side
	bytes []byte
}

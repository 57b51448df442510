package xsk

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// zeroCopyPorts names the interfaces for the zero-copy tests: two of a driver
// with zero-copy, and the two that are wired to them. A veth cannot do it; a
// virtual machine with virtio_net can (Linux 6.13 or later, iommu_platform=on).
const zeroCopyPorts = "XDPCT_ZEROCOPY_PORTS"

// needZeroCopy returns the names of the interfaces or skips the test.
func needZeroCopy(t *testing.T) []string {
	t.Helper()
	needRoot(t)
	names := strings.Split(os.Getenv(zeroCopyPorts), ",")
	if len(names) != 4 {
		t.Skipf("NOT TESTED: zero-copy; set %s=PORT,PORT,FAR,FAR", zeroCopyPorts)
	}
	return names
}

// wiredPort is a real interface with an AF_PACKET socket on the far end.
func wiredPort(t *testing.T, name, far string) *testPort {
	t.Helper()
	p := &testPort{}
	var err error
	p.Device, err = ReadDevice(name)
	mustDo(t, "read device", err)
	end, err := ReadDevice(far)
	mustDo(t, "read far end", err)
	p.peerMAC = end.MAC
	p.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	mustDo(t, "open AF_PACKET", err)
	mustDo(t, "bind AF_PACKET", unix.Bind(p.wire, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: end.Ifindex}))
	mustDo(t, "ignore own frames", unix.SetsockoptInt(p.wire, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
	t.Cleanup(func() { unix.Close(p.wire) })
	t.Logf("%s: driver %s, %d queues, %+v", name, p.Driver, p.Queues(), p.Offloads)
	return p
}

// TestZeroCopyForwards sends more packets than there are frames through two
// zero-copy ports, so that every frame goes round several times.
func TestZeroCopyForwards(t *testing.T) {
	names := needZeroCopy(t)
	g := &gateway{umem: newTestUMEM(t, UMEMOptions{Frames: 2048})}
	maps := newTestMaps(t)
	var options []SocketOptions
	for i := range g.ports {
		g.ports[i] = wiredPort(t, names[i], names[2+i])
		d := &g.ports[i].Device
		g.programs[i] = newTestProgram(t, maps, d)
		mustDo(t, "attach", g.programs[i].Attach(d.Ifindex, AttachNative))
		options = append(options, SocketOptions{Ifindex: d.Ifindex, UMEM: g.umem, ZeroCopy: ZeroCopyOn, RXSize: 512, TXSize: 512, FillSize: 512, CompletionSize: 512})
	}
	all := newTestSockets(t, options)
	for i := range g.umem.Frames() {
		g.free = append(g.free, g.umem.Frame(i))
	}
	for i := range g.ports {
		g.sockets[i] = all[i : i+1]
		if !all[i].ZeroCopy() {
			t.Fatalf("%s is not in zero-copy mode", names[i])
		}
		mustDo(t, "register", g.programs[i].Register(all[i]))
		g.fill(all[i])
	}
	const packets = 3000
	for i := range packets {
		g.forward(t, i%7%2, i) // both directions, in no simple turn
	}
	for i, s := range all {
		st, err := s.Stats()
		mustDo(t, "stats", err)
		t.Logf("%s: %+v, outstanding %+v", names[i], st, s.Outstanding())
	}
	checkLedger(t, g.umem, len(g.free), all...)
}

// One port that cannot do zero-copy (lo) puts all of them into copy mode, in
// either order.
func TestAutoTakesCopyModeForAllPorts(t *testing.T) {
	names := needZeroCopy(t)
	capable, err := ReadDevice(names[0])
	mustDo(t, "read device", err)
	lo, err := ReadDevice("lo")
	mustDo(t, "read lo", err)
	for _, order := range [][]*Device{{&capable, &lo}, {&lo, &capable}} {
		u := newTestUMEM(t, UMEMOptions{Frames: 64})
		options := []SocketOptions{smallRings(u, order[0], 0), smallRings(u, order[1], 0)}
		sockets, err := OpenAll(options)
		mustDo(t, "open", err)
		for i, s := range sockets {
			if s.ZeroCopy() {
				t.Errorf("%s is in zero-copy mode", order[i].Name)
			}
		}
		mustDo(t, "close", CloseAll(sockets))
		for i := range options {
			options[i].ZeroCopy = ZeroCopyOn
		}
		_, err = OpenAll(options)
		t.Log(err)
		checkErrorIs(t, err, ErrNoZeroCopy)
	}
	u := newTestUMEM(t, UMEMOptions{Frames: 64})
	if s := newTestSockets(t, []SocketOptions{smallRings(u, &capable, 0)}); !s[0].ZeroCopy() {
		t.Errorf("%s alone is in copy mode", capable.Name)
	}
}

// fill tops the fill ring up from the free frames and wakes the driver.
func (g *gateway) fill(s *Socket) {
	n := s.Fill(g.free)
	g.free = g.free[n:]
	if s.NeedsRXWakeup() {
		s.WakeRX()
	}
}

// forward takes packet i from one port to the other.
func (g *gateway) forward(t *testing.T, from, i int) {
	t.Helper()
	in, out := g.ports[from], g.ports[1-from]
	in.send(t, udp4(in.MAC, in.peerMAC, [4]byte{192, 0, 2, 1}, uint16(i), 60+i%1000))
	q, d := g.receive(from)
	if q < 0 {
		t.Fatalf("packet %d did not arrive; outstanding %+v", i, g.sockets[from][0].Outstanding())
	}
	packet := g.umem.Bytes(d.Addr, d.Len)
	copy(packet, out.peerMAC)
	copy(packet[6:], out.MAC)
	tx := g.sockets[1-from][0]
	tx.Transmit([]Desc{d})
	mustDo(t, "flush", tx.Flush())
	if got := out.arrive(t, time.Second); !bytes.Equal(got, packet) {
		t.Fatalf("packet %d left as\n%x\narrived as\n%x; outstanding %+v", i, packet, got, tx.Outstanding())
	}
	var addrs [64]uint64
	for _, a := range addrs[:tx.Complete(addrs[:])] {
		g.free = append(g.free, g.umem.FrameOf(a))
	}
	g.fill(g.sockets[from][0])
}

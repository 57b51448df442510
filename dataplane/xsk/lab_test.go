package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// needRoot skips a test that needs capabilities this process does not have.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_SYS_ADMIN (run as root)")
	}
}

// newLab puts the test's thread into a network namespace of its own. The thread
// stays locked and ends with the test, so that nothing else ever runs there;
// the namespace goes with it. Not to be used across t.Run.
func newLab(t testing.TB) {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	h, err := netns.New()
	if err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	noIPv6(t)
	t.Cleanup(func() { h.Close() })
}

// inNewNetNS runs f in another new namespace and returns to the lab.
func inNewNetNS(t testing.TB, f func()) netns.NsHandle {
	t.Helper()
	lab, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	h, err := netns.New()
	if err != nil {
		t.Fatalf("new network namespace: %v", err)
	}
	noIPv6(t)
	t.Cleanup(func() { h.Close() })
	f()
	if err := netns.Set(lab); err != nil {
		t.Fatalf("return to the lab: %v", err)
	}
	return h
}

// testPort is a veth whose one end is in the lab and whose other end is in a
// namespace of its own, with an AF_PACKET socket bound to it.
type testPort struct {
	Device
	peerMAC net.HardwareAddr
	wire    int // AF_PACKET socket on the peer
}

// newTestPort makes a veth with that many queues at both ends.
func newTestPort(t testing.TB, name string, queues int) *testPort {
	t.Helper()
	lab, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	p := &testPort{}
	inNewNetNS(t, func() {
		peer := name + "p"
		v := netlink.NewVeth(netlink.LinkAttrs{
			Name: peer, NumTxQueues: queues, NumRxQueues: queues,
		})
		v.PeerName, v.PeerNumTxQueues, v.PeerNumRxQueues = name, uint32(queues), uint32(queues)
		mustDo(t, "add veth", netlink.LinkAdd(v))
		end, err := netlink.LinkByName(name)
		mustDo(t, "find veth", err)
		mustDo(t, "move veth", netlink.LinkSetNsFd(end, int(lab)))
		l, err := netlink.LinkByName(peer)
		mustDo(t, "find peer", err)
		mustDo(t, "peer up", netlink.LinkSetUp(l))
		p.peerMAC = l.Attrs().HardwareAddr
		p.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		mustDo(t, "open AF_PACKET", err)
		mustDo(t, "bind AF_PACKET", unix.Bind(p.wire, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: l.Attrs().Index}))
		mustDo(t, "size AF_PACKET", unix.SetsockoptInt(p.wire, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		mustDo(t, "ignore own frames", unix.SetsockoptInt(p.wire, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1))
		wire := p.wire
		t.Cleanup(func() { unix.Close(wire) })
	})
	l, err := netlink.LinkByName(name)
	mustDo(t, "find moved veth", err)
	mustDo(t, "up", netlink.LinkSetUp(l))
	p.Device, err = ReadDevice(name)
	mustDo(t, "read device", err)
	return p
}

// noIPv6 keeps neighbour discovery and the like out of the thread's namespace.
func noIPv6(t testing.TB) {
	t.Helper()
	// /proc/sys/net is that of the opening thread's namespace, unlike /sys/class/net.
	for _, conf := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+conf+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !os.IsNotExist(err) {
			t.Fatalf("turn IPv6 off: %v", err)
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func mustDo(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// send sends frames from the peer of the port.
func (p *testPort) send(t testing.TB, frame []byte) {
	t.Helper()
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := unix.Write(p.wire, frame)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("send from the peer: %v", err)
		}
	}
}

// arrive returns the next frame that reaches the peer, nil after wait.
func (p *testPort) arrive(t testing.TB, wait time.Duration) []byte {
	t.Helper()
	buf := make([]byte, 4096)
	for end := time.Now().Add(wait); ; time.Sleep(100 * time.Microsecond) {
		n, err := unix.Read(p.wire, buf)
		if err == nil {
			return buf[:n]
		}
		if time.Now().After(end) {
			return nil
		}
	}
}

// udp4 builds an Ethernet frame with an IPv4 UDP packet without payload
// checksum; size is the whole frame's.
func udp4(dst, src net.HardwareAddr, to [4]byte, dport uint16, size int) []byte {
	f := make([]byte, max(size, 60))
	copy(f, dst)
	copy(f[6:], src)
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	ip := f[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 0, 0, 1})
	copy(ip[16:], to[:])
	binary.BigEndian.PutUint16(ip[20:], 4000)
	binary.BigEndian.PutUint16(ip[22:], dport)
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	return f
}

// newTestUMEM makes a UMEM that is closed after the sockets of the test.
func newTestUMEM(t testing.TB, o UMEMOptions) *UMEM {
	t.Helper()
	u, err := NewUMEM(o)
	mustDo(t, "make UMEM", err)
	t.Cleanup(func() {
		if err := u.Close(); err != nil {
			t.Errorf("close UMEM: %v", err)
		}
	})
	return u
}

func newTestMaps(t testing.TB) *Maps {
	t.Helper()
	m, err := NewMaps(MapsOptions{LocalAddresses: 64, SharedAddresses: 2})
	mustDo(t, "make maps", err)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close maps: %v", err)
		}
	})
	return m
}

func newTestProgram(t testing.TB, m *Maps, d *Device) *Program {
	t.Helper()
	p, err := NewProgram(m, ProgramOptions{MAC: d.MAC, Queues: d.Queues()})
	mustDo(t, "load program", err)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close program: %v", err)
		}
	})
	return p
}

func newTestSockets(t testing.TB, options []SocketOptions) []*Socket {
	t.Helper()
	sockets, err := OpenAll(options)
	mustDo(t, "open sockets", err)
	t.Cleanup(func() {
		if err := CloseAll(sockets); err != nil {
			t.Errorf("close sockets: %v", err)
		}
	})
	return sockets
}

// smallRings are options with rings that keep tests quick.
func smallRings(u *UMEM, d *Device, queue int) SocketOptions {
	return SocketOptions{Ifindex: d.Ifindex, Queue: queue, UMEM: u, RXSize: 128, TXSize: 256, FillSize: 256, CompletionSize: 256}
}

// checkLedger fails unless every frame of u is with the owner or in a socket.
func checkLedger(t testing.TB, u *UMEM, held int, sockets ...*Socket) {
	t.Helper()
	text := fmt.Sprintf("held %d", held)
	total := held
	for _, s := range sockets {
		o := s.Outstanding()
		total += o.Total()
		text += fmt.Sprintf(", %d/%d: %+v", s.Ifindex(), s.Queue(), o)
	}
	if total != u.Frames() {
		t.Errorf("ledger: %d of %d frames (%s)", total, u.Frames(), text)
	}
}

func checkErrorIs(t testing.TB, err, want error) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want: %v", want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("got error: %v\nwant: %v", err, want)
	}
}

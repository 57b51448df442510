package diff

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/test/lab"
)

// udpEcho answers each datagram to port 7 with itself.
const udpEcho = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7))
while True: s.sendto(*s.recvfrom(2000))
`

// sent is a packet that left an end.
type sent struct {
	at     time.Time
	packet []byte
}

// record runs the program and writes down what both ends send.
func (r *recording) record(t *testing.T, n int, p Profile) {
	g := startGateway(t, p, 0)
	client, server := address("client", r.family, n, p.nat), address("server", r.family, n, p.nat)
	g.addHost(t, g.lab.Client, client, server, map[int]string{4: lab.GatewayLAN, 6: "fd00:1:2::1"}[r.family])
	g.addHost(t, g.lab.Server, server, client, map[int]string{4: lab.GatewayWAN, 6: "2001:db8:113::1"}[r.family])
	if nat, ok := p.nat.source[r.family]; ok { // answers come from the address that was asked
		g.lab.Server.Run(t, "ip", "route", "add", nat.String(), "via", lab.GatewayWAN, "src", server.String())
	}
	files := g.lab.Serve(t, g.lab.Server)
	for name, size := range map[string]int{"small.bin": 3000, "file.bin": 30_000} {
		if err := os.WriteFile(filepath.Join(files, name), make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g.lab.Server.StartServer(t, "udp", 7, "python3", "-c", udpEcho)
	g.lab.Server.StartServer(t, "tcp", 5201, "iperf3", "-s")
	var mu sync.Mutex
	var all []sent
	for _, ns := range []*lab.Namespace{g.lab.Client, g.lab.Server} {
		r.capture(t, ns, client, server, p.nat.source[r.family], func(s sent) {
			mu.Lock()
			all = append(all, s)
			mu.Unlock()
		})
	}
	var command []string
	for _, word := range r.command {
		command = append(command, strings.ReplaceAll(word, "SERVER", server.String()))
	}
	g.lab.Client.Run(t, command...)
	time.Sleep(time.Second)
	mu.Lock()
	defer mu.Unlock()
	slices.SortStableFunc(all, func(a, b sent) int { return a.at.Compare(b.at) })
	r.write(t, all)
}

// addHost gives an end an address of its own and a route to the other one.
func (g *Gateway) addHost(t *testing.T, ns *lab.Namespace, own, peer netip.Addr, via string) {
	t.Helper()
	ns.Run(t, "ip", "addr", "add", netip.PrefixFrom(own, own.BitLen()).String(), "dev", "eth0")
	ns.Run(t, "ip", "route", "add", netip.PrefixFrom(peer, peer.BitLen()).String(), "via", via, "src", own.String())
}

// capture tells of each packet that the namespace sends by eth0 from one of the
// addresses, with the time at which it left, until the test ends.
func (r *recording) capture(t *testing.T, ns *lab.Namespace, client, server, nat netip.Addr, tell func(sent)) {
	t.Helper()
	var fd int
	err := ns.Do(func() error {
		nic, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: nic.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		b, oob := make([]byte, 1<<16), make([]byte, 128)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, oobn, _, from, err := unix.Recvmsg(fd, b, oob, 0)
			link, _ := from.(*unix.SockaddrLinklayer)
			if err != nil || n < 14 || link == nil || link.Pkttype != unix.PACKET_OUTGOING {
				continue
			}
			d, ok := dissect(b[14:n])
			if at, stamped := timeOf(oob[:oobn]); ok && stamped && between(&d, client, server, nat) {
				tell(sent{at, slices.Clone(b[14:n])})
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-ended
		_ = unix.Close(fd)
	})
}

// between tells whether a packet is one of the exchange, as one of the ends sent it.
func between(d *dissected, client, server, nat netip.Addr) bool {
	return d.src == client && d.dst == server || d.src == server && (d.dst == client || d.dst == nat)
}

// timeOf reads the time from a control message.
func timeOf(oob []byte) (time.Time, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return time.Time{}, false
	}
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), true
		}
	}
	return time.Time{}, false
}

// write makes the pcap file.
func (r *recording) write(t *testing.T, all []sent) {
	t.Helper()
	f, err := os.Create(r.path())
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		info := gopacket.CaptureInfo{Timestamp: s.at, CaptureLength: len(s.packet), Length: len(s.packet)}
		if err := w.WritePacket(info, s.packet); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s: %d packets\n", r.path(), len(all))
}

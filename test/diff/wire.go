package diff

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/test/lab"
)

// end is the wire at a client or a server: what it sends and receives goes past
// that host's IP stack.
type end struct {
	fd       int
	own, gw  net.HardwareAddr
	finished chan struct{}

	mu       sync.Mutex
	arrived  []frame
	received *sync.Cond
	closing  bool
}

// frame is an IP packet that arrived.
type frame struct {
	packet []byte
	// toUs is false if the frame was sent to another MAC address.
	toUs bool
}

// openEnd opens the interface eth0 of a namespace. Packets to the gateway are sent
// to the MAC address gw.
func openEnd(t testing.TB, namespace *lab.Namespace, own, gw net.HardwareAddr) *end {
	t.Helper()
	e := &end{own: own, gw: gw, finished: make(chan struct{})}
	e.received = sync.NewCond(&e.mu)
	if err := namespace.Do(e.open); err != nil {
		t.Fatalf("open a packet socket in %s: %v", namespace.Name, err)
	}
	go e.receive()
	t.Cleanup(func() {
		e.mu.Lock()
		e.closing = true
		e.mu.Unlock()
		<-e.finished
		_ = unix.Close(e.fd)
	})
	return e
}

func networkOrder(n uint16) uint16 { return n<<8 | n>>8 }

func (e *end) open() error {
	nic, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_ALL)))
	if err != nil {
		return err
	}
	const buffer = 16 << 20 // bytes: a whole round of all scripts
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
		return err
	}
	// The receiver looks every 50 ms whether it has to end.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		return err
	}
	e.fd = fd
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: nic.Index})
}

// send sends an IP packet to the gateway.
func (e *end) send(packet []byte) error {
	f := append(append(append([]byte(nil), e.gw...), e.own...), 0, 0)
	ethertype := uint16(unix.ETH_P_IP)
	if len(packet) > 0 && packet[0]>>4 == 6 {
		ethertype = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(f[12:], ethertype)
	if _, err := unix.Write(e.fd, append(f, packet...)); err != nil {
		return fmt.Errorf("send a packet of %d bytes: %w", len(packet), err)
	}
	return nil
}

// receive collects all IP packets that arrive until the end is closed.
func (e *end) receive() {
	defer close(e.finished)
	b := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(e.fd, b, 0)
		e.mu.Lock()
		closing := e.closing
		e.mu.Unlock()
		if closing {
			return
		}
		link, _ := from.(*unix.SockaddrLinklayer)
		if err != nil || n < 14 || link == nil || link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if t := binary.BigEndian.Uint16(b[12:]); t != unix.ETH_P_IP && t != unix.ETH_P_IPV6 {
			continue
		}
		f := frame{append([]byte(nil), b[14:n]...), link.Pkttype == unix.PACKET_HOST}
		e.mu.Lock()
		e.arrived = append(e.arrived, f)
		e.mu.Unlock()
		e.received.Broadcast()
	}
}

// take returns what has arrived since the last call.
func (e *end) take() []frame {
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.arrived
	e.arrived = nil
	return got
}

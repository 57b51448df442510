package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/test/lab"
)

// flood is a stream of frames, as fast as one thread can send them, until it is stopped.
type flood struct {
	sent    atomic.Uint64
	stopped atomic.Bool
	ended   sync.WaitGroup
}

// startFlood sends frames by eth0 of a namespace, past its network stack. next changes
// the frame before each is sent. The thread is more urgent than the gateway's worker, and
// on its CPU.
func startFlood(t *testing.T, from *lab.Namespace, frame []byte, next func(frame []byte)) *flood {
	t.Helper()
	f := &flood{}
	ready := make(chan error, 1)
	f.ended.Go(func() {
		err := from.Do(func() error {
			fd, to, err := openFlood()
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(fd) }()
			if err := pressOn(firstCPU()); err != nil {
				return err
			}
			ready <- nil
			for !f.stopped.Load() {
				next(frame)
				if unix.Sendto(fd, frame, 0, to) == nil { // a full queue is the flood's own
					f.sent.Add(1)
				}
			}
			return nil
		})
		if err != nil {
			ready <- err
		}
	})
	if err := <-ready; err != nil {
		t.Fatalf("flood from %s: %v", from.Name, err)
	}
	t.Cleanup(f.stop)
	return f
}

// firstCPU is where the first worker of a gateway is.
func firstCPU() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) == nil {
		for cpu := range 1024 {
			if set.IsSet(cpu) {
				return cpu
			}
		}
	}
	return 0
}

// pressOn puts the calling thread on a CPU, before others there.
func pressOn(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return err
	}
	return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -5)
}

func (f *flood) stop() {
	f.stopped.Store(true)
	f.ended.Wait()
}

// openFlood opens a socket that sends past the queueing discipline.
func openFlood() (fd int, to *unix.SockaddrLinklayer, err error) {
	nic, err := net.InterfaceByName("eth0")
	if err != nil {
		return 0, nil, err
	}
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		_ = unix.Close(fd)
		return 0, nil, err
	}
	return fd, &unix.SockaddrLinklayer{Ifindex: nic.Index}, nil
}

// macOf returns the MAC address of an interface of a namespace.
func macOf(t *testing.T, n *lab.Namespace, name string) (mac net.HardwareAddr) {
	t.Helper()
	if err := n.Do(func() error {
		nic, err := net.InterfaceByName(name)
		if err == nil {
			mac = nic.HardwareAddr
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return mac
}

// randomUDP is a flood's frame from the client, without UDP checksum, and what makes
// another flow of it.
func randomUDP(t *testing.T, l *lab.Lab) ([]byte, func([]byte)) {
	t.Helper()
	frame := floodFrame(t, macOf(t, l.Client, "eth0"), macOf(t, l.Gateway, "lan"), lab.ClientAddr, lab.ServerAddr,
		layers.IPProtocolUDP, &layers.UDP{SrcPort: 1, DstPort: 9, Length: 8 + 18}, 18)
	frame[40], frame[41] = 0, 0
	return frame, func(f []byte) { binary.BigEndian.PutUint32(f[34:], rand.Uint32()|0x00010001) }
}

// randomSYN is the same of SYNs from outside, each from another source, to a service
// behind the gateway.
func randomSYN(t *testing.T, l *lab.Lab, port layers.TCPPort) ([]byte, func([]byte)) {
	t.Helper()
	frame := floodFrame(t, macOf(t, l.Server, "eth0"), macOf(t, l.Gateway, "wan"), lab.ServerAddr, lab.NATAddr,
		layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: port, SYN: true, Window: 1024}, 6)
	// Whatever is added to the source address is taken off the sequence number, and the
	// other way in the IP header: the checksums stay right.
	return frame, func(f []byte) {
		x := uint16(rand.Uint32())
		binary.BigEndian.PutUint16(f[28:], x)  // source address, low half
		binary.BigEndian.PutUint16(f[40:], ^x) // sequence number, low half
		binary.BigEndian.PutUint16(f[18:], ^x) // identification
	}
}

// floodFrame builds a frame whose low halves of source address, sequence number and
// identification sum up as 0 and 0xffff do.
func floodFrame(t *testing.T, src, dst net.HardwareAddr, from, to string, proto layers.IPProtocol, transport gopacket.SerializableLayer, payload int) []byte {
	t.Helper()
	a, b := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: proto, SrcIP: a[:], DstIP: b[:]}
	if tcp, ok := transport.(*layers.TCP); ok {
		a[2], a[3], ip.Id, tcp.Seq = 0, 0, 0xffff, 0xffff
		if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: proto == layers.IPProtocolTCP},
		&layers.Ethernet{SrcMAC: src, DstMAC: dst, EthernetType: layers.EthernetTypeIPv4}, ip, transport, gopacket.Payload(make([]byte, payload)))
	if err != nil {
		t.Fatal(err)
	}
	frame := buf.Bytes()
	if proto == layers.IPProtocolUDP {
		sumIP(frame)
	}
	return frame
}

// sumIP writes the checksum of an IPv4 header.
func sumIP(frame []byte) {
	frame[24], frame[25] = 0, 0
	sum := uint32(0)
	for i := 14; i < 34; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(frame[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(frame[24:], ^uint16(sum))
}

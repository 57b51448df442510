package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/test/lab"
)

// natAddr6 is what IPv6 sources are translated to; the server is told the way to it.
const natAddr6 = "2001:db8:98::32"

// nat66 returns flags of a gateway that translates both families, and tells the
// server where answers go.
func nat66(t *testing.T, l *lab.Lab, more ...string) []string {
	t.Helper()
	l.Server.Run(t, "ip", "-6", "route", "add", "2001:db8:98::/64", "via", "2001:db8:113::1")
	return snat(append([]string{"--snat", natAddr6}, more...)...)
}

// echoes sends datagrams from one namespace to an echo in another, and compares what
// comes back byte for byte.
func echoes(t *testing.T, l *lab.Lab, from *lab.Namespace, address string, sizes ...int64) {
	t.Helper()
	for _, n := range sizes {
		file := newFile(t, l.Dir, fmt.Sprintf("datagram-%d", n), n)
		got := filepath.Join(l.Dir, "answer")
		from.Run(t, "bash", "-c", fmt.Sprintf("socat -b65536 -t2 - UDP:%s <%s >%s", address, file, got))
		checkSame(t, file, got)
	}
}

// TestFragments sends datagrams of several fragments through source NAT, both ways
// and of both families.
func TestFragments(t *testing.T) {
	lab.NeedsXDPCT(t) // of IPv6 sources the kernel is told nothing
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		g := l.StartGateway(t, nat66(t, l)...)
		l.Server.StartServer(t, "udp", 7, "socat", "-b65536", "UDP4-RECVFROM:7,fork", "PIPE")
		l.Server.StartServer(t, "udp", 8, "socat", "-b65536", "UDP6-RECVFROM:8,fork", "PIPE")
		t.Run("ping", func(t *testing.T) {
			ping(t, l.Client, "-c5", "-i0.1", "-W2", "-s", "4000", lab.ServerAddr)
			ping(t, l.Client, "-c5", "-i0.1", "-W2", "-s", "4000", lab.ServerAddr6)
			ping(t, l.Client, "-c2", "-i0.1", "-W2", "-s", "60000", lab.ServerAddr)
		})
		sizes := []int64{1473, 2000, 8192, 32000}
		t.Run("udp", func(t *testing.T) { echoes(t, l, l.Client, lab.ServerAddr+":7", sizes...) })
		t.Run("udp6", func(t *testing.T) { echoes(t, l, l.Client, "["+lab.ServerAddr6+"]:8", sizes...) })
		t.Run("out of order", func(t *testing.T) { checkOutOfOrder(t, l) })
		c := g.Counters(t)
		if c["fragments_assembled"] < 30 {
			t.Errorf("%d datagrams in fragments came through, want 30 and more", c["fragments_assembled"])
		}
		if c["drop_fragment_overlap"] == 0 || c["drop_fragment_duplicate"] != 1 {
			t.Errorf("%d overlapping and %d duplicate fragments", c["drop_fragment_overlap"], c["drop_fragment_duplicate"])
		}
		for _, name := range []string{"invalid_checksum", "drop_fragment_bad", "frames_missing"} {
			if c[name] != 0 {
				t.Errorf("%s is %d", name, c[name])
			}
		}
	})
}

// checkOutOfOrder sends crafted fragments, the last one first and one of them twice. The
// server gets the datagram from the NAT address, and nothing of one that overlaps.
func checkOutOfOrder(t *testing.T, l *lab.Lab) {
	got := filepath.Join(l.Dir, "out-of-order")
	server := l.Server.StartServer(t, "udp", 9, "socat", "-b65536", "-u", "UDP4-RECVFROM:9", "CREATE:"+got)
	payload := make([]byte, 5000)
	for i := range payload {
		payload[i] = byte(i * 7 / 3)
	}
	whole := udpFrame(t, payload)
	pieces := fragmentsOf(t, whole, 1, 1480)
	l.Client.Inject(t, "eth0", slices.Concat(fragmentsOf(t, whole, 2, 1480)[:1], fragmentsOf(t, whole, 2, 1472)[1:])...) // overlap
	l.Client.Inject(t, "eth0", pieces[3], pieces[1], pieces[3], pieces[2], pieces[0])
	if r := server.Wait(t, 5*time.Second); r.Status != 0 {
		t.Fatalf("socat: status %d: %s", r.Status, r.Output())
	}
	if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, payload) {
		t.Errorf("%d bytes arrived, %v; want the %d that were sent", len(b), err, len(payload))
	}
}

// udpFrame builds what the client would send to port 9 of the server on a link without
// an MTU.
func udpFrame(t *testing.T, payload []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 10, 1, 2, 3}, DstMAC: net.HardwareAddr{2, 0, 10, 1, 2, 1}, EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.ParseIP(lab.ClientAddr), DstIP: net.ParseIP(lab.ServerAddr)}
	udp := &layers.UDP{SrcPort: 4321, DstPort: 9}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialized(t, eth, ip, udp, gopacket.Payload(payload))
}

// fragmentsOf cuts an IPv4 frame into fragments that carry size bytes each.
func fragmentsOf(t *testing.T, frame []byte, id uint16, size int) [][]byte {
	t.Helper()
	const headers = 14 + 20
	var list [][]byte
	for from := headers; from < len(frame); from += size {
		to := min(from+size, len(frame))
		var eth layers.Ethernet
		var ip layers.IPv4
		if err := errors.Join(eth.DecodeFromBytes(frame, gopacket.NilDecodeFeedback), ip.DecodeFromBytes(frame[14:], gopacket.NilDecodeFeedback)); err != nil {
			t.Fatal(err)
		}
		ip.Id, ip.FragOffset = id, uint16((from-headers)/8)
		if to < len(frame) {
			ip.Flags = layers.IPv4MoreFragments
		}
		list = append(list, serialized(t, &eth, &ip, gopacket.Payload(frame[from:to])))
	}
	return list
}

// serialized writes a frame with right lengths and checksums.
func serialized(t *testing.T, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestFragmentsToTheBox checks that fragments for the box itself reach it, also where
// its address is the one to masquerade with, and those of flows their host.
func TestFragmentsToTheBox(t *testing.T) {
	eachQueues(t, func(t *testing.T, l *lab.Lab) {
		l.StartGateway(t, "--masquerade")
		ping(t, l.Server, "-c3", "-i0.1", "-W2", "-s", "4000", lab.GatewayWAN)
		ping(t, l.Client, "-c3", "-i0.1", "-W2", "-s", "4000", lab.GatewayLAN)
		ping(t, l.Client, "-c3", "-i0.1", "-W2", "-s", "4000", lab.ServerAddr)
		l.Server.StartServer(t, "udp", 7, "socat", "-b65536", "UDP4-RECVFROM:7,fork", "PIPE")
		echoes(t, l, l.Client, net.JoinHostPort(lab.ServerAddr, "7"), 2000, 8192)
		echoes(t, l, l.Gateway, net.JoinHostPort(lab.ServerAddr, "7"), 2000, 8192)
	})
}

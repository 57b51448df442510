package packet_test

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/packet"
	"github.com/xdpct/xdpct/test/recorded"
)

// FuzzParse feeds arbitrary frames. Whatever is accepted must lie within the
// frame and agree with an independent decoder.
func FuzzParse(f *testing.F) {
	eth := &layers.Ethernet{EthernetType: layers.EthernetTypeIPv4, SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6)}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 1, 2, 3}, DstIP: []byte{203, 0, 113, 47}}
	tcp := &layers.TCP{SrcPort: 7000, DstPort: 80, SYN: true, Window: 100}
	seed(f, eth, ip, tcp, gopacket.Payload("x"))
	ip.Protocol = layers.IPProtocolUDP
	seed(f, eth, ip, &layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload("x"))
	ip.Protocol = layers.IPProtocolICMPv4
	seed(f, eth, ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, gopacket.Payload(make([]byte, 28)))
	eth.EthernetType = layers.EthernetTypeIPv6
	ip6 := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, SrcIP: make([]byte, 16), DstIP: make([]byte, 16)}
	seed(f, eth, ip6, tcp)

	for _, frame := range recorded.Few(f, 5) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var h packet.Headers
		res := packet.Parse(frame, &h)
		agreePlain(t, frame, res, &h)
		if res != packet.ParseOK {
			return
		}
		if h.L3 >= h.L4 || h.L4 > h.Payload || h.Payload > h.End || int(h.End) > len(frame) {
			t.Fatalf("offsets out of order or beyond %d bytes: %+v", len(frame), h)
		}
		var inner packet.Headers
		if packet.ParseInner(frame, int(h.Payload), &inner) == packet.ParseOK && int(inner.End) > len(frame) {
			t.Fatalf("quoted packet ends at %d of %d", inner.End, len(frame))
		}
		agree(t, frame, &h)
	})
}

// agreePlain checks that ParsePlain takes exactly the plain packets among those
// that Parse takes, and says the same of them.
func agreePlain(t *testing.T, frame []byte, res packet.Result, h *packet.Headers) {
	var plain packet.Headers
	addrs, ports, ok := packet.ParsePlain(frame, &plain)
	want := res == packet.ParseOK && h.Family == packet.IPv4 && h.L4 == packet.EthernetLen+packet.IPv4MinLen &&
		h.Fragment == packet.NotFragment && (h.Proto == packet.ProtoTCP || h.Proto == packet.ProtoUDP)
	if ok != want {
		t.Fatalf("plain: %v, want %v", ok, want)
	}
	if !ok {
		return
	}
	ip, l4 := packet.IPv4Header(frame[h.L3:]), packet.UDP(frame[h.L4:])
	if plain != *h || addrs != ip.Src().Lo<<32|ip.Dst().Lo || ports != uint32(l4.SrcPort())<<16|uint32(l4.DstPort()) {
		t.Fatalf("plain: %+v, addresses %x, ports %x; Parse says %+v", plain, addrs, ports, h)
	}
}

func seed(f *testing.F, l ...gopacket.SerializableLayer) {
	f.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, l...); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
}

// agree compares addresses, ports and flags with gopacket's view, as far as it
// decodes the frame.
func agree(t *testing.T, frame []byte, h *packet.Headers) {
	pk := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
	if pk.ErrorLayer() != nil { // then its layers are half filled in
		return
	}
	if ip, ok := pk.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok && h.Family == packet.IPv4 {
		v := packet.IPv4Header(frame[h.L3:])
		src, _ := netip.AddrFromSlice(ip.SrcIP)
		if v.Src().Netip(packet.IPv4) != src || v.Proto() != uint8(ip.Protocol) {
			t.Fatalf("source %v protocol %d, gopacket says %v %v", v.Src().Netip(packet.IPv4), v.Proto(), src, ip.Protocol)
		}
	}
	if h.Fragment != packet.NotFragment {
		return
	}
	if tcp, ok := pk.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && h.Proto == packet.ProtoTCP {
		v := packet.TCP(frame[h.L4:])
		if v.SrcPort() != uint16(tcp.SrcPort) || v.DstPort() != uint16(tcp.DstPort) || v.Seq() != tcp.Seq ||
			(h.TCPFlags&packet.SYN != 0) != tcp.SYN || (h.TCPFlags&packet.RST != 0) != tcp.RST {
			t.Fatalf("TCP %d > %d seq %d, gopacket says %v > %v seq %d", v.SrcPort(), v.DstPort(), v.Seq(), tcp.SrcPort, tcp.DstPort, tcp.Seq)
		}
	}
	if udp, ok := pk.Layer(layers.LayerTypeUDP).(*layers.UDP); ok && h.Proto == packet.ProtoUDP {
		v := packet.UDP(frame[h.L4:])
		if v.SrcPort() != uint16(udp.SrcPort) || v.Length() != udp.Length {
			t.Fatalf("UDP from %d length %d, gopacket says %v %d", v.SrcPort(), v.Length(), udp.SrcPort, udp.Length)
		}
	}
}

package xsk

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Return codes of an XDP program, enum xdp_action of linux/bpf.h.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

// Who is who in the table of decisions.
var (
	ourMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	otherMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}

	box    = netip.MustParseAddr("198.51.100.1") // the box only
	pool   = netip.MustParseAddr("198.51.100.2") // NAT only
	shared = netip.MustParseAddr("198.51.100.3") // both, index 1
	remote = netip.MustParseAddr("203.0.113.9")  // neither

	box6    = netip.MustParseAddr("2001:db8::1")
	pool6   = netip.MustParseAddr("2001:db8::2")
	shared6 = netip.MustParseAddr("2001:db8::3") // index 0
	remote6 = netip.MustParseAddr("2001:db8:1::9")
)

func ether(dst net.HardwareAddr, kind uint16, payload ...[]byte) []byte {
	f := append(append([]byte(nil), dst...), otherMAC...)
	f = binary.BigEndian.AppendUint16(f, kind)
	return append(f, bytes.Join(payload, nil)...)
}

// ip4 is an IPv4 packet; options must be a multiple of 4 bytes.
func ip4(src, dst netip.Addr, proto byte, fragment uint16, options []byte, payload ...[]byte) []byte {
	body := append(append([]byte(nil), options...), bytes.Join(payload, nil)...)
	h := make([]byte, 20)
	h[0], h[8], h[9] = 0x45+byte(len(options)/4), 1, proto // TTL 1: expiry is user space's business
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(body)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	return append(h, body...)
}

func ip6(src, dst netip.Addr, next byte, payload ...[]byte) []byte {
	body := bytes.Join(payload, nil)
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(body)))
	copy(h[8:], src.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(h, body...)
}

// tag is what follows the type of a tagged frame.
func tag(control, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, control), kind)
}

// ports is the start of a TCP or UDP header, as much as an ICMP error quotes.
func ports(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	return append(binary.BigEndian.AppendUint16(b, dst), 0, 0, 0, 0)
}

func icmp(kind byte, id uint16, payload ...[]byte) []byte {
	b := []byte{kind, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	return append(b, bytes.Join(payload, nil)...)
}

// decisionCase is a frame and what shall become of it.
type decisionCase struct {
	name  string
	frame []byte
	want  Decision
}

// v4 and v6 wrap packets to our MAC address.
func v4(p []byte) []byte { return ether(ourMAC, unix.ETH_P_IP, p) }
func v6(p []byte) []byte { return ether(ourMAC, unix.ETH_P_IPV6, p) }

const (
	tcp, udp, icmp4p, icmp6p = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6
	used, idle               = 40000, 40001 // L4 ports or ids, in use and not
)

// frameCases: what is decided by the Ethernet header and by unreadable IP.
func frameCases() []decisionCase {
	toRemote := ip4(remote, netip.MustParseAddr("192.0.2.7"), udp, 0, nil, ports(1, 2))
	badVersion, badIHL, badVersion6 := bytes.Clone(toRemote), bytes.Clone(toRemote), ip6(remote6, box6, udp)
	badVersion[0], badIHL[0], badVersion6[0] = 0x65, 0x44, 0x40
	const priority = 0xf000 // priority 7, drop eligible, VLAN 0
	return []decisionCase{
		{"forwarded", v4(toRemote), RedirectForward},
		{"forwarded, IP header only", v4(toRemote[:20]), RedirectForward},
		{"IP header cut short", v4(toRemote[:19]), PassMalformed},
		{"nothing after Ethernet", ether(ourMAC, unix.ETH_P_IP), PassMalformed},
		{"wrong IP version", v4(badVersion), PassMalformed},
		{"IHL below 5", v4(badIHL), PassMalformed},
		{"ARP to us", ether(ourMAC, unix.ETH_P_ARP, make([]byte, 28)), PassNotIP},
		{"ARP broadcast", ether(net.HardwareAddr{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP, make([]byte, 28)), PassGroupMAC},
		{"IP in a multicast frame", ether(net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, unix.ETH_P_IP, toRemote), PassGroupMAC},
		{"802.1Q", ether(ourMAC, unix.ETH_P_8021Q, []byte{0, 5, 8, 0}, toRemote), PassVLAN},
		{"802.1ad", ether(ourMAC, unix.ETH_P_8021AD, []byte{0, 5, 8, 0}, toRemote), PassVLAN},
		{"highest VLAN bit", ether(ourMAC, unix.ETH_P_8021Q, tag(0x0800, unix.ETH_P_IP), toRemote), PassVLAN},
		{"priority, forwarded", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IP), toRemote), RedirectForward},
		{"priority 0, forwarded", ether(ourMAC, unix.ETH_P_8021Q, tag(0, unix.ETH_P_IP), toRemote), RedirectForward},
		{"priority, to the box", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IP), ip4(remote, box, udp, 0, nil)), PassLocal},
		{"priority, to NAT", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IP), ip4(remote, pool, udp, 0, nil)), RedirectNAT},
		{"priority, IPv6 to NAT", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IPV6), ip6(remote6, pool6, udp)), RedirectNAT},
		{"priority, TCP port in use", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IP), ip4(remote, shared, tcp, 0, nil, ports(443, used))), RedirectNATPort},
		{"priority, ARP", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_ARP), make([]byte, 28)), PassNotIP},
		{"priority, IP header cut short", ether(ourMAC, unix.ETH_P_8021Q, tag(priority, unix.ETH_P_IP), toRemote[:19]), PassMalformed},
		{"tag cut short", ether(ourMAC, unix.ETH_P_8021Q, []byte{0, 0, 8}), PassMalformed},
		{"priority of 802.1ad", ether(ourMAC, unix.ETH_P_8021AD, tag(priority, unix.ETH_P_IP), toRemote), DropTags},
		{"priority twice", ether(ourMAC, unix.ETH_P_8021Q, tag(0, unix.ETH_P_8021Q), tag(0, unix.ETH_P_IP), toRemote), DropTags},
		{"priority, then a VLAN", ether(ourMAC, unix.ETH_P_8021Q, tag(0, unix.ETH_P_8021AD), tag(5, unix.ETH_P_IP), toRemote), DropTags},
		{"to another station", ether(otherMAC, unix.ETH_P_IP, toRemote), PassForeignMAC},
		{"another station, last byte", ether(net.HardwareAddr{2, 0, 0, 0, 1, 1}, unix.ETH_P_IP, toRemote), PassForeignMAC},
		{"IPv6 forwarded", v6(ip6(remote6, netip.MustParseAddr("2001:db8:2::1"), udp)), RedirectForward},
		{"IPv6 header cut short", v6(ip6(remote6, box6, udp)[:39]), PassMalformed},
		{"wrong IPv6 version", v6(badVersion6), PassMalformed},
	}
}

// addressCases: what is decided by the destination address alone.
func addressCases() []decisionCase {
	var cases []decisionCase
	for dst, want := range map[string]Decision{
		"0.0.0.0": PassUnforwardable, "127.0.0.1": PassUnforwardable, "224.0.0.5": PassUnforwardable,
		"239.255.255.250": PassUnforwardable, "255.255.255.255": PassUnforwardable,
		"223.255.255.255": RedirectForward, "240.0.0.1": RedirectForward, "169.254.169.254": RedirectForward,
		"198.51.100.1": PassLocal, "198.51.100.2": RedirectNAT,
		"::": PassUnforwardable, "::1": PassUnforwardable, "::2": RedirectForward,
		"fe80::1": PassUnforwardable, "febf::1": PassUnforwardable, "fec0::1": RedirectForward,
		"ff02::1": PassUnforwardable, "ff05::2": PassUnforwardable,
		"2001:db8::1": PassLocal, "2001:db8::2": RedirectNAT,
	} {
		a := netip.MustParseAddr(dst)
		if a.Is4() {
			cases = append(cases, decisionCase{"to " + dst, v4(ip4(remote, a, udp, 0, nil, ports(1, used))), want})
		} else {
			cases = append(cases, decisionCase{"to " + dst, v6(ip6(remote6, a, udp, ports(1, used))), want})
		}
	}
	return cases
}

// sharedCases: what is decided by L4 port, on an address of box and NAT.
func sharedCases() []decisionCase {
	to := func(proto byte, payload ...[]byte) []byte { return v4(ip4(remote, shared, proto, 0, nil, payload...)) }
	quoted := func(src netip.Addr, proto byte, fragment uint16, payload ...[]byte) []byte {
		return ip4(src, remote, proto, fragment, nil, payload...)
	}
	options := []byte{1, 1, 1, 1, 1, 1, 1, 0}
	const moreFragments, offset = 0x2000, 0x00b9
	return []decisionCase{
		{"TCP port in use", to(tcp, ports(443, used)), RedirectNATPort},
		{"TCP port not in use", to(tcp, ports(443, idle)), PassLocalPort},
		{"TCP source port does not count", to(tcp, ports(used, idle)), PassLocalPort},
		{"TCP behind IP options", v4(ip4(remote, shared, tcp, 0, options, ports(443, used))), RedirectNATPort},
		{"TCP ports cut short", to(tcp, ports(443, used)[:3]), PassLocalPort},
		{"UDP port in use", to(udp, ports(53, used+1)), RedirectNATPort},
		{"UDP port that only TCP uses", to(udp, ports(53, used)), PassLocalPort},
		{"lowest and highest port", to(tcp, ports(1, 65535)), RedirectNATPort},
		{"port 0", to(tcp, ports(1, 0)), PassLocalPort},
		{"first fragment", v4(ip4(remote, shared, tcp, moreFragments, nil, ports(443, used))), RedirectNATFragment},
		{"last fragment", v4(ip4(remote, shared, tcp, 1, nil, ports(443, used))), RedirectNATFragment},
		{"not to be fragmented", v4(ip4(remote, shared, tcp, 0x4000, nil, ports(443, used))), RedirectNATPort},
		{"later fragment", v4(ip4(remote, shared, tcp, offset, nil, ports(443, used))), RedirectNATFragment},
		{"other protocol", to(unix.IPPROTO_GRE, ports(443, used)), PassLocalPort},
		{"ESP in use", to(unix.IPPROTO_ESP, ports(443, idle)), RedirectNATPort},
		{"protocol 253 in use, no payload", to(253), RedirectNATPort},
		{"fragment of ESP", v4(ip4(remote, shared, unix.IPPROTO_ESP, moreFragments, nil, ports(1, 1))), RedirectNATFragment},
		{"unreachable for ESP in use", to(icmp4p, icmp(3, 0, quoted(shared, unix.IPPROTO_ESP, 0, ports(1, 1)))), RedirectNATPort},
		{"unreachable for GRE not in use", to(icmp4p, icmp(3, 0, quoted(shared, unix.IPPROTO_GRE, 0, ports(used, used)))), PassLocalPort},
		{"echo request", to(icmp4p, icmp(8, used+2)), PassLocalPort},
		{"echo reply, id in use", to(icmp4p, icmp(0, used+2)), RedirectNATPort},
		{"echo reply, id not in use", to(icmp4p, icmp(0, idle)), PassLocalPort},
		{"timestamp reply, id in use", to(icmp4p, icmp(14, used+2)), RedirectNATPort},
		{"ICMP cut short", to(icmp4p, icmp(0, used+2)[:7]), PassLocalPort},
		{"redirect", to(icmp4p, icmp(5, 0, quoted(shared, tcp, 0, ports(used, 443)))), PassLocalPort},
		{"unreachable for TCP in use", to(icmp4p, icmp(3, 0, quoted(shared, tcp, 0, ports(used, 443)))), RedirectNATPort},
		{"unreachable for TCP not in use", to(icmp4p, icmp(3, 0, quoted(shared, tcp, 0, ports(idle, 443)))), PassLocalPort},
		{"quoted destination port does not count", to(icmp4p, icmp(3, 0, quoted(shared, tcp, 0, ports(idle, used)))), PassLocalPort},
		{"source quench for TCP in use", to(icmp4p, icmp(4, 0, quoted(shared, tcp, 0, ports(used, 443)))), RedirectNATPort},
		{"address mask reply, id in use", to(icmp4p, icmp(18, used+2)), RedirectNATPort},
		{"time exceeded for UDP in use", to(icmp4p, icmp(11, 0, quoted(shared, udp, 0, ports(used+1, 53)))), RedirectNATPort},
		{"parameter problem for echo in use", to(icmp4p, icmp(12, 0, quoted(shared, icmp4p, 0, icmp(8, used+2)))), RedirectNATPort},
		{"unreachable for an echo reply of the box", to(icmp4p, icmp(3, 0, quoted(shared, icmp4p, 0, icmp(0, used+2)))), PassLocalPort},
		{"quoted source is not ours", to(icmp4p, icmp(3, 0, quoted(box, tcp, 0, ports(used, 443)))), PassLocalPort},
		{"quoted later fragment", to(icmp4p, icmp(3, 0, quoted(shared, tcp, offset, ports(used, 443)))), PassLocalPort},
		{"quoted packet cut short", to(icmp4p, icmp(3, 0, quoted(shared, tcp, 0, ports(used, 443))[:21])), PassLocalPort},
		{"quoted header cut short", to(icmp4p, icmp(3, 0, quoted(shared, tcp, 0)[:19])), PassLocalPort},
	}
}

// shared6Cases: the same for IPv6.
func shared6Cases() []decisionCase {
	to := func(next byte, payload ...[]byte) []byte { return v6(ip6(remote6, shared6, next, payload...)) }
	quoted := func(src netip.Addr, next byte, payload ...[]byte) []byte {
		return ip6(src, remote6, next, payload...)
	}
	return []decisionCase{
		{"IPv6 TCP port in use", to(tcp, ports(443, used+3)), RedirectNATPort},
		{"IPv6 TCP port of another index", to(tcp, ports(443, used)), PassLocalPort},
		{"IPv6 UDP port not in use", to(udp, ports(53, used+3)), PassLocalPort},
		{"IPv6 fragment", to(unix.IPPROTO_FRAGMENT, make([]byte, 8), ports(443, used+3)), RedirectNATFragment},
		{"IPv6 extension header", to(unix.IPPROTO_DSTOPTS, make([]byte, 8), ports(443, used+3)), PassLocalPort},
		{"IPv6 SCTP in use", to(unix.IPPROTO_SCTP, ports(1, 1)), RedirectNATPort},
		{"IPv6 ESP that only another index uses", to(unix.IPPROTO_ESP, ports(1, 1)), PassLocalPort},
		{"unreachable for IPv6 SCTP in use", to(icmp6p, icmp(1, 0, quoted(shared6, unix.IPPROTO_SCTP, ports(1, 1)))), RedirectNATPort},
		{"IPv6 echo request", to(icmp6p, icmp(128, used+4)), PassLocalPort},
		{"IPv6 echo reply, id in use", to(icmp6p, icmp(129, used+4)), RedirectNATPort},
		{"neighbour solicitation", to(icmp6p, icmp(135, used+4, make([]byte, 16))), PassLocalPort},
		{"packet too big for TCP in use", to(icmp6p, icmp(2, 0, quoted(shared6, tcp, ports(used+3, 443)))), RedirectNATPort},
		{"IPv6 parameter problem for UDP not in use", to(icmp6p, icmp(4, 0, quoted(shared6, udp, ports(used+3, 53)))), PassLocalPort},
		{"IPv6 parameter problem for TCP in use", to(icmp6p, icmp(4, 0, quoted(shared6, tcp, ports(used+3, 53)))), RedirectNATPort},
		{"time exceeded for echo in use", to(icmp6p, icmp(3, 0, quoted(shared6, icmp6p, icmp(128, used+4)))), RedirectNATPort},
		{"IPv6 quoted source is not ours", to(icmp6p, icmp(1, 0, quoted(box6, tcp, ports(used+3, 443)))), PassLocalPort},
		{"IPv6 quoted packet cut short", to(icmp6p, icmp(1, 0, quoted(shared6, tcp, ports(used+3, 443))[:40])), PassLocalPort},
	}
}

// setUse marks the ports of the table as used.
func setUse(m *Maps) {
	use := m.PortUseMemory()
	use[PortUseOffset(1, PortUseTCP, used)] = 1
	use[PortUseOffset(1, PortUseTCP, 65535)] = 3
	use[PortUseOffset(1, PortUseUDP, used+1)] = 1
	use[PortUseOffset(1, PortUseICMP, used+2)] = 1
	use[PortUseOffset(1, PortUseOther, unix.IPPROTO_ESP)] = 1
	use[PortUseOffset(1, PortUseOther, 253)] = 2
	use[PortUseOffset(0, PortUseOther, unix.IPPROTO_SCTP)] = 1
	use[PortUseOffset(0, PortUseTCP, used+3)] = 1
	use[PortUseOffset(0, PortUseICMP, used+4)] = 1
}

// TestDecisions runs the program in the kernel on single frames: action and the
// one counter that moves.
func TestDecisions(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "dec0", 1)
	maps := newTestMaps(t)
	setUse(maps)
	mustDo(t, "set local", maps.SetLocal(map[netip.Addr]Local{
		box: {Flags: LocalBox}, pool: {Flags: LocalNAT}, shared: {Flags: LocalBox | LocalNAT, Index: 1},
		box6: {Flags: LocalBox}, pool6: {Flags: LocalNAT}, shared6: {Flags: LocalBox | LocalNAT},
	}))
	p, err := NewProgram(maps, ProgramOptions{MAC: ourMAC, Queues: 1})
	mustDo(t, "load", err)
	defer p.Close()
	cases := append(append(frameCases(), addressCases()...), append(sharedCases(), shared6Cases()...)...)

	for _, c := range cases {
		want := c.want
		if strings.HasPrefix(want.String(), "xdp_redirect") {
			want = DropNoSocket
		}
		checkDecision(t, p, &port.Device, c, want)
	}
	u := newTestUMEM(t, UMEMOptions{Frames: 16})
	mustDo(t, "register", p.Register(newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0)})[0]))
	seen := map[Decision]bool{DropNoSocket: true}
	for _, c := range cases {
		seen[c.want] = true
		checkDecision(t, p, &port.Device, c, c.want)
	}
	for d := range Decisions {
		if !seen[d] {
			t.Errorf("no case for %s", d)
		}
	}
	t.Logf("%d cases, with and without a socket", len(cases))
}

func checkDecision(t *testing.T, p *Program, d *Device, c decisionCase, want Decision) {
	t.Helper()
	var before, after [Decisions]uint64
	mustDo(t, "counters", p.Counters(&before))
	// struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
	context := [6]uint32{1: uint32(len(c.frame)), 3: uint32(d.Ifindex)}
	out := make([]byte, len(c.frame)+256)
	o := ebpf.RunOptions{Data: c.frame, DataOut: out, Context: context}
	action, err := p.objects.XdpctPort.Run(&o)
	if err != nil {
		t.Fatalf("%s: run: %v", c.name, err)
	}
	mustDo(t, "counters", p.Counters(&after))
	var moved []Decision
	for i := range Decisions {
		for range after[i] - before[i] {
			moved = append(moved, i)
		}
	}
	if len(moved) != 1 || moved[0] != want {
		t.Errorf("%s: counted %v, want %s once", c.name, moved, want)
	}
	wantAction := uint32(xdpPass)
	if want >= DropNoSocket {
		wantAction = xdpDrop
	} else if want >= RedirectForward {
		wantAction = xdpRedirect
	}
	if action != wantAction {
		t.Errorf("%s: action %d, want %d", c.name, action, wantAction)
	}
	if !bytes.Equal(o.DataOut, c.frame) {
		t.Errorf("%s: the frame was changed", c.name)
	}
}

func TestDecisionsHaveNamesAndHelp(t *testing.T) {
	seen := map[string]bool{}
	for d := range Decisions {
		if d.String() == "" || seen[d.String()] || !strings.HasSuffix(d.Help(), ".") {
			t.Errorf("decision %d: name %q, help %q", uint8(d), d, d.Help())
		}
		seen[d.String()] = true
	}
	if Decisions.String() != "invalid" || Decisions.Help() != "" {
		t.Error("a value that is no decision has a name")
	}
}

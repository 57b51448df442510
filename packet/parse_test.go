package packet

import (
	"encoding/binary"
	"testing"
)

// eth4 and eth6 are Ethernet headers without addresses.
var (
	eth4 = append(make([]byte, 12), 0x08, 0x00)
	eth6 = append(make([]byte, 12), 0x86, 0xdd)
)

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// ip4 returns an IPv4 header of a packet with n bytes after it.
func ip4(proto uint8, n int, options ...byte) []byte {
	h := make([]byte, 20, 20+len(options))
	h[0] = 0x40 | uint8(5+len(options)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+n))
	h[8], h[9] = 64, proto
	copy(h[12:], []byte{10, 1, 2, 3, 203, 0, 113, 47})
	return append(h, options...)
}

// ip6 returns an IPv6 header of a packet with n bytes after it.
func ip6(next uint8, n int) []byte {
	h := make([]byte, 40)
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(n))
	h[6], h[7] = next, 64
	h[23], h[39] = 1, 2
	return h
}

// tcp returns a TCP header of the given length in bytes.
func tcp(length int, flags uint8) []byte {
	h := make([]byte, length)
	h[0], h[1], h[2], h[3] = 0x1b, 0x58, 0, 80
	h[12], h[13] = uint8(length/4)<<4, flags
	return h
}

func udp(length int) []byte {
	h := make([]byte, 8)
	h[0], h[1], h[2], h[3] = 0x1b, 0x58, 0, 53
	binary.BigEndian.PutUint16(h[4:], uint16(length))
	return h
}

func TestParse(t *testing.T) {
	fragment := func(h []byte, w uint16) []byte { binary.BigEndian.PutUint16(h[6:], w); return h }
	v6fragment := func(w uint16) []byte { return []byte{ProtoUDP, 0, byte(w >> 8), byte(w), 0, 0, 0, 1} }
	for _, c := range []struct {
		name  string
		frame []byte
		want  Headers // compared iff result is ParseOK
		res   Result
	}{
		{"tcp", join(eth4, ip4(6, 20), tcp(20, SYN)),
			Headers{L3: 14, L4: 34, Payload: 54, End: 54, Family: IPv4, Proto: 6, TCPFlags: SYN}, ParseOK},
		{"tcp with options", join(eth4, ip4(6, 32), tcp(32, ACK)),
			Headers{L3: 14, L4: 34, Payload: 66, End: 66, Family: IPv4, Proto: 6, TCPFlags: ACK}, ParseOK},
		{"ip options", join(eth4, ip4(17, 8, 1, 1, 1, 1), udp(8)),
			Headers{L3: 14, L4: 38, Payload: 46, End: 46, Family: IPv4, Proto: 17}, ParseOK},
		{"ethernet padding", join(eth4, ip4(17, 9), udp(9), []byte{7}, make([]byte, 9)),
			Headers{L3: 14, L4: 34, Payload: 42, End: 43, Family: IPv4, Proto: 17}, ParseOK},
		{"unknown protocol", join(eth4, ip4(253, 3), []byte{1, 2, 3}),
			Headers{L3: 14, L4: 34, Payload: 34, End: 37, Family: IPv4, Proto: 253}, ParseOK},
		{"first fragment", join(eth4, fragment(ip4(17, 8), 0x2000), udp(4000)),
			Headers{L3: 14, L4: 34, Payload: 42, End: 42, Family: IPv4, Proto: 17, Fragment: FragmentFirst}, ParseOK},
		{"later fragment", join(eth4, fragment(ip4(17, 3), 0x0001), []byte{1, 2, 3}),
			Headers{L3: 14, L4: 34, Payload: 34, End: 37, Family: IPv4, Proto: 17, Fragment: FragmentLater}, ParseOK},
		{"ipv6 udp", join(eth6, ip6(17, 8), udp(8)),
			Headers{L3: 14, L4: 54, Payload: 62, End: 62, Family: IPv6, Proto: 17}, ParseOK},
		{"ipv6 with two extension headers", join(eth6, ip6(0, 32), []byte{60, 0, 0, 0, 0, 0, 0, 0}, []byte{17, 1, 15: 0}, udp(8)),
			Headers{L3: 14, L4: 78, Payload: 86, End: 86, Family: IPv6, Proto: 17}, ParseOK},
		{"ipv6 first fragment", join(eth6, ip6(44, 16), v6fragment(1), udp(4000)),
			Headers{L3: 14, L4: 62, Payload: 70, End: 70, Family: IPv6, Proto: 17, Fragment: FragmentFirst}, ParseOK},
		{"ipv6 later fragment", join(eth6, ip6(44, 11), v6fragment(8), []byte{1, 2, 3}),
			Headers{L3: 14, L4: 62, Payload: 62, End: 65, Family: IPv6, Proto: 17, Fragment: FragmentLater}, ParseOK},
		{"ipv6 atomic fragment", join(eth6, ip6(44, 16), v6fragment(0), udp(8)),
			Headers{L3: 14, L4: 62, Payload: 70, End: 70, Family: IPv6, Proto: 17}, ParseOK},
		{"no next header", join(eth6, ip6(59, 0)),
			Headers{L3: 14, L4: 54, Payload: 54, End: 54, Family: IPv6, Proto: 59}, ParseOK},

		{"empty", nil, Headers{}, ParseTruncated},
		{"arp", join(make([]byte, 12), []byte{8, 6}, make([]byte, 28)), Headers{}, ParseNotIP},
		{"vlan", join(make([]byte, 12), []byte{0x81, 0}, make([]byte, 40)), Headers{}, ParseNotIP},
		{"short ip header", join(eth4, ip4(17, 8)[:19]), Headers{}, ParseTruncated},
		{"wrong version", join(eth4, ip6(17, 8), udp(8)), Headers{}, ParseMalformed},
		{"header length below 5", join(eth4, append([]byte{0x44}, ip4(17, 8)[1:]...), udp(8)), Headers{}, ParseMalformed},
		{"options beyond the frame", join(eth4, append([]byte{0x4f}, ip4(17, 8)[1:]...), udp(8)), Headers{}, ParseMalformed},
		{"total length beyond the frame", join(eth4, ip4(17, 9), udp(8)), Headers{}, ParseTruncated},
		{"short tcp", join(eth4, ip4(6, 19), tcp(20, SYN)[:19]), Headers{}, ParseShortTransport},
		{"tcp offset below 5", join(eth4, ip4(6, 20), append(tcp(20, SYN)[:12], append([]byte{0x40}, tcp(20, SYN)[13:]...)...)), Headers{}, ParseShortTransport},
		{"tcp offset beyond the packet", join(eth4, ip4(6, 20), append(tcp(20, SYN)[:12], append([]byte{0xf0}, tcp(20, SYN)[13:]...)...)), Headers{}, ParseShortTransport},
		{"udp length below 8", join(eth4, ip4(17, 8), udp(7)), Headers{}, ParseTransportLen},
		{"udp length beyond the packet", join(eth4, ip4(17, 8), udp(9)), Headers{}, ParseTransportLen},
		{"short icmp", join(eth4, ip4(1, 7), make([]byte, 7)), Headers{}, ParseShortTransport},
		{"ipv6 payload beyond the frame", join(eth6, ip6(17, 9), udp(8)), Headers{}, ParseTruncated},
		{"ipv6 extension beyond the packet", join(eth6, ip6(0, 8), []byte{17, 1, 0, 0, 0, 0, 0, 0}), Headers{}, ParseTruncated},
		{"short sctp", join(eth4, ip4(132, 11), make([]byte, 11)), Headers{}, ParseShortTransport},
		{"short first fragment", join(eth4, fragment(ip4(6, 16), 0x2000), tcp(20, SYN)[:16]), Headers{}, ParseShortTransport},
		{"loose source route", join(eth4, ip4(17, 8, 1, 131, 7, 4, 10, 0, 0, 1), udp(8)), Headers{}, ParseSourceRoute},
		{"strict source route", join(eth4, ip4(17, 8, 137, 7, 4, 10, 0, 0, 1, 0), udp(8)), Headers{}, ParseSourceRoute},
		{"source route after the last option", join(eth4, ip4(17, 8, 0, 131, 3, 4), udp(8)),
			Headers{L3: 14, L4: 38, Payload: 46, End: 46, Family: IPv4, Proto: 17}, ParseOK},
		{"router alert", join(eth4, ip4(17, 8, 148, 4, 0, 0), udp(8)),
			Headers{L3: 14, L4: 38, Payload: 46, End: 46, Family: IPv4, Proto: 17}, ParseOK},
		{"option of length 0", join(eth4, ip4(17, 8, 7, 0, 0, 0), udp(8)), Headers{}, ParseMalformed},
		{"option beyond the header", join(eth4, ip4(17, 8, 1, 1, 7, 3), udp(8)), Headers{}, ParseMalformed},
		{"option without a length", join(eth4, ip4(17, 8, 1, 1, 1, 7), udp(8)), Headers{}, ParseMalformed},
		{"routing header of type 0", join(eth6, ip6(43, 16), []byte{17, 0, 0, 1, 0, 0, 0, 0}, udp(8)), Headers{}, ParseSourceRoute},
		{"routing header of type 2", join(eth6, ip6(43, 16), []byte{17, 0, 2, 1, 0, 0, 0, 0}, udp(8)),
			Headers{L3: 14, L4: 62, Payload: 70, End: 70, Family: IPv6, Proto: 17}, ParseOK},
		{"authentication header", join(eth6, ip6(51, 20), []byte{17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, udp(8)),
			Headers{L3: 14, L4: 66, Payload: 74, End: 74, Family: IPv6, Proto: 17}, ParseOK},
		{"encrypted", join(eth6, ip6(50, 8), make([]byte, 8)),
			Headers{L3: 14, L4: 54, Payload: 54, End: 62, Family: IPv6, Proto: 50}, ParseOK},
		{"two fragment headers", join(eth6, ip6(44, 24), []byte{44, 0, 0, 0, 0, 0, 0, 1}, v6fragment(1), udp(8)), Headers{}, ParseExtHeaders},
		{"endless extension headers", join(eth6, ip6(60, 96), repeat([]byte{60, 0, 0, 0, 0, 0, 0, 0}, 12)), Headers{}, ParseExtHeaders},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Headers
			if res := Parse(c.frame, &h); res != c.res {
				t.Fatalf("result %d, want %d", res, c.res)
			}
			c.want.TTL = 64 // all frames above have it
			if c.res == ParseOK && h != c.want {
				t.Errorf("got  %+v\nwant %+v", h, c.want)
			}
		})
	}
}

func repeat(b []byte, n int) []byte {
	var out []byte
	for range n {
		out = append(out, b...)
	}
	return out
}

func TestParseInner(t *testing.T) {
	prefix := make([]byte, 42) // Ethernet, IP and ICMP headers of the error
	for _, c := range []struct {
		name   string
		quoted []byte
		res    Result
	}{
		{"cut after 8 bytes of TCP", join(ip4(6, 1000), tcp(20, ACK)[:8]), ParseOK},
		{"cut within the ports", join(ip4(6, 1000), tcp(20, ACK)[:7]), ParseTruncated},
		{"cut within the IP header", ip4(6, 1000)[:16], ParseTruncated},
		{"ipv6", join(ip6(17, 1000), udp(1000)), ParseOK},
		{"neither version", []byte{0x10, 0, 0, 0}, ParseMalformed},
		{"nothing", nil, ParseTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h Headers
			if res := ParseInner(join(prefix, c.quoted), len(prefix), &h); res != c.res {
				t.Errorf("result %d, want %d", res, c.res)
			}
		})
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	good := join(eth4, ip4(6, 20), tcp(20, SYN))
	bad := join(eth4, ip4(6, 19), tcp(20, SYN)[:19])
	var h Headers
	if n := testing.AllocsPerRun(1, func() {
		for range 1000 {
			Parse(good, &h)
			Parse(bad, &h)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

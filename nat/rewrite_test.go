package nat_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// rewriteCases are pairs of tuples of one packet before and after.
var rewriteCases = []struct {
	name     string
	from, to flowtable.Tuple
}{
	{"tcp", tuple(6, "10.0.0.5:40000", "198.51.100.1:80"), tuple(6, "203.0.113.1:2000", "198.51.100.1:80")},
	{"tcp-both-ends", tuple(6, "10.0.0.5:40000", "198.51.100.1:80"), tuple(6, "203.0.113.1:2000", "192.0.2.77:8080")},
	{"tcp-nothing", tuple(6, "10.0.0.5:40000", "198.51.100.1:80"), tuple(6, "10.0.0.5:40000", "198.51.100.1:80")},
	{"tcp-port-only", tuple(6, "10.0.0.5:40000", "198.51.100.1:80"), tuple(6, "10.0.0.5:1", "198.51.100.1:80")},
	{"udp", tuple(17, "10.0.0.5:40000", "198.51.100.1:53"), tuple(17, "203.0.113.1:2000", "198.51.100.1:53")},
	{"icmp", tuple(1, "10.0.0.5:77", "198.51.100.1:2048"), tuple(1, "203.0.113.1:65535", "198.51.100.1:2048")},
	{"gre", tuple(47, "10.0.0.5:0", "198.51.100.1:0"), tuple(47, "203.0.113.1:0", "198.51.100.1:0")},
	{"tcp6", tuple(6, "[fd00::5]:40000", "[2001:db8::80]:80"), tuple(6, "[2001:db8:1::1]:2000", "[2001:db8::80]:80")},
	{"udp6", tuple(17, "[fd00::5]:40000", "[2001:db8::80]:53"), tuple(17, "[2001:db8:1::1]:40000", "[2001:db8::99]:53")},
	{"icmp6", tuple(58, "[fd00::5]:7", "[2001:db8::80]:32768"), tuple(58, "[2001:db8:1::1]:9", "[2001:db8::80]:32768")},
}

func TestRewriteRoundTrip(t *testing.T) {
	for _, tt := range rewriteCases {
		t.Run(tt.name, func(t *testing.T) {
			for _, payload := range [][]byte{nil, []byte("odd"), bytes.Repeat([]byte{0xa5}, 1000)} {
				checkRewrite(t, &tt.from, &tt.to, payload)
			}
		})
	}
}

// SCTP's checksum covers the ports only, and is computed anew. Text of it is never
// replaced, and what an error quotes of it keeps its checksum, so that it is not among
// the cases of those tests.
func TestRewriteSCTP(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to flowtable.Tuple
	}{
		{"sctp", tuple(132, "10.0.0.5:40000", "198.51.100.1:9"), tuple(132, "203.0.113.1:2000", "198.51.100.1:9")},
		{"sctp-addresses-only", tuple(132, "10.0.0.5:40000", "198.51.100.1:9"), tuple(132, "203.0.113.1:40000", "198.51.100.1:9")},
		{"sctp6", tuple(132, "[fd00::5]:40000", "[2001:db8::80]:9"), tuple(132, "[2001:db8:1::1]:2000", "[2001:db8::99]:10")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, payload := range [][]byte{nil, []byte("odd"), bytes.Repeat([]byte{0xa5}, 1000)} {
				checkRewrite(t, &tt.from, &tt.to, payload)
			}
		})
	}
}

// checkRewrite translates a packet there and back: in between it must equal
// a packet built from scratch, in the end the first one.
func checkRewrite(t *testing.T, from, to *flowtable.Tuple, payload []byte) {
	t.Helper()
	before := buildFrame(t, from, payload)
	frame := bytes.Clone(before)
	h := mustParse(t, frame)
	nat.Rewrite(frame, &h, from, to)
	if want := buildFrame(t, to, payload); !bytes.Equal(frame, want) {
		t.Fatalf("rewritten\n% x, built\n% x", frame, want)
	}
	checkFrame(t, frame, to)
	checkPlain(t, before, frame, to)
	nat.Rewrite(frame, &h, to, from)
	if !bytes.Equal(frame, before) {
		t.Fatalf("round trip\n% x, want\n% x", frame, before)
	}
}

// checkPlain checks that RewritePlain turns before into after, if it may be used.
func checkPlain(t *testing.T, before, after []byte, to *flowtable.Tuple) {
	t.Helper()
	frame := bytes.Clone(before)
	var h packet.Headers
	if _, _, ok := packet.ParsePlain(frame, &h); !ok {
		if to.Family == packet.IPv4 && (to.Proto == packet.ProtoTCP || to.Proto == packet.ProtoUDP) {
			t.Fatal("not taken for plain")
		}
		return
	}
	nat.RewritePlain(frame, to.Proto, to.Src.Lo<<32|to.Dst.Lo, uint32(to.SrcPort)<<16|uint32(to.DstPort))
	if !bytes.Equal(frame, after) {
		t.Fatalf("rewritten as plain\n% x, want\n% x", frame, after)
	}
}

func FuzzRewriteRoundTrip(f *testing.F) {
	f.Add(uint8(0), false, uint64(0x0a000005), uint64(0), uint16(1), uint64(0xffffffff), uint64(1), uint16(0xffff), []byte("x"))
	f.Add(uint8(1), true, uint64(5), uint64(0), uint16(0), uint64(7), ^uint64(0), uint16(0x8000), []byte{})
	f.Fuzz(func(t *testing.T, proto uint8, v6 bool, a, b uint64, p uint16, c, d uint64, q uint16, payload []byte) {
		if len(payload) > 1400 {
			return
		}
		from := flowtable.Tuple{Proto: []uint8{6, 17, 1, 47}[proto&3], Family: packet.IPv4,
			Src: packet.Addr{Lo: a & 0xffffffff}, Dst: packet.Addr{Lo: b & 0xffffffff}, SrcPort: p, DstPort: q}
		to := flowtable.Tuple{Proto: from.Proto, Family: packet.IPv4,
			Src: packet.Addr{Lo: c & 0xffffffff}, Dst: packet.Addr{Lo: d & 0xffffffff}, SrcPort: q ^ uint16(a), DstPort: p ^ uint16(b)}
		if v6 {
			from.Family, to.Family = packet.IPv6, packet.IPv6
			from.Src, from.Dst = packet.Addr{Hi: a, Lo: b}, packet.Addr{Hi: c, Lo: d}
			to.Src, to.Dst = packet.Addr{Hi: d, Lo: a}, packet.Addr{Hi: b, Lo: c}
			if from.Proto == packet.ProtoICMP {
				from.Proto, to.Proto = packet.ProtoICMPv6, packet.ProtoICMPv6
			}
		}
		switch from.Proto {
		case packet.ProtoICMP:
			from.DstPort, to.DstPort = 8<<8, 8<<8
		case packet.ProtoICMPv6:
			from.DstPort, to.DstPort = 128<<8, 128<<8
		case packet.ProtoGRE:
			from.SrcPort, from.DstPort, to.SrcPort, to.DstPort = 0, 0, 0, 0
		}
		checkRewrite(t, &from, &to, payload)
	})
}

func TestRewriteUDPChecksumZero(t *testing.T) {
	from, to := tuple(17, "10.0.0.5:40000", "198.51.100.1:53"), tuple(17, "203.0.113.1:2000", "198.51.100.1:53")
	frame := buildFrame(t, &from, []byte("query"))
	h := mustParse(t, frame)
	packet.UDP(frame[h.L4:]).SetChecksum(0)
	nat.Rewrite(frame, &h, &from, &to)
	if got := packet.UDP(frame[h.L4:]).Checksum(); got != 0 {
		t.Errorf("checksum 0 became %#x", got)
	}
	nat.RewritePlain(frame, packet.ProtoUDP, from.Src.Lo<<32|from.Dst.Lo, 1<<16|2)
	if got := packet.UDP(frame[h.L4:]).Checksum(); got != 0 {
		t.Errorf("plain: checksum 0 became %#x", got)
	}
}

// TestRewriteUDPComputedZero finds a port for which the checksum would be 0,
// which means "none": it must be sent as 0xffff.
func TestRewriteUDPComputedZero(t *testing.T) {
	from := tuple(17, "10.0.0.5:40000", "198.51.100.1:53")
	seen := false
	for port := range 65536 {
		frame := buildFrame(t, &from, []byte("q"))
		h := mustParse(t, frame)
		to := from
		to.SrcPort = uint16(port)
		nat.Rewrite(frame, &h, &from, &to)
		switch packet.UDP(frame[h.L4:]).Checksum() {
		case 0:
			t.Fatalf("port %d: checksum 0", port)
		case 0xffff:
			seen = true
			checkFrame(t, frame, &to)
			checkPlain(t, buildFrame(t, &from, []byte("q")), frame, &to)
		}
	}
	if !seen {
		t.Error("no port gave 0xffff")
	}
}

// TestRewriteKeepsDamage: a packet with a wrong checksum stays wrong.
func TestRewriteKeepsDamage(t *testing.T) {
	for _, tt := range rewriteCases[:4] {
		frame := buildFrame(t, &tt.from, []byte("data"))
		h := mustParse(t, frame)
		frame[h.End-1] ^= 0x10
		nat.Rewrite(frame, &h, &tt.from, &tt.to)
		frame[h.End-1] ^= 0x10
		checkFrame(t, frame, &tt.to)
	}
}

func TestRewriteFragments(t *testing.T) {
	from, to := tuple(17, "10.0.0.5:40000", "198.51.100.1:53"), tuple(17, "203.0.113.1:2000", "198.51.100.1:53")
	whole := buildFrame(t, &from, bytes.Repeat([]byte("fragment"), 100))
	want := buildFrame(t, &to, bytes.Repeat([]byte("fragment"), 100))
	cut := 14 + 20 + 400
	fragment := func(b []byte, from, to int, word uint16) []byte {
		f := append(bytes.Clone(b[:34]), b[from:to]...)
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
		binary.BigEndian.PutUint16(f[20:], word)
		f[24], f[25] = 0, 0
		binary.BigEndian.PutUint16(f[24:], ^plainSum(f[14:34]))
		return f
	}
	for _, tt := range []struct{ got, want []byte }{
		{fragment(whole, 34, cut, 0x2000), fragment(want, 34, cut, 0x2000)},
		{fragment(whole, cut, len(whole), 50), fragment(want, cut, len(want), 50)},
	} {
		h := mustParse(t, tt.got)
		nat.Rewrite(tt.got, &h, &from, &to)
		if !bytes.Equal(tt.got, tt.want) {
			t.Errorf("fragment\n% x, want\n% x", tt.got, tt.want)
		}
	}
}

// icmpError builds an error from router about a quoted packet.
func icmpError(t testing.TB, router, to packet.Addr, quoted []byte) []byte {
	t.Helper()
	if quoted[0]>>4 == 4 {
		ip := &layers.IPv4{Version: 4, TTL: 60, Protocol: layers.IPProtocolICMPv4, SrcIP: router.Netip(packet.IPv4).AsSlice(), DstIP: to.Netip(packet.IPv4).AsSlice()}
		m := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1400}
		return ethernet(serialize(t, ip, m, gopacket.Payload(quoted)))
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: layers.IPProtocolICMPv6, SrcIP: router.Netip(packet.IPv6).AsSlice(), DstIP: to.Netip(packet.IPv6).AsSlice()}
	m := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
	mustDo(t, m.SetNetworkLayerForChecksum(ip))
	return ethernet(serialize(t, ip, m, gopacket.Payload(append([]byte{0, 0, 5, 0}, quoted...))))
}

// TestRewriteICMPError: the translated error must be the one that a router
// would have sent about the translated packet, byte for byte.
func TestRewriteICMPError(t *testing.T) {
	for _, tt := range rewriteCases {
		t.Run(tt.name, func(t *testing.T) {
			from, to := tt.from, tt.to
			router := packet.AddrOf(addr("192.0.2.254"))
			if from.Family == packet.IPv6 {
				router = packet.AddrOf(addr("2001:db8::fe"))
			}
			source := router // as seen afterwards
			if from.Dst != to.Dst {
				source = to.Dst // hidden behind the translated destination
			}
			head := len(buildIP(t, &from, nil))
			for _, n := range []int{head, head - 1, 28, 48, head + 3, head + 700} {
				if from.Family == packet.IPv6 && n < 48 || n < 28 { // the parser wants 8 bytes
					continue
				}
				payload := bytes.Repeat([]byte("payload!"), 100)
				quoted, want := buildIP(t, &from, payload), buildIP(t, &to, payload)
				n = min(n, len(quoted))
				frame := icmpError(t, router, from.Src, quoted[:n])
				h := mustParse(t, frame)
				var inner packet.Headers
				if r := packet.ParseInner(frame, int(h.Payload), &inner); r != packet.ParseOK {
					t.Fatalf("%d bytes quoted: inner parse %d", n, r)
				}
				nat.RewriteICMPError(frame, &h, &inner, &from, &to)
				if wantFrame := icmpError(t, source, to.Src, want[:n]); !bytes.Equal(frame, wantFrame) {
					t.Errorf("%d bytes quoted:\n% x, want\n% x", n, frame, wantFrame)
				}
				checkSums(t, frame, &h)
			}
		})
	}
}

func TestRewriteICMPErrorUDPChecksumZero(t *testing.T) {
	from, to := rewriteCases[4].from, rewriteCases[4].to
	quoted, want := buildIP(t, &from, nil), buildIP(t, &to, nil)
	quoted[26], quoted[27], want[26], want[27] = 0, 0, 0, 0
	frame := icmpError(t, from.Dst, from.Src, quoted)
	h := mustParse(t, frame)
	var inner packet.Headers
	packet.ParseInner(frame, int(h.Payload), &inner)
	nat.RewriteICMPError(frame, &h, &inner, &from, &to)
	if wantFrame := icmpError(t, from.Dst, to.Src, want); !bytes.Equal(frame, wantFrame) {
		t.Errorf("got\n% x, want\n% x", frame, wantFrame)
	}
}

func TestReplaceText(t *testing.T) {
	texts := []string{"", "x", "10,0,0,5,25,0", "203,0,113,200,255,255", "odd"}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, tu := range []flowtable.Tuple{rewriteCases[0].from, rewriteCases[4].from, rewriteCases[7].from, rewriteCases[8].from} {
		for range 200 {
			old, text := texts[rng.IntN(len(texts))], texts[rng.IntN(len(texts))]
			front := bytes.Repeat([]byte{'f'}, rng.IntN(7))
			back := bytes.Repeat([]byte{'b', 0xfe}, rng.IntN(40))
			frame := buildFrame(t, &tu, append(append(bytes.Clone(front), old...), back...))
			for len(frame) < 60 { // Ethernet padding
				frame = append(frame, 0xee)
			}
			h := mustParse(t, frame)
			n, ok := nat.ReplaceText(frame, &h, int(h.Payload)+len(front), len(old), []byte(text))
			if !ok {
				t.Fatalf("%q > %q: refused", old, text)
			}
			want := buildFrame(t, &tu, append(append(bytes.Clone(front), text...), back...))
			if got := frame[:h.End]; !bytes.Equal(got, want) {
				t.Fatalf("%q > %q after %d:\n% x, want\n% x", old, text, len(front), got, want)
			}
			if n != max(len(want), 60) {
				t.Fatalf("%q > %q: frame of %d bytes, want %d", old, text, n, max(len(want), 60))
			}
			if pad := bytes.TrimLeft(frame[h.End:n], "\x00"); len(pad) != 0 {
				t.Fatalf("padding % x", pad)
			}
		}
	}
}

func TestReplaceTextRefused(t *testing.T) {
	tu := rewriteCases[0].from
	frame := buildFrame(t, &tu, []byte("PORT 1"))
	h := mustParse(t, frame)
	full := frame[: len(frame) : len(frame)+2]
	before := bytes.Clone(full)
	for name, f := range map[string]func() (int, bool){
		"no-room":      func() (int, bool) { return nat.ReplaceText(full, &h, int(h.Payload), 1, []byte("PORT")) },
		"before-text":  func() (int, bool) { return nat.ReplaceText(full, &h, int(h.Payload)-1, 1, []byte("P")) },
		"beyond-text":  func() (int, bool) { return nat.ReplaceText(full, &h, int(h.Payload)+5, 2, []byte("P")) },
		"negative-len": func() (int, bool) { return nat.ReplaceText(full, &h, int(h.Payload), -1, []byte("P")) },
	} {
		if n, ok := f(); ok || n != len(full) || !bytes.Equal(full, before) {
			t.Errorf("%s: ok %v, length %d", name, ok, n)
		}
	}
}

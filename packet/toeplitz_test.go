package packet

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// verificationKey is the key of the published vectors.
const verificationKey = "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"

// toeplitz makes a hash from a key in hexadecimal.
func toeplitz(t testing.TB, key string) *Toeplitz {
	t.Helper()
	b, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewToeplitz(b)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// The vectors of Microsoft, "Verifying the RSS hash calculation".
func TestToeplitzPublishedVectors(t *testing.T) {
	h := toeplitz(t, verificationKey)
	for _, v := range []struct {
		src, dst     string
		addrs, ports uint32
	}{
		{"66.9.149.187:2794", "161.142.100.80:1766", 0x323e8fc2, 0x51ccc178},
		{"199.92.111.2:14230", "65.69.140.83:4739", 0xd718262a, 0xc626b0ea},
		{"24.19.198.95:12898", "12.22.207.184:38024", 0xd2d0a5de, 0x5c2b394a},
		{"38.27.205.30:48228", "209.142.163.6:2217", 0x82989176, 0xafc7327f},
		{"153.39.163.191:44251", "202.188.127.2:1303", 0x5d1809c5, 0x10e828a2},
		{"[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x2cc18cd5, 0x40207d3d},
		{"[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0x0f0c461c, 0xdde51bbf},
		{"[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024", 0x4b61e985, 0x02d1feef},
	} {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		f := FamilyOf(src.Addr())
		if got := h.Addrs(f, AddrOf(src.Addr()), AddrOf(dst.Addr())); got != v.addrs {
			t.Errorf("%s > %s: addresses hash to %08x, want %08x", v.src, v.dst, got, v.addrs)
		}
		if got := h.Hash(f, AddrOf(src.Addr()), AddrOf(dst.Addr()), src.Port(), dst.Port()); got != v.ports {
			t.Errorf("%s > %s: with ports %08x, want %08x", v.src, v.dst, got, v.ports)
		}
	}
}

// slowToeplitz is the definition, bit by bit.
func slowToeplitz(key, input []byte) (hash uint32) {
	for bit := range 8 * len(input) {
		if input[bit/8]&(0x80>>(bit%8)) == 0 {
			continue
		}
		for k := range 32 {
			at := bit + k
			hash ^= uint32(key[at/8]>>(7-at%8)&1) << (31 - k)
		}
	}
	return hash
}

func TestToeplitzEqualsTheSlowOne(t *testing.T) {
	rng := rand.New(rand.NewChaCha8([32]byte{1}))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for range 500 {
		key := random(ToeplitzKeyLen + rng.IntN(13))
		h, err := NewToeplitz(key)
		if err != nil {
			t.Fatal(err)
		}
		four, six := random(12), random(36)
		port := func(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
		if got, want := h.Hash(IPv4, AddrFrom4(four), AddrFrom4(four[4:]), port(four[8:]), port(four[10:])),
			slowToeplitz(key, four); got != want {
			t.Fatalf("key %x, input %x: %08x, want %08x", key, four, got, want)
		}
		if got, want := h.Hash(IPv6, AddrFrom16(six), AddrFrom16(six[16:]), port(six[32:]), port(six[34:])),
			slowToeplitz(key, six); got != want {
			t.Fatalf("key %x, input %x: %08x, want %08x", key, six, got, want)
		}
	}
}

func TestToeplitzRefusesAShortKey(t *testing.T) {
	if _, err := NewToeplitz(make([]byte, ToeplitzKeyLen-1)); err == nil {
		t.Error("a key of 39 bytes was taken")
	}
}

func TestToeplitzDoesNotAllocate(t *testing.T) {
	h := toeplitz(t, verificationKey)
	if n := testing.AllocsPerRun(100, func() { h.Hash(IPv6, Addr{1, 2}, Addr{3, 4}, 5, 6) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// BenchmarkToeplitz is the hash of one packet, of tuples that follow each other
// in memory.
func BenchmarkToeplitz(b *testing.B) {
	h := toeplitz(b, verificationKey)
	type tuple struct{ src, dst Addr }
	rng := rand.New(rand.NewPCG(1, 2))
	tuples := make([]tuple, 4096)
	for i := range tuples {
		tuples[i] = tuple{Addr{rng.Uint64(), rng.Uint64()}, Addr{rng.Uint64(), rng.Uint64()}}
	}
	for _, f := range []Family{IPv4, IPv6} {
		b.Run(f.String(), func(b *testing.B) {
			sum, i := uint32(0), 0
			for b.Loop() {
				t := &tuples[i&4095]
				sum |= h.Hash(f, t.src, t.dst, uint16(i), uint16(i>>3))
				i++
			}
			if sum == 0 {
				b.Error("every hash is 0")
			}
		})
	}
}

// BenchmarkToeplitzPort is one candidate in the search for a port that hashes
// to one of n queues; the figure is per candidate, not per port found.
func BenchmarkToeplitzPort(b *testing.B) {
	h := toeplitz(b, verificationKey)
	for _, queues := range []int{4, 16} {
		b.Run(fmt.Sprintf("queues=%d", queues), func(b *testing.B) {
			base, part := h.Addrs(IPv4, Addr{Lo: 1}, Addr{Lo: 2}), h.DstPort(IPv4)
			hits, port := uint32(0), uint16(0)
			for b.Loop() {
				if (base^part.Of(port))%uint32(queues) == 0 {
					hits++
				}
				port++
			}
			if b.N > 1000 && hits == 0 {
				b.Error("no port leads to the queue")
			}
		})
	}
}

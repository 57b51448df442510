package packet

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// slowSum is RFC 1071 by the book.
func slowSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// RFC 1071 §3 gives this example.
func TestSumOfTheRFC(t *testing.T) {
	if got := Fold(Sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0)); got != ^uint16(0xddf2) {
		t.Errorf("got %04x, want %04x", got, ^uint16(0xddf2))
	}
}

func TestSumEqualsTheSlowOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32() | rng.Uint32()) // many ones: many carries
		}
		if got, want := Fold(Sum(b, 0)), slowSum(b); got != want {
			t.Fatalf("%d bytes: got %04x, want %04x", n, got, want)
		}
		cut := n / 4 * 2
		if got, want := Fold(Sum(b[cut:], Sum(b[:cut], 0))), slowSum(b); got != want {
			t.Fatalf("%d bytes in two pieces: got %04x, want %04x", n, got, want)
		}
	}
}

// same compares checksums; 0 and 0xffff stand for the same sum.
func same(a, b uint16) bool { return a == b || a^b == 0xffff && (a == 0 || b == 0) }

func TestIncrementalEqualsRecomputed(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		b := make([]byte, 40)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		old := slowSum(b)
		at := rng.IntN(20) * 2
		was := binary.BigEndian.Uint16(b[at:])
		now := uint16(rng.Uint32())
		binary.BigEndian.PutUint16(b[at:], now)
		if got, want := Update(old, was, now), slowSum(b); !same(got, want) {
			t.Fatalf("Update: got %04x, want %04x", got, want)
		}
		if got, want := Delta(0).Add16(was, now).Apply(old), slowSum(b); !same(got, want) {
			t.Fatalf("Delta: got %04x, want %04x", got, want)
		}
		f, n, put := IPv4, 4, Addr.Put4
		if rng.IntN(2) == 1 {
			f, n, put = IPv6, 16, Addr.Put16
		}
		before := slowSum(b)
		addr := Addr{Hi: rng.Uint64(), Lo: rng.Uint64()}
		if f == IPv4 {
			addr = Addr{Lo: uint64(rng.Uint32())}
		}
		var prev Addr
		if n == 4 {
			prev = AddrFrom4(b[8:])
		} else {
			prev = AddrFrom16(b[8:])
		}
		put(addr, b[8:])
		if got, want := Delta(0).AddAddr(f, prev, addr).Apply(before), slowSum(b); !same(got, want) {
			t.Fatalf("AddAddr: got %04x, want %04x", got, want)
		}
	}
}

func TestDecrementTTLKeepsTheChecksum(t *testing.T) {
	for ttl := 1; ttl < 256; ttl++ {
		h := IPv4Header(ip4(17, 8))
		h[8] = uint8(ttl)
		h.SetChecksum(0)
		h.SetChecksum(slowSum(h))
		h.DecrementTTL()
		if h.TTL() != uint8(ttl-1) || slowSum(h) != 0 {
			t.Fatalf("TTL %d: now %d, checksum off by %04x", ttl, h.TTL(), slowSum(h))
		}
		h.SetTotalLen(1234)
		if slowSum(h) != 0 {
			t.Fatalf("SetTotalLen: checksum off by %04x", slowSum(h))
		}
	}
}

func TestAddrRoundTrip(t *testing.T) {
	b4 := []byte{198, 51, 100, 32}
	b6 := []byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6}
	var out [16]byte
	AddrFrom4(b4).Put4(out[:])
	if [4]byte(out[:4]) != [4]byte(b4) || AddrFrom4(b4).Netip(IPv4).String() != "198.51.100.32" {
		t.Errorf("IPv4 comes back as %v", out[:4])
	}
	AddrFrom16(b6).Put16(out[:])
	if out != [16]byte(b6) || AddrOf(AddrFrom16(b6).Netip(IPv6)) != AddrFrom16(b6) {
		t.Errorf("IPv6 comes back as %v", out)
	}
}

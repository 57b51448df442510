package fib

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// newLargeState returns a state with n further IPv4 routes via 64 gateways,
// with prefix lengths from 12 to 24 as in an Internet table.
func newLargeState(n int) *state {
	st := newTestState()
	st.reachable(ifInternal, "10.1.0.7", macHost)
	st.reachable(ifInternal, "fd01::7", macHost)
	st.putRoute(testRoute("0.0.0.0/0", via("203.0.113.1")))
	rng := rand.New(rand.NewPCG(1, 2))
	for len(st.routes) < n {
		v := rng.Uint32()
		a := netip.AddrFrom4([4]byte{byte(v>>24)%200 + 20, byte(v >> 16), byte(v >> 8), byte(v)})
		dst, _ := a.Prefix(24 - int(min(rng.ExpFloat64()*2, 12)))
		gw := netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(64)) + 1})
		r := route{key: routeKey{table: unix.RT_TABLE_MAIN, dst: dst}, kind: unix.RTN_UNICAST, ifindex: ifExternal, gateway: gw}
		st.routes[r.key] = []route{r}
	}
	return st
}

func TestLookupDoesNotAllocate(t *testing.T) {
	s := mustBuild(t, newLargeState(5000), nil, false)
	var sum uint64
	for name, f := range map[string]func(i uint32){
		"random-ipv4":   func(i uint32) { sum += uint64(s.Lookup4(i * 2654435761)) },
		"on-link-ipv4":  func(i uint32) { sum += uint64(s.Lookup4(0x0a010000 | i&15)) },
		"on-link-ipv6":  func(i uint32) { sum += uint64(s.Lookup6(0xfd01<<48, uint64(i&15))) },
		"no-route-ipv6": func(i uint32) { sum += uint64(s.Lookup6(uint64(i)<<32, 1)) },
		"hop-and-mark": func(i uint32) {
			id := s.Lookup4(i * 2654435761)
			s.MarkUsed(id, i)
			sum += uint64(s.Hop(id).MTU)
		},
	} {
		if n := testing.AllocsPerRun(10, func() {
			for i := range uint32(2000) {
				f(i)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations in 2000 lookups", name, n)
		}
	}
	_ = sum
}

func BenchmarkLookup4(b *testing.B) {
	for _, n := range []int{20, 1000, 100_000} {
		s := mustBuild(b, newLargeState(n), nil, false)
		dst := make([]uint32, 1<<16)
		for i := range dst {
			dst[i] = rand.Uint32()%(200<<24) + 20<<24
		}
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var i int
			var sum uint64
			for b.Loop() {
				sum += uint64(s.Lookup4(dst[i&(len(dst)-1)]))
				i++
			}
			_ = sum
		})
	}
	s := mustBuild(b, newLargeState(1000), nil, false)
	b.Run("on-link", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Lookup4(0x0a010007)
		}
	})
	b.Run("on-link-ipv6", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Lookup6(0xfd01<<48, 7)
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{20, 1000, 100_000} {
		st := newLargeState(n)
		prev := mustBuild(b, st, nil, false)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			for b.Loop() {
				mustBuild(b, st, prev, false)
			}
		})
		b.Run(fmt.Sprintf("neighbours-only/routes=%d", n), func(b *testing.B) {
			for b.Loop() {
				mustBuild(b, st, prev, true)
			}
		})
	}
}

func BenchmarkResolveRepeated(b *testing.B) {
	r := &resolver{queue: make(chan neighKey, resolveQueue), count: &counters{}}
	r.seed = maphash.MakeSeed()
	k := neighKey{7, netip.MustParseAddr("10.1.0.2")}
	b.ReportAllocs()
	for b.Loop() {
		r.ask(k)
		select {
		case <-r.queue:
		default:
		}
	}
}

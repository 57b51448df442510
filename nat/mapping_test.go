package nat

import (
	"math/rand/v2"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// TestMappingsModel applies random references and releases to the table and
// to a plain map; both must agree on every count.
func TestMappingsModel(t *testing.T) {
	const size = 300
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newMappings(size, true, seed)
		type pair struct{ in, ext side }
		model := make(map[pair]int)
		var live []pair // one entry per flow
		for step := range 20000 {
			if rng.IntN(2*size) < len(live) {
				i := rng.IntN(len(live))
				p := live[i]
				live[i] = live[len(live)-1]
				live = live[:len(live)-1]
				m.unref(&p.in, &p.ext)
				if model[p]--; model[p] == 0 {
					delete(model, p)
				}
			} else {
				p := pair{randomSide(rng, 40), side{}}
				p.ext = side{packet.Addr{Lo: uint64(rng.IntN(3)), Hi: p.in.addr.Hi}, uint16(rng.IntN(20)), p.in.proto, p.in.family}
				ok := m.ref(&p.in, &p.ext)
				if wantOK := model[p] > 0 || len(model) < size; ok != wantOK {
					t.Fatalf("seed %d step %d: ref ok %v, want %v", seed, step, ok, wantOK)
				}
				if ok {
					model[p]++
					live = append(live, p)
				}
			}
			if m.inUse() != len(model) {
				t.Fatalf("seed %d step %d: %d mappings, want %d", seed, step, m.inUse(), len(model))
			}
			if len(live) > 0 {
				p := live[rng.IntN(len(live))]
				if i := m.find(&p.in, &p.ext); i == 0 || m.rec[i].refs != uint32(model[p]) {
					t.Fatalf("seed %d step %d: mapping %d has %d uses, want %d", seed, step, i, m.rec[i].refs, model[p])
				}
			}
		}
		for _, p := range live {
			m.unref(&p.in, &p.ext)
		}
		checkEmpty(t, m)
	}
}

func randomSide(rng *rand.Rand, n int) side {
	s := side{packet.Addr{Lo: uint64(rng.IntN(n))}, uint16(rng.IntN(4)), packet.ProtoTCP, packet.IPv4}
	if rng.IntN(2) == 0 {
		s.family, s.addr.Hi = packet.IPv6, 0x20010db8<<32
	}
	if rng.IntN(4) == 0 {
		s.proto = packet.ProtoUDP
	}
	return s
}

// checkEmpty asserts that every record is free and every chain empty.
func checkEmpty(t *testing.T, m *mappings) {
	t.Helper()
	if m.inUse() != 0 {
		t.Errorf("%d mappings left", m.inUse())
	}
	for i, head := range m.heads {
		if head != 0 {
			t.Fatalf("chain %d is not empty", i)
		}
	}
	free := 0
	for i := m.free; i != 0; i = m.rec[i].next {
		free++
	}
	if free != int(m.fresh.Load())-1 {
		t.Errorf("%d records on the free list, want %d", free, m.fresh.Load()-1)
	}
}

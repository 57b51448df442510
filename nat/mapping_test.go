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
		extModel := make(map[side]int) // mappings, not flows
		var live []pair                // one entry per flow
		for step := range 20000 {
			if rng.IntN(2*size) < len(live) {
				i := rng.IntN(len(live))
				p := live[i]
				live[i] = live[len(live)-1]
				live = live[:len(live)-1]
				counted, gone := m.unref(&p.in, &p.ext)
				if (counted != 0) != (model[p] == 1) || counted != 0 && counted != mark(&p.ext) {
					t.Fatalf("seed %d step %d: unref counted %d, %d uses left", seed, step, counted, model[p]-1)
				}
				if model[p]--; model[p] == 0 {
					delete(model, p)
					extModel[p.ext]--
				}
				if want := extModel[p.ext] == 0; gone != want {
					t.Fatalf("seed %d step %d: unref gone %v, want %v", seed, step, gone, want)
				}
			} else {
				p := pair{randomSide(rng, 40), side{}}
				p.ext = side{packet.Addr{Lo: uint64(rng.IntN(3)), Hi: p.in.addr.Hi}, uint16(rng.IntN(20)), p.in.proto, p.in.family}
				i, fresh := m.ref(&p.in, &p.ext)
				ok := i != 0
				if wantOK := model[p] > 0 || len(model) < size; ok != wantOK {
					t.Fatalf("seed %d step %d: ref ok %v, want %v", seed, step, ok, wantOK)
				}
				if !ok {
					continue
				}
				m.rec[i].counted = mark(&p.ext)
				if wantFresh := extModel[p.ext] == 0; fresh != wantFresh {
					t.Fatalf("seed %d step %d: ref fresh %v, want %v", seed, step, fresh, wantFresh)
				}
				if model[p]++; model[p] == 1 {
					extModel[p.ext]++
				}
				live = append(live, p)
			}
			if m.used != len(model) {
				t.Fatalf("seed %d step %d: %d mappings, want %d", seed, step, m.used, len(model))
			}
		}
		for _, p := range live {
			m.unref(&p.in, &p.ext)
		}
		checkEmpty(t, m)
	}
}

// mark is what the test writes into the record of an external side.
func mark(ext *side) uint16 { return ext.port + 1 }

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
	if m.used != 0 {
		t.Errorf("%d mappings left", m.used)
	}
	for i := range m.byInt {
		if m.byInt[i] != 0 || m.byExt[i] != 0 {
			t.Fatalf("chain %d is not empty", i)
		}
	}
	free := 0
	for i := m.free; i != 0; i = m.rec[i].nextInt {
		free++
	}
	if free != int(m.fresh)-1 {
		t.Errorf("%d records on the free list, want %d", free, m.fresh-1)
	}
}

package dataplane

import (
	"slices"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// wholeByByte is a datagram the slow way: who carries each byte.
type wholeByByte struct {
	by     [1 << 12]int // number of the piece + 1
	pieces [][2]uint16
	end    int
	whole  bool
}

// put does what fragments.put does.
func (m *wholeByByte) put(from, to uint16, more bool) putResult {
	switch {
	case !more && (int(to) < m.end || m.whole && int(to) != m.end), more && m.whole && int(to) > m.end:
		return putConflict
	}
	there := 0
	for _, by := range m.by[from:to] {
		if by != 0 {
			there++
		}
	}
	switch there {
	case 0:
	case int(to - from):
		return putDuplicate
	default:
		return putConflict
	}
	m.pieces = append(m.pieces, [2]uint16{from, to})
	for i := from; i < to; i++ {
		m.by[i] = len(m.pieces)
	}
	m.end, m.whole = max(m.end, int(to)), m.whole || !more
	if m.whole && !slices.Contains(m.by[:m.end], 0) {
		return putComplete
	}
	return putWaiting
}

// FuzzFragments puts pieces of one datagram into a store and into the slow form of
// it. Each piece is three bytes: place, length and whether others follow.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 10, 1, 10, 10, 1, 20, 5, 0})
	f.Add([]byte{20, 5, 0, 10, 10, 1, 0, 10, 1})
	f.Add([]byte{0, 10, 1, 10, 10, 1, 5, 10, 1, 20, 1, 0})
	f.Add([]byte{0, 10, 1, 0, 11, 1})
	f.Add([]byte{8, 8, 1, 24, 8, 1, 8, 24, 1})
	f.Add([]byte{8, 8, 0, 24, 8, 1})
	f.Fuzz(func(t *testing.T, script []byte) {
		a, m := newFragments(512), &wholeByByte{}
		key := fragmentKey{id: 1, family: packet.IPv4}
		var sent []fragment
		for n := 0; len(script) >= 3 && n < 400; n, script = n+1, script[3:] {
			from := uint16(script[0]) * 8
			to, more := from+uint16(script[1]%64+1)*8, script[2]&1 != 0
			piece := fragment{addr: uint64(n), from: from, to: to}
			i, got := a.put(&key, &piece, more, flowtable.Tick(n))
			if want := m.put(from, to, more); got != want {
				t.Fatalf("piece %d, %d to %d, more %v: %d, want %d", n, from, to, more, got, want)
			}
			switch got {
			case putConflict:
				a.empty(t, i)
				m, sent = &wholeByByte{}, nil
			case putWaiting, putComplete:
				sent = append(sent, piece)
				if a.used != len(sent) {
					t.Fatalf("%d pieces in use, want %d", a.used, len(sent))
				}
			}
			if got == putComplete {
				slices.SortFunc(sent, func(x, y fragment) int { return int(x.from) - int(y.from) })
				for k := a.waiting[i].first; k != 0; k = a.pool[k].next {
					if p := a.pool[k]; len(sent) == 0 || p.addr != sent[0].addr || p.from != sent[0].from {
						t.Fatalf("piece %+v is out of order", p)
					}
					sent = sent[1:]
				}
				if len(sent) != 0 {
					t.Fatalf("%d pieces are missing", len(sent))
				}
				a.empty(t, i)
				m = &wholeByByte{}
			}
		}
		for len(a.waiting) > 0 {
			a.empty(t, 0)
		}
		if a.used != 0 || a.count(a.unused) != len(a.pool)-1 {
			t.Fatalf("%d in use, %d of %d pieces are free", a.used, a.count(a.unused), len(a.pool)-1)
		}
	})
}

// empty takes a datagram out.
func (a *fragments) empty(t *testing.T, i int) {
	t.Helper()
	for k := a.remove(i); k != 0; {
		k = a.release(k)
	}
}

// Who assembles a datagram depends on what all its pieces share, and all workers
// get some.
func TestAssemblersAreSpread(t *testing.T) {
	var count [4]int
	for id := range uint32(4000) {
		k := fragmentKey{src: packet.Addr{Lo: 1}, dst: packet.Addr{Lo: 2}, id: id, family: packet.IPv4, proto: 17}
		w := k.assembler(99, 4)
		if k.assembler(99, 4) != w {
			t.Fatal("not always the same worker")
		}
		count[w]++
	}
	for w, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("worker %d assembles %d of 4000", w, n)
		}
	}
}

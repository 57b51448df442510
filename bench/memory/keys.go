package memory

import (
	"math/rand/v2"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// keyOf is the original tuple of the i-th flow, without translation.
func keyOf(i int, t *flowtable.Tuple) {
	p := Set{}.tupleOf(i)
	*t = flowtable.Tuple{
		Src: packet.Addr{Lo: uint64(p.src)}, SrcPort: p.srcPort,
		Dst: packet.Addr{Lo: uint64(p.dst)}, DstPort: p.dstPort,
		Proto: packet.ProtoUDP, Family: packet.IPv4,
	}
}

// keyChunk is how many keys are made at a time, outside of what is measured.
const keyChunk = 64 * flowtable.Burst

// keys are random keys of a table, or keys that are not in it.
type keys struct {
	rng    *rand.Rand
	tuples [keyChunk]flowtable.Tuple
}

func newKeys(seed int) *keys { return &keys{rng: rand.New(rand.NewPCG(2, uint64(seed)))} }

// pick chooses the keys of random flows among n, from number first on, in
// either direction.
func (k *keys) pick(first, n int) {
	for i := range k.tuples {
		r := k.rng.Uint64N(2 * uint64(n))
		keyOf(first+int(r/2), &k.tuples[i])
		if r&1 != 0 {
			k.tuples[i] = k.tuples[i].Invert()
		}
	}
}

// drawFlows chooses numbers below flows, each at most once.
func drawFlows(rng *rand.Rand, flows int, chosen []int) {
	at, stride := rng.IntN(flows), coprime(rng, flows)
	for k := range chosen {
		chosen[k] = (at + k*stride) % flows
	}
}

// coprime returns a random number with which n has no factor in common: steps
// of it meet each of n numbers once.
func coprime(rng *rand.Rand, n int) int {
	for {
		step := 1 + rng.IntN(n)
		a, b := step, n
		for b != 0 {
			a, b = b, a%b
		}
		if a == 1 {
			return step
		}
	}
}

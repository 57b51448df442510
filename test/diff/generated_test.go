package diff

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// TestTCPFlags tries every set of TCP flags.
func TestTCPFlags(t *testing.T) { play(t, named("flags/", TCPFlags())) }

func named(prefix string, scripts []*Script) []*Script {
	for _, s := range scripts {
		s.Name = prefix + s.Name
	}
	return scripts
}

var (
	randomFor  = flag.Duration("random", 8*time.Second, "play random scripts for `DURATION` in each profile")
	randomSeed = flag.Uint64("seed", 0, "begin with random script `N` (default: another one each time)")
)

// randomBatch is how many random scripts are played at once.
const randomBatch = 400

// TestRandom plays random scripts. One that differs is made as small as it gets.
func TestRandom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root for network namespaces and AF_XDP: sudo make test-diff")
	}
	first := *randomSeed
	if first == 0 {
		first = rand.Uint64() >> 32
	}
	for i, name := range []string{"snat", "snat6", "liberal"} {
		p, _ := profile(name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := first
			if *randomSeed == 0 {
				first += uint64(i) << 32 // other scripts in each profile
			}
			rig, seed, count := NewRig(t, p), first, 0
			for end := time.Now().Add(*randomFor); time.Now().Before(end) && !t.Failed(); rig.Flush(t) {
				var scripts []*Script
				for range randomBatch {
					scripts = append(scripts, Random(seed, p.Name, []int{4, 6}[seed%3/2]))
					seed++
				}
				differences, err := rig.Run(scripts)
				if err != nil {
					t.Fatalf("seeds %d to %d: %v", seed-randomBatch, seed-1, err)
				}
				count += len(scripts)
				reportSmallest(t, rig, confirm(t, rig, differences))
			}
			t.Logf("%d random scripts from seed %d on", count, first)
		})
	}
}

// reportSmallest shrinks and reports the first few differences.
func reportSmallest(t *testing.T, rig *Rig, differences []*Difference) {
	const most = 3
	reported := 0
	for _, d := range differences {
		if d == nil {
			continue
		}
		if reported++; reported > most {
			continue
		}
		small, err := rig.Shrink(d)
		if err != nil {
			t.Errorf("while shrinking %s: %v", d.Script.Name, err)
		}
		t.Errorf("%s\n(go test ./test/diff -run TestRandom -seed %s plays the whole of it)", small, d.Script.Name[len("random/"):])
	}
	if reported > most {
		t.Errorf("%d more of %d random scripts differ", reported-most, len(differences))
	}
}

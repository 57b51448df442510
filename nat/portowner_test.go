package nat

import "testing"

// TestOwnedPorts compares rank and port with a walk over all ports.
func TestOwnedPorts(t *testing.T) {
	ranges := [][2]uint16{{0, 65535}, {1, 511}, {600, 1023}, {1024, 65535}, {2000, 2000}, {1000, 1100}, {65535, 65535}}
	for _, workers := range []int{1, 2, 3, 4, 7, 64, 256} {
		for worker := range workers {
			for _, r := range ranges {
				s := ownedPorts(r[0], r[1], worker, workers)
				k := s.from
				for port := int(r[0]); port <= int(r[1]); port++ {
					if PortOwner(uint16(port), workers) != worker {
						continue
					}
					if got := s.port(k); int(got) != port {
						t.Fatalf("%v worker %d of %d: rank %d is port %d, want %d", r, worker, workers, k, got, port)
					}
					k++
				}
				if k != s.to {
					t.Fatalf("%v worker %d of %d: ends at rank %d, want %d", r, worker, workers, s.to, k)
				}
			}
		}
	}
}

func TestPortClass(t *testing.T) {
	tests := []struct{ port, first, last uint16 }{
		{0, 1, 511}, {1, 1, 511}, {511, 1, 511}, {512, 600, 1023}, {600, 600, 1023},
		{1023, 600, 1023}, {1024, 1024, 65535}, {65535, 1024, 65535},
	}
	for _, tt := range tests {
		if first, last := portClass(tt.port); first != tt.first || last != tt.last {
			t.Errorf("port %d: %d-%d, want %d-%d", tt.port, first, last, tt.first, tt.last)
		}
	}
}

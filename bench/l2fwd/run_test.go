package l2fwd_test

import (
	"strings"
	"testing"

	"github.com/xdpct/xdpct/bench/l2fwd"
	"github.com/xdpct/xdpct/bench/l2fwd/l2fwdtest"
)

func TestForwardsBothWays(t *testing.T) { l2fwdtest.Check(t, l2fwd.Run) }

func TestWrongOptions(t *testing.T) {
	mac := []byte{2, 0, 0, 0, 0, 1}
	two := [2]l2fwd.Port{{Name: "a", PeerMAC: mac}, {Name: "b", PeerMAC: mac}}
	for _, c := range []struct {
		name, want string
		o          l2fwd.Options
	}{
		{"same interface", "different interfaces", l2fwd.Options{Ports: [2]l2fwd.Port{two[0], two[0]}}},
		{"no station", "b: no Ethernet address", l2fwd.Options{Ports: [2]l2fwd.Port{two[0], {Name: "b"}}}},
		{"ring size", "ring size 100: must be a power of two", l2fwd.Options{Ports: two, RingSize: 100}},
		{"no such interface", "no such network interface", l2fwd.Options{Ports: two, CPU: -1}},
		{"no such CPU", "pin to CPU 1000", l2fwd.Options{Ports: two, CPU: 1000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			done := make(chan error)
			go func() { // a thread of its own, as Run wants
				_, err := l2fwd.Run(t.Context(), c.o)
				done <- err
			}()
			if err := <-done; err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

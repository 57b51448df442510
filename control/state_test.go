package control

import (
	"slices"
	"testing"
)

func TestStatesOfAllProtocols(t *testing.T) {
	names := StateNames()
	for _, want := range []string{"SYN_SENT", "SYN_SENT2", "ESTABLISHED", "COOKIE_WAIT", "HEARTBEAT_SENT"} {
		if n := len(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s != want })); n != 1 {
			t.Errorf("%s is there %d times among %v, want once", want, n, names)
		}
	}
	if slices.Contains(names, "NONE") {
		t.Errorf("NONE is no state to ask for: %v", names)
	}
	for proto, want := range map[uint8]bool{protoTCP: true, protoSCTP: true, protoUDP: false, protoICMP: false} {
		if hasState(proto) != want {
			t.Errorf("protocol %d has states: %v, want %v", proto, !want, want)
		}
	}
}

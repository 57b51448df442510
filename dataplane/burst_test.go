package dataplane

import (
	"reflect"
	"testing"
)

// The stages walk through an array of packets: they find each by a shift, and it
// touches no third line.
func TestPacketsFillTwoLines(t *testing.T) {
	if n := reflect.TypeFor[pkt]().Size(); n != 128 {
		t.Errorf("a packet of a burst takes %d bytes, want 128", n)
	}
}

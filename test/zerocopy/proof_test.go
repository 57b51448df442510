package zerocopy

import (
	"strconv"
	"strings"
	"testing"
)

// Functions of the kernel that tell how packets come and go, counted by kprobes.
const (
	copyRX = "xp_alloc"                       // takes a frame to copy a received packet into
	copyTX = "__xsk_generic_xmit"             // copies packets out of frames
	zeroRX = "xp_alloc_batch"                 // takes frames for the NIC to write into
	zeroTX = "xsk_tx_peek_release_desc_batch" // takes descriptors for the NIC to read from
)

// proofGroup is the name of our events in tracefs.
const proofGroup = "proof"

// countCalls makes the kernel count the calls of the functions above.
func (m *machine) countCalls(t *testing.T) {
	t.Helper()
	script := "cd /sys/kernel/tracing"
	for _, f := range []string{copyRX, copyTX, zeroRX, zeroTX} {
		script += " && echo p:" + proofGroup + "/" + f + " " + f + " >>kprobe_events"
	}
	m.run(t, "sh", "-c", script+" && echo 1 >events/"+proofGroup+"/enable")
}

// calls returns how often each function was called since countCalls.
func (m *machine) calls(t *testing.T) map[string]uint64 {
	t.Helper()
	counts := make(map[string]uint64)
	for line := range strings.Lines(m.run(t, "cat", "/sys/kernel/tracing/kprobe_profile")) {
		fields := strings.Fields(line) // name, hits, misses
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			t.Fatalf("kprobe_profile: %q: %v", line, err)
		}
		counts[fields[0]] = n
	}
	if len(counts) != 4 {
		t.Fatalf("4 functions are to be counted, %v are", counts)
	}
	return counts
}

// callsDuring returns how often each function is called while f runs.
func (m *machine) callsDuring(t *testing.T, f func()) map[string]uint64 {
	t.Helper()
	before := m.calls(t)
	f()
	after := m.calls(t)
	for name := range after {
		after[name] -= before[name]
	}
	t.Logf("calls: %v", after)
	return after
}

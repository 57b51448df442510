package zerocopy

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// In zero-copy mode virtio_net has the NIC read, before each packet that it sends, a
// header from a wrong address: that which the driver's variable would have if it lay in
// the kernel's image, and not in a module (docs/decisions/0021-virtio-net-header.md).
// Nothing arrives unless zeros are there. With the address space randomised that is
// anybody's memory; as the machine is started, it is memory that nobody has.

// The memory that is kept from the kernel, in bytes: where addresses of modules lead,
// which begin 1 GiB behind those of the kernel.
const (
	keptFrom = 1 << 30
	keptSize = 512 << 20
)

// headerSize is the length of the header in bytes, and a little more.
const headerSize = 32

// headerPlace returns the physical address that the NIC reads headers from.
func (m *machine) headerPlace(t *testing.T) uint64 {
	t.Helper()
	variable := m.address(t, " xsk_hdr\t.*virtio_net", "/proc/kallsyms")
	virtual := m.address(t, " _text$", "/proc/kallsyms")
	physical := m.address(t, "Kernel code", "/proc/iomem")
	return variable - virtual + physical
}

// address returns the one that stands in front of the line of a file that matches.
func (m *machine) address(t *testing.T, pattern, file string) uint64 {
	t.Helper()
	line := m.run(t, "grep", "-m1", pattern, file)
	n, err := strconv.ParseUint(regexp.MustCompile("[0-9a-f]+").FindString(line), 16, 64)
	if err != nil {
		t.Fatalf("%s: %q: %v", file, line, err)
	}
	return n
}

// checkHeader demands that the NIC reads zeros as headers, and goes on doing so.
func (m *machine) checkHeader(t *testing.T) {
	t.Helper()
	place := m.headerPlace(t)
	if place < keptFrom || place+headerSize > keptFrom+keptSize {
		t.Fatalf("the NIC reads headers at %#x, and memory is kept free for that from %#x to %#x: nothing would be sent reliably", place, keptFrom, keptFrom+keptSize)
	}
	for at := place; at < place+headerSize; at += 8 {
		if word := strings.TrimSpace(m.run(t, "devmem", fmt.Sprintf("%#x", at), "64")); word != "0x0000000000000000" {
			t.Fatalf("the NIC reads headers at %#x, where %s is at %#x: nothing that is sent would arrive", place, word, at)
		}
	}
}

// testHeader: with anything but zeros there, what is sent is lost, of which no counter
// tells, and no frame; with zeros again it arrives. If packets arrive all the same, the
// kernel has been repaired, which is no fault of what is tested here.
func testHeader(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, small...)
	s.ping(t)
	place := fmt.Sprintf("%#x", m.headerPlace(t))
	before, _ := g.counters(t)
	m.run(t, "devmem", place, "32", "0xff00") // a kind of segmentation that there is not
	lost := 0
	for range 3 {
		if !s.answered("2") {
			lost++
		}
	}
	switch lost {
	case 3:
	case 0:
		t.Log("WARNING: this kernel's virtio_net sends whatever is at the place of its header: it has been repaired, so let xdpct trust it (xsk.ErrHeaderAddress)")
	default:
		t.Errorf("%d of 3 pings are lost though the NIC has no valid headers to read", lost)
	}
	after, _ := g.counters(t)
	for name := range after {
		if (strings.HasPrefix(name, "drop_") || name == "tx_errors") && after[name] != before[name] {
			t.Errorf("%s has grown from %d to %d", name, before[name], after[name])
		}
	}
	m.run(t, "devmem", place, "32", "0")
	s.ping(t)
	g.checkLedger(t)
}

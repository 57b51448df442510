package zerocopy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/test/lab"
)

// testUnplug: NICs that are taken from their driver at work and given back. The frames
// that the driver had are lost, and told as such; all others stay, and so does the
// connection.
func testUnplug(t *testing.T, m *machine, s *site) {
	g := m.startGateway(t, small...)
	u := s.startUpload(t)
	lost := uint64(0)
	for _, nic := range []struct{ name, address string }{{"wan", lab.GatewayWAN}, {"lan", lab.GatewayLAN}} {
		device := m.unplug(t, nic.name)
		g.waitOutput(t, `msg="interface is gone: .*name=`+nic.name)
		lost = g.checkLost(t, lost)
		m.plugIn(t, device, nic.name, nic.address)
		g.waitOutput(t, `msg="interface is served again" name=`+nic.name)
		g.waitLink(t, nic.name, "up")
		u.waitFor(t, 1_000_000)
	}
	u.finish(t)
	s.carry(t)
	g.checkMode(t, "zero-copy")
	g.checkLedger(t)
}

// unplug takes a NIC from its driver and returns the name of the device.
func (m *machine) unplug(t *testing.T, nic string) string {
	t.Helper()
	device := strings.TrimSpace(m.run(t, "sh", "-c", "basename $(readlink /sys/class/net/"+nic+"/device)"))
	m.run(t, "sh", "-c", "echo "+device+" >/sys/bus/virtio/drivers/virtio_net/unbind")
	return device
}

// plugIn gives a device back to its driver and makes the NIC what it was.
func (m *machine) plugIn(t *testing.T, device, nic, address string) {
	t.Helper()
	m.run(t, "sh", "-c", fmt.Sprintf("set -e; echo %s >/sys/bus/virtio/drivers/virtio_net/bind; ip link set $(ls /sys/bus/virtio/devices/%[1]s/net) name %s; ip link set %[2]s up; ip addr add %s/24 dev %[2]s", device, nic, address))
}

// checkLost demands that more frames are counted as lost than before, no more than the
// driver of one NIC can have had, and all others found. It returns how many.
func (g *gateway) checkLost(t *testing.T, before uint64) uint64 {
	t.Helper()
	var c map[string]uint64
	lab.Eventually(t, patience, "lost frames are counted", func() bool {
		c, _ = g.counters(t)
		return c["frames_lost"] > before && c["frames_missing"] == 0
	})
	t.Logf("frames lost: %d, of all %d are left", c["frames_lost"], c["frames"])
	if lost := c["frames_lost"] - before; lost > 2*256*queues {
		t.Errorf("%d frames are lost, the rings of a NIC hold %d", lost, 2*256*queues)
	}
	return c["frames_lost"]
}

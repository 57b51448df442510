package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xdpct/xdpct/dataplane/xsk"
)

// frameHeadroom is what the kernel keeps free in front of a packet in its
// frame, in bytes (XDP_PACKET_HEADROOM).
const frameHeadroom = 256

// ethernetHeader is the length of an Ethernet header in bytes.
const ethernetHeader = 14

// copyDrivers are known to have no zero-copy. Immutable.
var copyDrivers = []string{"veth", "tun", "bridge", "bonding", "macvlan", "dummy"}

// zeroCopyDrivers are known to do zero-copy. Immutable. What a driver really
// does is seen only when a socket is bound, so that a driver that is not here
// is worth a warning and no more.
var zeroCopyDrivers = []string{
	"bnxt_en", "dpaa2-eth", "fsl_dpaa2_eth", "gve", "i40e", "ice", "idpf", "igb", "igc", "ixgbe", "ixgbevf",
	"mlx5_core", "nfp", "stmmaceth", "st_gmac", "tsnep", "virtio_net",
}

// checkPort judges one interface.
func (f *findings) checkPort(cfg *runConfig, p *portFacts) {
	if p.err != nil {
		todo := ""
		if errors.Is(p.err, xsk.ErrNoPort) {
			todo = "check the name (ip link)"
		}
		f.fail(p.name, p.err.Error(), todo)
		return
	}
	d := &p.device
	driver := d.Driver
	if driver == "" {
		driver = "unknown"
	}
	f.ok(p.name, "%s, driver %s, MTU %d, %d queues", p.role, driver, d.MTU, d.Queues())
	if !d.Up {
		f.fail(p.name, "is down", "ip link set "+p.name+" up")
	}
	if len(d.MAC) != 6 {
		f.fail(p.name, "has no Ethernet address: only Ethernet interfaces can be used", "name another interface")
	}
	f.checkDriver(cfg, p)
	f.checkMTU(cfg, p)
	f.checkAttached(p)
	f.checkAddresses(cfg, p)
	if p.rpFilter == "1" {
		f.ok(p.name, "rp_filter is strict: it concerns only packets for this machine itself")
	}
}

// checkDriver judges offloads and zero-copy.
func (f *findings) checkDriver(cfg *runConfig, p *portFacts) {
	for _, o := range p.device.Offloads {
		if o.GenericOnly && cfg.XDP != xsk.AttachGeneric {
			continue
		}
		f.warn(p.name, o.Flag+" is on: "+o.Why, "ethtool -K "+p.name+" "+o.Flag+" off")
	}
	if p.device.Driver == "veth" && !cfg.NoChecksums {
		f.warn(p.name, "is a veth: its peer may leave checksums unfinished, and such packets are dropped as invalid",
			"ethtool -K PEER tx off, or give --checksum off")
	}
	switch {
	case p.device.Distrust != nil && cfg.ZeroCopy == xsk.ZeroCopyOn:
		f.warn(p.name, p.device.Distrust.Error(), "--zerocopy auto falls back to copies")
	case p.device.Distrust != nil && cfg.ZeroCopy == xsk.ZeroCopyAuto:
		f.ok(p.name, "packets are copied: %v", p.device.Distrust)
	case cfg.ZeroCopy != xsk.ZeroCopyOn || slices.Contains(zeroCopyDrivers, p.device.Driver):
	case slices.Contains(copyDrivers, p.device.Driver):
		f.fail(p.name, "driver "+p.device.Driver+" cannot do zero-copy", "--zerocopy auto falls back to copies")
	default:
		f.warn(p.name, "driver "+p.device.Driver+" is not known to do zero-copy", "--zerocopy auto falls back to copies")
	}
}

// checkMTU judges whether the largest packet fits into a frame.
func (f *findings) checkMTU(cfg *runConfig, p *portFacts) {
	room := cfg.FrameSize - frameHeadroom - ethernetHeader
	if p.device.MTU <= room {
		return
	}
	todo := fmt.Sprintf("ip link set %s mtu %d", p.name, min(room, 1500))
	if p.device.MTU <= 4096-frameHeadroom-ethernetHeader {
		todo = "give --frame-size 4096, or " + todo
	}
	f.fail(p.name, fmt.Sprintf("MTU %d: a frame of %d bytes holds packets up to %d", p.device.MTU, cfg.FrameSize, room), todo)
}

// checkAttached judges who else uses the interface.
func (f *findings) checkAttached(p *portFacts) {
	if p.program != 0 {
		f.fail(p.name, fmt.Sprintf("another XDP program is attached (id %d)", p.program),
			"stop its owner, or take it off: ip link set "+p.name+" xdp off")
	}
	if len(p.busy) > 0 {
		f.fail(p.name, "another AF_XDP socket holds queue "+joinInts(p.busy), "stop its owner (ss --xdp -p)")
	}
}

// checkAddresses judges the addresses of the interface itself.
func (f *findings) checkAddresses(cfg *runConfig, p *portFacts) {
	switch {
	case len(p.addrs) > 0:
		var list []string
		for _, a := range p.addrs {
			list = append(list, a.String())
		}
		f.ok(p.name, "addresses %s", strings.Join(list, " "))
	case p.role == "external" && cfg.Masquerade:
		f.fail(p.name, "has no address to masquerade as", "ip addr add ADDR/BITS dev "+p.name+", or give --snat")
	default:
		f.warn(p.name, "has no address: hosts there cannot use it as next hop", "ip addr add ADDR/BITS dev "+p.name)
	}
}

// checkQueues judges the queues of all interfaces together.
func (f *findings) checkQueues(cfg *runConfig, m *machine) {
	counts := make(map[int]bool)
	for i := range m.ports {
		p := &m.ports[i]
		if p.err != nil {
			continue
		}
		d := &p.device
		counts[p.sockets()] = true
		if d.RXQueues > d.TXQueues {
			f.fail(p.name, fmt.Sprintf("%d receive but %d send queues: each needs both", d.RXQueues, d.TXQueues),
				fmt.Sprintf("ethtool -L %s combined %d", p.name, d.Queues()))
		}
		if cfg.Queues != 0 && cfg.Queues != d.RXQueues {
			f.fail(p.name, fmt.Sprintf("has %d receive queues, --queues asks for %d", d.RXQueues, cfg.Queues),
				fmt.Sprintf("ethtool -L %s combined %d, or leave --queues out", p.name, cfg.Queues))
		}
	}
	if len(counts) > 1 {
		f.warn("queues", "interfaces differ in their number of queues: some workers get less work", "ethtool -L IF combined N")
	}
}

// joinInts prints numbers with commas.
func joinInts(n []int) string {
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(n), "[]"), " ", ",")
}

package xsk

import (
	"errors"
	"fmt"
	"net"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Device is what the kernel tells of an interface that shall become a port.
type Device struct {
	Name     string
	Ifindex  int
	Driver   string // "" if the driver does not tell, as for lo
	MAC      net.HardwareAddr
	MTU      int // bytes, without the Ethernet header
	Up       bool
	RXQueues int // in use now
	TXQueues int // in use now
	// Offloads that are on and that the packet path cannot live with.
	Offloads []Offload
	RSS      RSS // how it spreads packets over its receive queues
	// Distrust is why zero-copy may go wrong here, if the kernel offers it; nil: nothing
	// is known. An error that is to be shown, see ErrHeaderAddress.
	Distrust error
}

// Offload is a feature of an interface that must be off.
type Offload struct {
	Name string // kernel's name of the feature
	Flag string // ethtool's: ethtool -K IF Flag off
	Why  string // what goes wrong
	// GenericOnly: it hurts a program in generic mode only.
	GenericOnly bool
}

// harmful lists the offloads that Device reports. Immutable.
var harmful = [...]Offload{
	{Name: "rx-lro", Flag: "lro", Why: "received packets are merged beyond the MTU"},
	{Name: "rx-gro-hw", Flag: "rx-gro-hw", Why: "received packets are merged beyond the MTU"},
	{Name: "rx-vlan-hw-parse", Flag: "rxvlan", Why: "VLAN tags are taken off before the XDP program sees them"},
	{Name: "rx-vlan-stag-hw-parse", Flag: "rx-vlan-stag-hw-parse", Why: "802.1ad tags are taken off before the XDP program sees them"},
	{Name: "rx-gro", Flag: "gro", Why: "received packets are merged before a generic-mode XDP program sees them", GenericOnly: true},
}

// ethernetHeader is the length of an untagged Ethernet header in bytes.
const ethernetHeader = 14

// ReadDevice asks the kernel about an interface in the network namespace of the
// calling thread. Errors wrap ErrNoPort if there is none.
func ReadDevice(name string) (Device, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			err = ErrNoPort
		}
		return Device{}, fmt.Errorf("read interface %s: %w", name, err)
	}
	a := l.Attrs()
	d := Device{
		Name: a.Name, Ifindex: a.Index, MAC: a.HardwareAddr, MTU: a.MTU,
		Up:       a.Flags&net.FlagUp != 0,
		RXQueues: max(a.NumRxQueues, 1), TXQueues: max(a.NumTxQueues, 1),
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return Device{}, fmt.Errorf("read interface %s: open ethtool: %w", name, err)
	}
	defer e.Close()
	if d.Driver, err = e.DriverName(a.Name); unsupported(err) != nil {
		return Device{}, fmt.Errorf("read driver of %s: %w", name, err)
	}
	d.Distrust = distrust(d.Driver)
	channels, err := e.GetChannels(a.Name)
	switch {
	case err == nil:
		d.RXQueues = max(int(channels.RxCount+channels.CombinedCount), 1)
		d.TXQueues = max(int(channels.TxCount+channels.CombinedCount), 1)
	case unsupported(err) != nil:
		return Device{}, fmt.Errorf("read channels of %s: %w", name, err)
	}
	features, err := e.Features(a.Name)
	if unsupported(err) != nil {
		return Device{}, fmt.Errorf("read offloads of %s: %w", name, err)
	}
	for _, o := range harmful {
		if features[o.Name] {
			d.Offloads = append(d.Offloads, o)
		}
	}
	if d.RSS, err = readRSS(a.Name); err != nil {
		return Device{}, fmt.Errorf("read RSS of %s: %w", name, err)
	}
	return d, nil
}

// unsupported returns nil for an error that only says that the driver has no
// such ethtool command.
func unsupported(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// Queues returns the number of queues that can have a socket which both
// receives and sends.
func (d *Device) Queues() int { return min(d.RXQueues, d.TXQueues) }

// SeparateTX reports whether the driver sends from a NAPI instance of its own, which a
// busy poll of the receive queue leaves alone: drivers/net/virtio_net.c.
func (d *Device) SeparateTX() bool { return d.Driver == "virtio_net" }

// FitsFrame reports whether the largest packet of the device fits into the
// frames of u. A VLAN tag is not counted: tagged frames are not ours.
func (d *Device) FitsFrame(u *UMEM) bool { return d.MTU+ethernetHeader <= u.MaxPacket() }

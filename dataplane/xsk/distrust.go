package xsk

import (
	"errors"
	"os"
)

// ErrHeaderAddress is why zero-copy of virtio_net is not to be trusted: the driver puts
// one constant header before all that it sends, which lies in the driver's own memory,
// and tells the device a physical address of it that is right only where the driver is a
// part of the kernel. Elsewhere the device reads what somebody else has at that address:
// with anything but zeros there, packets are lost or damaged, though the driver gets
// them back as sent. See docs/decisions/0021-virtio-net-header.md.
var ErrHeaderAddress = errors.New("as a module, virtio_net may lose or damage all that it sends in zero-copy mode")

// virtioModule exists where virtio_net is a module.
const virtioModule = "/sys/module/virtio_net/initstate"

// distrust returns why the zero-copy of a driver may go wrong where the kernel offers
// it; nil if nothing is known.
func distrust(driver string) error {
	if driver != "virtio_net" {
		return nil
	}
	if _, err := os.Stat(virtioModule); err != nil {
		return nil
	}
	return ErrHeaderAddress
}

package lab

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// OpenTAP opens the queues of a TAP device of the namespace, for a virtual machine to
// take them over. What it reads and writes has a virtio_net header in front.
func (n *Namespace) OpenTAP(t testing.TB, ifname string, queues int) []*os.File {
	t.Helper()
	var files []*os.File
	err := n.Do(func() error {
		for range queues {
			f, err := openTAP(ifname)
			if err != nil {
				return err
			}
			files = append(files, f)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: open TAP device %s: %v", n.Name, ifname, err)
	}
	return files
}

func openTAP(ifname string) (*os.File, error) {
	request, err := unix.NewIfreq(ifname)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), ifname), nil
}

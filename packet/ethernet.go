package packet

import "encoding/binary"

// EthernetLen is the length of an Ethernet header without tags, in bytes.
const EthernetLen = 14

// EtherTypes that the gateway looks at.
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeIPv6 uint16 = 0x86dd
	EtherTypeVLAN uint16 = 0x8100
	EtherTypeQinQ uint16 = 0x88a8
)

// Ethernet is a view of an Ethernet header (IEEE 802.3), at least 14 bytes.
type Ethernet []byte

// Dst returns the destination MAC address, 6 bytes of the frame itself.
func (e Ethernet) Dst() []byte { return e[0:6:6] }

// Src returns the source MAC address, 6 bytes of the frame itself.
func (e Ethernet) Src() []byte { return e[6:12:12] }

// Type returns the EtherType.
func (e Ethernet) Type() uint16 { return binary.BigEndian.Uint16(e[12:]) }

// SetAddrs writes both MAC addresses.
func (e Ethernet) SetAddrs(dst, src *[6]byte) {
	_ = e[11]
	copy(e[0:6], dst[:])
	copy(e[6:12], src[:])
}

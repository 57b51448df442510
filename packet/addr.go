package packet

import (
	"encoding/binary"
	"net/netip"
)

// Family is an address family, numbered as the kernel does (AF_INET, AF_INET6),
// since conntrack prints this number as l3proto.
type Family uint8

// The two address families.
const (
	IPv4 Family = 2
	IPv6 Family = 10
)

// String returns "ipv4" or "ipv6", as conntrack prints it.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	}
	return "unknown"
}

// Addr is an IP address as an integer in host order: two words that compare,
// hash and copy in a few instructions. An IPv4 address has Hi 0 and its 32-bit
// value in Lo. The family is kept beside it, never inside.
type Addr struct{ Hi, Lo uint64 }

// AddrFrom4 reads an IPv4 address from 4 bytes in network order.
func AddrFrom4(b []byte) Addr {
	return Addr{Lo: uint64(binary.BigEndian.Uint32(b))}
}

// AddrFrom16 reads an IPv6 address from 16 bytes in network order.
func AddrFrom16(b []byte) Addr {
	_ = b[15]
	return Addr{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

// AddrOf converts a netip address; a 4-in-6 address becomes its IPv4 value.
func AddrOf(a netip.Addr) Addr {
	if a = a.Unmap(); a.Is4() {
		b := a.As4()
		return AddrFrom4(b[:])
	}
	b := a.As16()
	return AddrFrom16(b[:])
}

// FamilyOf returns the family of a netip address; 4-in-6 counts as IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Netip converts to a netip address of family f.
func (a Addr) Netip(f Family) netip.Addr {
	if f == IPv4 {
		var b [4]byte
		a.Put4(b[:])
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	a.Put16(b[:])
	return netip.AddrFrom16(b)
}

// Put4 writes an IPv4 address to 4 bytes in network order.
func (a Addr) Put4(b []byte) { binary.BigEndian.PutUint32(b, uint32(a.Lo)) }

// Put16 writes an IPv6 address to 16 bytes in network order.
func (a Addr) Put16(b []byte) {
	_ = b[15]
	binary.BigEndian.PutUint64(b, a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
}

// IsZero reports the unspecified address of either family.
func (a Addr) IsZero() bool { return a.Hi|a.Lo == 0 }

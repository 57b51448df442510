package fib

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// errShort means that a netlink message is shorter than its fixed header.
var errShort = errors.New("netlink message too short")

// decodeRoute reads an RTM_NEWROUTE or RTM_DELROUTE message. ok is false for
// routes that we do not follow: other families, other tables, cached ones.
func decodeRoute(b []byte) (r route, ok bool, err error) {
	if len(b) < unix.SizeofRtMsg {
		return r, false, errShort
	}
	msg := nl.DeserializeRtMsg(b)
	if (msg.Family != unix.AF_INET && msg.Family != unix.AF_INET6) || msg.Flags&unix.RTM_F_CLONED != 0 {
		return r, false, nil
	}
	attrs, err := nl.ParseRouteAttr(b[unix.SizeofRtMsg:])
	if err != nil {
		return r, false, err
	}
	r = route{kind: msg.Type, dead: msg.Flags&unix.RTNH_F_DEAD != 0}
	r.key = routeKey{table: uint32(msg.Table), tos: msg.Tos}
	dst := netip.IPv4Unspecified()
	if msg.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for _, a := range attrs {
		switch attrType(a) {
		case unix.RTA_DST:
			if dst, ok = netip.AddrFromSlice(a.Value); !ok {
				return r, false, errShort
			}
		case unix.RTA_TABLE:
			r.key.table = attrUint32(a)
		case unix.RTA_PRIORITY:
			r.key.metric = attrUint32(a)
		case unix.RTA_METRICS:
			r.mtu = decodeMTU(a.Value)
		case unix.RTA_MULTIPATH:
			r.multi = true
			r.decodeMultipath(a.Value)
		default:
			r.decodeHop(a)
		}
	}
	if r.key.table != unix.RT_TABLE_MAIN && r.key.table != unix.RT_TABLE_LOCAL {
		return r, false, nil
	}
	r.key.dst, err = dst.Prefix(int(msg.Dst_len))
	return r, err == nil, err
}

// decodeHop reads an attribute that stands in the message, or in a rtnexthop
// of a multipath route.
func (r *route) decodeHop(a syscall.NetlinkRouteAttr) {
	switch attrType(a) {
	case unix.RTA_OIF:
		r.ifindex = int(attrUint32(a))
	case unix.RTA_GATEWAY:
		r.gateway, _ = netip.AddrFromSlice(a.Value)
	case unix.RTA_VIA: // struct rtvia: family, address
		if len(a.Value) > 2 {
			r.gateway, _ = netip.AddrFromSlice(a.Value[2:])
		}
	case unix.RTA_ENCAP_TYPE:
		r.encap = true
	}
}

// decodeMultipath takes the first next hop that is not dead.
func (r *route) decodeMultipath(b []byte) {
	r.dead = true
	for len(b) >= unix.SizeofRtNexthop {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return
		}
		if b[2]&unix.RTNH_F_DEAD == 0 {
			attrs, err := nl.ParseRouteAttr(b[unix.SizeofRtNexthop:n])
			if err != nil {
				return
			}
			r.dead, r.ifindex = false, int(binary.NativeEndian.Uint32(b[4:]))
			for _, a := range attrs {
				r.decodeHop(a)
			}
			return
		}
		b = b[min((n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(b)):]
	}
}

// decodeMTU returns RTAX_MTU of nested metrics, or 0.
func decodeMTU(b []byte) uint32 {
	metrics, err := nl.ParseRouteAttr(b)
	if err != nil {
		return 0
	}
	for _, m := range metrics {
		if attrType(m) == unix.RTAX_MTU {
			return attrUint32(m)
		}
	}
	return 0
}

// attrType returns the type of an attribute without the flags of nested ones
// (NLA_TYPE_MASK).
func attrType(a syscall.NetlinkRouteAttr) uint16 {
	return a.Attr.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
}

// attrUint32 reads a 32-bit attribute; 0 if it is short.
func attrUint32(a syscall.NetlinkRouteAttr) uint32 {
	if len(a.Value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.Value)
}

// decodeNeighbour reads an RTM_NEWNEIGH or RTM_DELNEIGH message. ok is false
// for bridge and VXLAN entries, proxies, multicast and broadcast.
func decodeNeighbour(b []byte) (k neighKey, n neighbour, ok bool, err error) {
	if len(b) < unix.SizeofNdMsg {
		return k, n, false, errShort
	}
	if b[0] != unix.AF_INET && b[0] != unix.AF_INET6 { // ndm_family
		return k, n, false, nil
	}
	e, err := netlink.NeighDeserialize(b)
	if err != nil {
		return k, n, false, err
	}
	addr, ok := netip.AddrFromSlice(e.IP)
	if !ok || e.Flags&unix.NTF_PROXY != 0 || addr.IsMulticast() {
		return k, n, false, nil
	}
	n.state = uint16(e.State)
	if len(e.HardwareAddr) == len(n.mac) {
		copy(n.mac[:], e.HardwareAddr)
	}
	if n.mac == [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} {
		return k, n, false, nil
	}
	return neighKey{ifindex: e.LinkIndex, addr: addr}, n, true, nil
}

// newLink takes what we keep of an interface.
func newLink(l netlink.Link) link {
	a := l.Attrs()
	out := link{index: a.Index, name: a.Name, mtu: a.MTU}
	const running = unix.IFF_UP | unix.IFF_RUNNING
	out.up = a.RawFlags&running == running
	if len(a.HardwareAddr) == len(out.mac) {
		copy(out.mac[:], a.HardwareAddr)
	}
	return out
}

// newAddress takes what we keep of an address.
func newAddress(a *netlink.Addr) (address, bool) {
	if a.IPNet == nil {
		return address{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return address{}, false
	}
	bits, _ := a.Mask.Size()
	const kept = unix.IFA_F_SECONDARY | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED
	out := address{ifindex: a.LinkIndex, prefix: netip.PrefixFrom(ip, bits), scope: uint8(a.Scope)}
	out.flags = uint32(a.Flags) & kept // IFA_F_TEMPORARY is IFA_F_SECONDARY of IPv6
	return out, true
}

package diff

import (
	"fmt"
	"net/netip"
)

// hostNames are the names of hosts in scripts.
var hostNames = []string{"client", "client2", "hop", "target", "server", "server2", "router", "nat", "vip"}

// Side is a side of the gateway.
type Side uint8

// The sides.
const (
	Inside Side = iota
	Outside
)

// String is the name of the end of that side.
func (s Side) String() string { return [...]string{"client", "server"}[s] }

// sideOf is the side of a host.
func sideOf(host string) Side {
	switch host {
	case "client", "client2", "hop", "target":
		return Inside
	}
	return Outside
}

// Addresses of one script. Those of ends are its own, in 10.64.0.0/10 inside and
// 100.64.0.0/10 outside (fd64::/16 and 2001:db8:64::/48), so that everything can be
// told from the address; the gateway's and the NAT's are shared.
const (
	// maxScripts is how many scripts can have addresses at the same time.
	maxScripts = 16000
	// recordings is the number of the first recording in testdata; each has its own.
	recordings = 16001
	// sentinel is the number of what Gateway.sync sends.
	sentinel = 16200
	target   = 16128 // number of the network of the DNAT rules' target
)

var hostNumbers = map[string]byte{"client": 1, "client2": 2, "hop": 9, "target": 1, "server": 1, "server2": 2, "router": 9}

// address is the address of a host in script number n.
func address(host string, family, n int, nat natAddresses) netip.Addr {
	switch host {
	case "nat":
		return nat.source[family]
	case "vip":
		return nat.vip[family]
	case "target":
		n = target
	}
	number, known := hostNumbers[host]
	if !known {
		panic("no address for host " + host)
	}
	side := sideOf(host)
	if family == 4 {
		first := [...]byte{10, 100}[side]
		return netip.AddrFrom4([4]byte{first, 64 + byte(n>>8), byte(n), number})
	}
	prefix := [...]string{"fd64::%x:%x", "2001:db8:64::%x:%x"}[side]
	return netip.MustParseAddr(fmt.Sprintf(prefix, n, number))
}

// natAddresses are the gateway's addresses for NAT, by family.
type natAddresses struct{ source, vip map[int]netip.Addr }

// owner is the script number that an address belongs to.
func owner(a netip.Addr) (n int, ok bool) {
	b := a.AsSlice()
	if len(b) == 4 {
		n = int(b[1]&63)<<8 | int(b[2])
		ok = (b[0] == 10 || b[0] == 100) && b[1]&0xc0 == 64
	} else {
		n = int(b[12])<<8 | int(b[13])
		ok = b[0] == 0xfd && b[1] == 0x64 || b[0] == 0x20 && b[1] == 1 && b[5] == 0x64
	}
	return n, ok && n != target
}

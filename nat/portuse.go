package nat

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/xdpct/xdpct/packet"
)

// PortUseSlots is the number of counters of one address in PortUse: one per
// protocol (TCP, UDP, ICMP, in this order) and port or ICMP id.
const PortUseSlots = 3 * 65536

// errPortUseSize is returned by Register for memory of a wrong size.
var errPortUseSize = errors.New("port use memory has a wrong size")

// PortUse counts the flows and expectations that use each port of the
// addresses that are both the gateway's own and translated to (masquerade).
// The XDP program reads the same memory: a port in use is the gateway's, any
// other is the host's own.
//
// Shared by all workers: counters change by atomic adds only. The list of
// addresses is replaced as a whole; writers take mu, readers none.
type PortUse struct {
	mu    sync.Mutex
	addrs atomic.Pointer[[]portUseAddr]
}

// portUseAddr is the memory of one address.
type portUseAddr struct {
	addr   packet.Addr
	family packet.Family
	count  []uint32
}

// Register makes mem, PortUseSlots long and all zero, the counters of an
// address, in place of any before.
//
// Precondition: no flow uses the address yet.
func (u *PortUse) Register(f packet.Family, addr packet.Addr, mem []uint32) error {
	if len(mem) != PortUseSlots {
		return fmt.Errorf("%w: %d counters for %s, expected %d", errPortUseSize, len(mem), addr.Netip(f), PortUseSlots)
	}
	u.replace(f, addr, mem)
	return nil
}

// Unregister forgets an address; the flows that still use it are not counted
// any more.
func (u *PortUse) Unregister(f packet.Family, addr packet.Addr) { u.replace(f, addr, nil) }

func (u *PortUse) replace(f packet.Family, addr packet.Addr, mem []uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	var next []portUseAddr
	if old := u.addrs.Load(); old != nil {
		for _, a := range *old {
			if a.addr != addr || a.family != f {
				next = append(next, a)
			}
		}
	}
	if mem != nil {
		next = append(next, portUseAddr{addr, f, mem})
	}
	u.addrs.Store(&next)
}

// slot returns the counter of a port, or nil if the address or the protocol
// is not counted.
func (u *PortUse) slot(s *side) *uint32 {
	if u == nil {
		return nil
	}
	p := u.addrs.Load()
	if p == nil {
		return nil
	}
	k := portSlot(s.proto)
	if k < 0 {
		return nil
	}
	for i := range *p {
		if a := &(*p)[i]; a.addr == s.addr && a.family == s.family {
			return &a.count[k<<16|int(s.port)]
		}
	}
	return nil
}

// portSlot returns the table of a protocol in PortUse, or -1.
func portSlot(proto uint8) int {
	switch proto {
	case packet.ProtoTCP:
		return 0
	case packet.ProtoUDP:
		return 1
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return 2
	}
	return -1
}

// add counts one use of a port.
func (u *PortUse) add(s *side) {
	if c := u.slot(s); c != nil {
		atomic.AddUint32(c, 1)
	}
}

// sub takes one use back; a counter never goes below zero.
func (u *PortUse) sub(s *side) {
	c := u.slot(s)
	if c == nil {
		return
	}
	for {
		v := atomic.LoadUint32(c)
		if v == 0 || atomic.CompareAndSwapUint32(c, v, v-1) {
			return
		}
	}
}

// Hold counts a lasting use of a port, for example of a DNAT rule whose
// external address is also the gateway's own.
func (u *PortUse) Hold(proto uint8, f packet.Family, addr packet.Addr, port uint16) {
	u.add(&side{addr, port, proto, f})
}

// Count returns the uses of a port; 0 if the address is not registered.
func (u *PortUse) Count(proto uint8, f packet.Family, addr packet.Addr, port uint16) uint32 {
	if c := u.slot(&side{addr, port, proto, f}); c != nil {
		return atomic.LoadUint32(c)
	}
	return 0
}

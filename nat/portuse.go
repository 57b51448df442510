package nat

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/xdpct/xdpct/packet"
)

// PortUseSlots is the number of counters of one address in PortUse: four
// blocks of 65536, for TCP and UDP by port, for ICMP and ICMPv6 by query id,
// and for all other protocols by protocol number.
const PortUseSlots = 4 * 65536

// otherSlot is the block of the protocols without a block of their own.
const otherSlot = 3

// errPortUseSize is returned by Register for memory of a wrong size.
var errPortUseSize = errors.New("port use memory has a wrong size")

// PortUse counts what uses each port of the addresses that are both the
// gateway's own and translated to (masquerade). The XDP program reads the same
// memory: a port in use is the gateway's, any other is the host's own.
//
// What counts: each flow whose source is translated; each expectation; each flow
// that an expectation announced and whose destination is translated; and each
// call of Hold. A flow that a DNAT rule lets in does not count: its port is to be
// held for as long as the address is registered.
//
// A flow is counted if its address is registered when it is bound, and remembers
// by which registration. So flows may exist before Register, and outlive
// Unregister: none takes back what it did not add, unless it has seen its address
// be registered seven times more. Expectations and the flows that they announced
// remember nothing: one that is older than the registration takes a use back that
// was not its own, if there is one. End those before Register.
//
// Shared by all workers: counters change by atomic adds only. The list of
// addresses is replaced as a whole; writers take mu, readers none.
type PortUse struct {
	mu    sync.Mutex
	last  map[portUseKey]uint8 // number of each address's last registration; guarded by mu
	addrs atomic.Pointer[[]portUseAddr]
}

// registrations is how many registrations of one address can be told apart: what
// a flow remembers has three bits, and 0 means none.
const registrations = 7

// portUseKey names an address.
type portUseKey struct {
	addr   packet.Addr
	family packet.Family
}

// portUseAddr is the memory of one address.
type portUseAddr struct {
	portUseKey
	number uint8 // of the registration: 1 to registrations, in turn
	count  []uint32
}

// Register makes mem, PortUseSlots long and all zero, the counters of an
// address, in place of any before. Flows that exist are not counted.
func (u *PortUse) Register(f packet.Family, addr packet.Addr, mem []uint32) error {
	if len(mem) != PortUseSlots {
		return fmt.Errorf("%w: %d counters for %s, expected %d", errPortUseSize, len(mem), addr.Netip(f), PortUseSlots)
	}
	u.replace(f, addr, mem)
	return nil
}

// Unregister forgets an address; the flows that still use it are not counted
// any more, also not if the address is registered again. Its memory may be
// zeroed and registered anew, for this or another address.
func (u *PortUse) Unregister(f packet.Family, addr packet.Addr) { u.replace(f, addr, nil) }

func (u *PortUse) replace(f packet.Family, addr packet.Addr, mem []uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := portUseKey{addr, f}
	var next []portUseAddr
	if old := u.addrs.Load(); old != nil {
		for _, a := range *old {
			if a.portUseKey != key {
				next = append(next, a)
			}
		}
	}
	if mem != nil {
		if u.last == nil {
			u.last = make(map[portUseKey]uint8)
		}
		u.last[key] = u.last[key]%registrations + 1
		next = append(next, portUseAddr{key, u.last[key], mem})
	}
	u.addrs.Store(&next)
}

// slot returns the counter of a port and the number of its address's
// registration, or nil and 0 if the address is not registered.
func (u *PortUse) slot(s *side) (counter *uint32, registration uint8) {
	if u == nil {
		return nil, 0
	}
	p := u.addrs.Load()
	if p == nil {
		return nil, 0
	}
	for i := range *p {
		a := &(*p)[i]
		if a.addr != s.addr || a.family != s.family {
			continue
		}
		if k := portSlot(s.proto); k >= 0 {
			return &a.count[k<<16|int(s.port)], a.number
		}
		return &a.count[otherSlot<<16|int(s.proto)], a.number
	}
	return nil, 0
}

// portSlot returns the block of a protocol that has ports, or -1.
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
	if c, _ := u.slot(s); c != nil {
		atomic.AddUint32(c, 1)
	}
}

// sub takes one use back.
func (u *PortUse) sub(s *side) {
	if c, _ := u.slot(s); c != nil {
		decrement(c)
	}
}

// claim counts a flow's use of its external port and returns the registration
// that does; 0 if none.
func (u *PortUse) claim(s *side) (registration uint8) {
	c, registration := u.slot(s)
	if c != nil {
		atomic.AddUint32(c, 1)
	}
	return registration
}

// disclaim takes back what claim counted, if it counts still.
func (u *PortUse) disclaim(s *side, registration uint8) {
	if registration == 0 {
		return
	}
	if c, now := u.slot(s); now == registration {
		decrement(c)
	}
}

// decrement takes one from a counter, which never goes below zero.
func decrement(c *uint32) {
	for {
		v := atomic.LoadUint32(c)
		if v == 0 || atomic.CompareAndSwapUint32(c, v, v-1) {
			return
		}
	}
}

// Hold counts a lasting use of a port, for example of a DNAT rule whose
// external address is also the gateway's own. It ends with Unregister.
func (u *PortUse) Hold(proto uint8, f packet.Family, addr packet.Addr, port uint16) {
	u.add(&side{addr, port, proto, f})
}

// Count returns the uses of a port; 0 if the address is not registered.
func (u *PortUse) Count(proto uint8, f packet.Family, addr packet.Addr, port uint16) uint32 {
	if c, _ := u.slot(&side{addr, port, proto, f}); c != nil {
		return atomic.LoadUint32(c)
	}
	return 0
}

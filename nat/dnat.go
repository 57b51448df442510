package nat

import "github.com/xdpct/xdpct/packet"

// dnatTable finds DNAT rules by their external side and, for steering, by
// their target and their external address. Immutable after construction.
type dnatTable struct {
	from, to []side   // rule i: external side, target
	addr     []side   // rule i: external address alone
	byFrom   []uint16 // open addressing, rule number + 1, 0 = empty
	byTo     []uint16
	byAddr   []uint16
}

// newDNATTable builds the table; the configuration has been validated.
func newDNATTable(rules []DNATRule) *dnatTable {
	size := 4
	for size < 2*len(rules) {
		size *= 2
	}
	d := &dnatTable{byFrom: make([]uint16, size), byTo: make([]uint16, size), byAddr: make([]uint16, size)}
	for i, r := range rules {
		f := packet.FamilyOf(r.Addr)
		d.from = append(d.from, side{packet.AddrOf(r.Addr), r.Port, r.Proto, f})
		d.to = append(d.to, side{packet.AddrOf(r.ToAddr), r.ToPort, r.Proto, f})
		d.addr = append(d.addr, side{addr: d.from[i].addr, family: f})
		d.put(d.byFrom, &d.from[i], i)
		d.put(d.byTo, &d.to[i], i)
		if d.find(d.byAddr, d.addr, &d.addr[i]) < 0 {
			d.put(d.byAddr, &d.addr[i], i)
		}
	}
	return d
}

func (d *dnatTable) slot(s *side, size int) int {
	x := (s.addr.Lo ^ s.addr.Hi ^ uint64(s.port)<<40 ^ uint64(s.proto)<<56) * 0x9e3779b97f4a7c15
	return int(x >> 40 & uint64(size-1))
}

func (d *dnatTable) put(index []uint16, s *side, rule int) {
	i := d.slot(s, len(index))
	for index[i] != 0 {
		i = (i + 1) & (len(index) - 1)
	}
	index[i] = uint16(rule + 1)
}

// find returns the number of the first rule whose side in sides is s, or -1.
func (d *dnatTable) find(index []uint16, sides []side, s *side) int {
	if len(sides) == 0 {
		return -1
	}
	for i := d.slot(s, len(index)); index[i] != 0; i = (i + 1) & (len(index) - 1) {
		if r := int(index[i]) - 1; sides[r] == *s {
			return r
		}
	}
	return -1
}

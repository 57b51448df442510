package nat_test

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// counted is a gateway whose only pool address may be registered.
type counted struct {
	*gateway
	use *nat.PortUse
	own packet.Addr
	mem []uint32
}

func newCounted(t *testing.T, rules ...string) *counted {
	t.Helper()
	cfg := snatConfig(t, "203.0.113.1")
	for _, s := range rules {
		r, err := nat.ParseDNAT(s)
		mustDo(t, err)
		cfg.DNAT = append(cfg.DNAT, r)
	}
	c := &counted{use: new(nat.PortUse), own: packet.AddrOf(addr("203.0.113.1")), mem: make([]uint32, nat.PortUseSlots)}
	c.gateway = newGateway(t, cfg, 0, c.use)
	return c
}

func (c *counted) register() {
	c.t.Helper()
	clear(c.mem)
	mustDo(c.t, c.use.Register(packet.IPv4, c.own, c.mem))
}

// check asserts the count of a port.
func (c *counted) check(when string, proto uint8, port uint16, want uint32) {
	c.t.Helper()
	if got := c.use.Count(proto, packet.IPv4, c.own, port); got != want {
		c.t.Errorf("%s: protocol %d port %d counts %d, want %d", when, proto, port, got, want)
	}
}

// checkZero asserts that nothing is counted.
func (c *counted) checkZero(when string) {
	c.t.Helper()
	for i, n := range c.mem {
		if n != 0 {
			c.t.Errorf("%s: slot %#x is %d", when, i, n)
		}
	}
}

// TestPortUseSlots is the layout that the XDP program knows.
func TestPortUseSlots(t *testing.T) {
	c := newCounted(t)
	c.register()
	for _, tt := range []struct {
		proto uint8
		port  uint16
		slot  int
	}{
		{packet.ProtoTCP, 65535, 0xffff}, {packet.ProtoUDP, 80, 0x10050}, {packet.ProtoICMP, 7, 0x20007},
		{packet.ProtoICMPv6, 8, 0x20008}, {packet.ProtoGRE, 0, 0x30000 + 47}, {packet.ProtoSCTP, 9, 0x30000 + 132}, {253, 0, 0x300fd},
	} {
		c.use.Hold(tt.proto, packet.IPv4, c.own, tt.port)
		if c.mem[tt.slot] != 1 {
			t.Errorf("protocol %d port %d is not counted in slot %#x", tt.proto, tt.port, tt.slot)
		}
		c.check("held", tt.proto, tt.port, 1)
	}
	if err := c.use.Register(packet.IPv4, c.own, make([]uint32, nat.PortUseSlots-1)); err == nil {
		t.Error("memory of a wrong size was taken")
	}
}

// TestPortUseOtherProtocols: the answers to masqueraded packets of any
// protocol are the gateway's while a flow lives.
func TestPortUseOtherProtocols(t *testing.T) {
	c := newCounted(t)
	c.register()
	const esp = 50
	for _, proto := range []uint8{packet.ProtoGRE, packet.ProtoSCTP, esp, 253} {
		_, a := c.mustOpen(proto, "10.0.0.5:0", "198.51.100.1:0")
		_, b := c.mustOpen(proto, "10.0.0.6:0", "198.51.100.2:0")
		c.check("two flows", proto, 0, 2)
		c.close(a)
		c.check("one flow", proto, 0, 1)
		c.close(b)
	}
	c.checkZero("at the end")
}

// TestPortUseCountsFlows: each flow counts, also those that share a mapping.
func TestPortUseCountsFlows(t *testing.T) {
	c := newCounted(t)
	c.register()
	_, a := c.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.1:53")
	_, b := c.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.2:53")
	c.check("two flows", packet.ProtoUDP, 7000, 2)
	c.close(a)
	c.check("one flow", packet.ProtoUDP, 7000, 1)
	c.close(b)
	_, d := c.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.1:53")
	moved, e := c.mustOpen(packet.ProtoUDP, "10.0.0.6:7000", "198.51.100.1:53")
	_, f := c.mustOpen(packet.ProtoUDP, "10.0.0.6:7000", "198.51.100.2:53")
	c.check("two flows of a mapping", packet.ProtoUDP, moved.Reply.DstPort, 2)
	for _, idx := range []uint32{d, e, f} {
		c.close(idx)
	}
	c.checkZero("at the end")
}

// TestPortUseOlderFlows: flows from before a registration take nothing back
// that newer ones count.
func TestPortUseOlderFlows(t *testing.T) {
	c := newCounted(t)
	_, old := c.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.1:53")
	c.register()
	_, a := c.mustOpen(packet.ProtoUDP, "10.0.0.7:7000", "198.51.100.2:53") // another host, the same port
	_, b := c.mustOpen(packet.ProtoUDP, "10.0.0.5:7000", "198.51.100.3:53") // the same host
	c.check("newer flows", packet.ProtoUDP, 7000, 2)
	c.close(old)
	c.check("older flow gone", packet.ProtoUDP, 7000, 2)
	c.close(a)
	c.close(b)
	c.checkZero("at the end")
}

// TestPortUseRegisterAgain: what an earlier registration counted is not taken
// from a later one of the same memory, nor do registrations of other addresses
// in between make them look the same.
func TestPortUseRegisterAgain(t *testing.T) {
	c := newCounted(t)
	other := packet.AddrOf(addr("203.0.113.2"))
	for again := 1; again < 7; again++ {
		c.register()
		_, old := c.mustOpen(packet.ProtoTCP, "10.0.0.5:7000", "198.51.100.1:80")
		c.use.Unregister(packet.IPv4, c.own)
		c.check("unregistered", packet.ProtoTCP, 7000, 0)
		_, between := c.mustOpen(packet.ProtoTCP, "10.0.0.6:7000", "198.51.100.2:80")
		for range again {
			mustDo(t, c.use.Register(packet.IPv4, other, make([]uint32, nat.PortUseSlots)))
			c.register()
		}
		_, a := c.mustOpen(packet.ProtoTCP, "10.0.0.7:7000", "198.51.100.3:80")
		c.check("registered again", packet.ProtoTCP, 7000, 1)
		c.close(old)
		c.close(between)
		c.check("older flows gone", packet.ProtoTCP, 7000, 1)
		c.close(a)
		c.checkZero("at the end")
	}
}

// TestPortUseOfDestinations: a rule's flows add nothing to its hold, an
// announced flow counts.
func TestPortUseOfDestinations(t *testing.T) {
	c := newCounted(t, "tcp:203.0.113.1:80=10.0.0.5:8080")
	orig := tuple(packet.ProtoTCP, "198.51.100.9:4000", "203.0.113.1:80")
	_, before := c.open(orig, nat.RealmExternal, nat.RealmInternal)
	c.register()
	c.use.Hold(packet.ProtoTCP, packet.IPv4, c.own, 80)
	orig.SrcPort++
	_, after := c.open(orig, nat.RealmExternal, nat.RealmInternal)
	c.check("two flows", packet.ProtoTCP, 80, 1)
	c.close(before)
	c.close(after)
	c.check("no flow", packet.ProtoTCP, 80, 1)

	orig = tuple(packet.ProtoTCP, "198.51.100.1:20", "203.0.113.1:6500")
	e := flowtable.Expectation{Tuple: orig, MasterOrig: tuple(packet.ProtoTCP, "10.0.0.5:40000", "198.51.100.1:21"),
		Dir: flowtable.DirOriginal, SavedAddr: packet.AddrOf(addr("10.0.0.5")), SavedPort: 6400}
	c.n.ReserveExpected(&e)
	c.check("expectation", packet.ProtoTCP, 6500, 1)
	choice := c.n.Expected(c.table, &orig, &e, nil, nil, 0)
	choice.Status |= flowtable.StatusExpected // as the worker does
	idx := c.insert(&orig, &choice)
	c.n.ReleaseExpected(&e)
	c.check("announced flow", packet.ProtoTCP, 6500, 1)
	c.close(idx)
	c.check("announced flow gone", packet.ProtoTCP, 6500, 0)
}

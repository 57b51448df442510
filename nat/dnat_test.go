package nat_test

import (
	"fmt"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// dnatConfig is one pool and one rule.
func dnatConfig(t *testing.T, pool, rule string) nat.Config {
	t.Helper()
	cfg := snatConfig(t, pool)
	r, err := nat.ParseDNAT(rule)
	mustDo(t, err)
	cfg.DNAT = []nat.DNATRule{r}
	return cfg
}

// TestChooseLeavesRulesPorts: the external side of a DNAT rule is given to no
// client, whether it would be kept, used again or found by search.
func TestChooseLeavesRulesPorts(t *testing.T) {
	cfg := dnatConfig(t, "203.0.113.1", "udp:203.0.113.1:7000=10.0.0.5:53")
	g := newGateway(t, cfg, 0, nil)
	for i := range 20 {
		c, _ := g.mustOpen(packet.ProtoUDP, "10.0.0.9:7000", fmt.Sprintf("198.51.100.1:%d", 1000+i))
		if c.Reply.DstPort == 7000 {
			t.Fatalf("flow %d: a client got the port of a rule", i)
		}
	}
	c, _ := g.mustOpen(packet.ProtoTCP, "10.0.0.9:7000", "198.51.100.1:1000")
	checkReply(t, c, "198.51.100.1:1000", "203.0.113.1:7000", flowtable.StatusSNAT) // the rule is for UDP

	// A client that has the pool's address is no exception.
	c, _ = g.open(tuple(packet.ProtoUDP, "203.0.113.1:7000", "198.51.100.1:53"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonNone || c.Reply.DstPort == 7000 {
		t.Errorf("%v, port %d: unchanged source with the port of a rule", c.Reason, c.Reply.DstPort)
	}

	// The only other port of the pool is searched and found; then there is none.
	cfg = dnatConfig(t, "203.0.113.1:7000-7001", "udp:203.0.113.1:7000=10.0.0.5:53")
	g = newGateway(t, cfg, 0, nil)
	c, _ = g.mustOpen(packet.ProtoUDP, "10.0.0.8:5000", "198.51.100.1:53")
	checkReply(t, c, "198.51.100.1:53", "203.0.113.1:7001", flowtable.StatusSNAT)
	c, _ = g.open(tuple(packet.ProtoUDP, "10.0.0.9:5000", "198.51.100.1:53"), nat.RealmInternal, nat.RealmExternal)
	if c.Reason != nat.ReasonPortsExhausted {
		t.Errorf("%v, port %d, want exhaustion", c.Reason, c.Reply.DstPort)
	}
}

// TestChooseKeepsRulesPortForTarget: what a server sends by itself from the
// port of its rule leaves by that port, and is chosen by the worker that both
// directions are steered to: the owner of the remote port.
func TestChooseKeepsRulesPortForTarget(t *testing.T) {
	cfg := dnatConfig(t, "203.0.113.1", "udp:203.0.113.1:5060=10.0.0.5:5060")
	cfg.Workers = 4
	for _, remote := range []uint16{5060, 64, 128, 192, 256} {
		g := newGateway(t, cfg, nat.PortOwner(remote, 4), nil)
		peer := fmt.Sprintf("198.51.100.1:%d", remote)
		c, _ := g.mustOpen(packet.ProtoUDP, "10.0.0.5:5060", peer)
		checkReply(t, c, peer, "203.0.113.1:5060", flowtable.StatusSNAT)
	}
	// Another port of the target, and the port of another host, are as any.
	g := newGateway(t, cfg, 2, nil)
	for _, src := range []string{"10.0.0.5:5061", "10.0.0.6:5060"} {
		c, _ := g.mustOpen(packet.ProtoUDP, src, "198.51.100.1:128")
		if p := c.Reply.DstPort; p == 5060 || nat.PortOwner(p, 4) != 2 {
			t.Errorf("%s got port %d of worker %d", src, p, nat.PortOwner(p, 4))
		}
	}
}

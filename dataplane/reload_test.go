package dataplane

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// settings are those that newPath makes a gateway with.
func settings() Settings {
	return Settings{NAT: nat.Config{SNAT: []nat.Pool{mustPool(poolAddr.String())}}, Helpers: helpers.NewSet(),
		Tracker: flowtable.NewTracker()}
}

// reload changes settings while the workers go on.
func (p *path) reload(s Settings) error {
	p.t.Helper()
	var err error
	p.whileRunning(func(context.Context) (int, error) {
		err = p.Reload(s)
		return 0, nil
	})
	return err
}

// mustReload is reload that has to succeed.
func (p *path) mustReload(s Settings) {
	p.t.Helper()
	if err := p.reload(s); err != nil {
		p.t.Fatal(err)
	}
}

// Flows keep their translation when rules come and go, however packets come to
// workers; new flows follow the rules of now.
func TestReloadKeepsFlows(t *testing.T) {
	ways := append([]spread{{"one worker", 1, tellNothing, atRandom}}, spreads...)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			p := way.open(t, manyFlows)
			all := p.manyConversations()
			s := settings()
			for _, rules := range []nat.Config{
				s.NAT, // no rules for the outside, none for IPv6, a smaller pool
				{SNAT: []nat.Pool{mustPool("198.51.100.90")}, DNAT: []nat.DNATRule{
					// On ports that flows of the inside have, and where others led.
					mustRule("tcp:198.51.100.32:1024=10.1.2.4:1"), mustRule("udp:198.51.100.33:5000=10.1.2.4:1"), mustRule("tcp:198.51.100.32:22=10.1.2.4:22"),
				}},
				{Masquerade: true},
			} {
				s.NAT = rules
				p.mustReload(s)
				for i := range all {
					p.goOn(&all[i])
				}
				p.checkFlows(len(all))
			}
			if n := p.counterValue("flows_new"); n != uint64(len(all)) {
				t.Errorf("%d flows were made, want %d", n, len(all))
			}
			p.checkAllEnds()
		})
	}
}

// checkAllEnds ends all flows and looks what is left.
func (p *path) checkAllEnds() {
	p.t.Helper()
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			w.removeFlow(idx, flowtable.EndDeleted)
		}
	}
	if p.counterValue("nat_mappings") != 0 || p.path.strays.Len() != 0 {
		p.t.Errorf("%d mappings and %d strays are left", p.counterValue("nat_mappings"), p.path.strays.Len())
	}
}

// No packet of a flow is lost while rules come and go under it.
func TestReloadUnderTraffic(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(manyFlows)
		all := p.manyConversations()
		done := make(chan error)
		go func() {
			var err error
			for i := 0; err == nil && i < 40; i++ {
				s := settings()
				if i%2 == 1 {
					o := Options{}
					manyFlows(&o)
					s.NAT = o.NAT
				}
				err = p.Reload(s)
			}
			done <- err
		}()
		for i := 0; ; i++ {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				if n := p.counterValue("flows_new"); n != uint64(len(all)) {
					t.Errorf("%d flows were made, want %d", n, len(all))
				}
				return
			default:
				p.goOn(&all[i%len(all)])
			}
		}
	})
}

// A rule that is added lets flows in, one that is gone lets no new ones in.
func TestReloadRules(t *testing.T) {
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		p := open(nil)
		dropped := func() uint64 { return p.counterValue("drop_external_new") }
		syn := spec{src: serverAddr, dst: poolAddr, sport: 9, dport: 22, tcp: &layers.TCP{SYN: true}}
		if p.send(wan, build(t, wan, syn)); dropped() != 1 {
			t.Fatal("let in without a rule")
		}
		s := settings()
		s.NAT.DNAT = []nat.DNATRule{mustRule(sshRule)}
		p.mustReload(s)
		var all []conversation
		for _, port := range somePorts {
			all = append(all, p.converse(wan, true, at(serverAddr, port), at(poolAddr, 22)))
		}
		s.NAT.DNAT = nil
		p.mustReload(s)
		if p.send(wan, build(t, wan, syn)); dropped() != 2 {
			t.Error("let in after the rule is gone")
		}
		for i := range all {
			p.goOn(&all[i])
		}
		p.checkFlows(len(all))
	})
}

// New flows leave by the pool of now, old ones by theirs; IPv6 may come later.
func TestReloadPool(t *testing.T) {
	p := newPath(t, nil)
	old := p.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 80))
	plain := p.converse(lan, true, at(client6Addr, 4000), at(server6Addr, 80))
	s := settings()
	s.NAT.SNAT = []nat.Pool{mustPool("198.51.100.77:7000-7999"), mustPool("[2001:db8:32::1]:7000-7063")}
	p.mustReload(s)
	p.goOn(&old)
	p.goOn(&plain)
	if c := p.converse(lan, true, at(clientAddr, 4001), at(serverAddr, 80)); c.came[0].Addr() != netip.MustParseAddr("198.51.100.77") || c.came[0].Port()/1000 != 7 {
		t.Errorf("left as %v", c.came)
	}
	if c := p.converse(lan, true, at(client6Addr, 4001), at(server6Addr, 80)); c.came[0].Addr() != netip.MustParseAddr("2001:db8:32::1") {
		t.Errorf("left as %v", c.came)
	}
	p.checkAllEnds()
}

// Time-outs count from the next packet on, helpers for new flows; so do the rest.
func TestReloadTimeoutsAndHelpers(t *testing.T) {
	p := newPath(t, func(o *Options) { o.Helpers = nil })
	udp := p.converse(lan, false, at(clientAddr, 4000), at(serverAddr, 53))
	ftp := p.converse(lan, true, at(clientAddr, 4000), at(serverAddr, 21))
	timeoutOf := func(c *conversation) (flowtable.Tick, string) {
		for _, s := range p.listed() {
			if s.Orig.SrcPort == c.asked[0].Port() && s.Orig.DstPort == c.asked[1].Port() {
				return s.FullTimeout / flowtable.TicksPerSecond, helpers.ID(s.Helper).Name()
			}
		}
		return 0, "no flow"
	}
	s := settings()
	if err := s.Tracker.Timeouts.Set("udp", 77e9); err != nil {
		t.Fatal(err)
	}
	spec, err := helpers.ParseSpec("ftp")
	if err != nil {
		t.Fatal(err)
	}
	s.Helpers = helpers.NewSet(spec)
	s.PassInvalid = true
	p.mustReload(s)
	if left, _ := timeoutOf(&udp); left != 30 {
		t.Errorf("%d s before another packet", left)
	}
	p.goOn(&udp)
	if left, _ := timeoutOf(&udp); left != 77 {
		t.Errorf("%d s after another packet, want 77", left)
	}
	if d := p.Timeouts().UDP.Seconds(); d != 77 {
		t.Errorf("told as %d", d)
	}
	p.goOn(&ftp)
	if _, name := timeoutOf(&ftp); name != "" {
		t.Errorf("the flow of before has the helper %q", name)
	}
	again := p.converse(lan, true, at(clientAddr, 4001), at(serverAddr, 21))
	if _, name := timeoutOf(&again); name != "ftp" {
		t.Errorf("the new flow has the helper %q", name)
	}
	stray := l4(true, at(clientAddr, 4002), at(serverAddr, 80), layers.TCP{SYN: true, FIN: true})
	if out := p.send(lan, build(t, lan, stray)); len(out) != 1 {
		t.Error("--invalid pass does not count")
	}
}

// Settings that cannot be leave everything as it was.
func TestReloadAllOrNothing(t *testing.T) {
	p := newPath(t, func(o *Options) { o.Queues = 2 })
	s := settings()
	s.NAT.SNAT = []nat.Pool{mustPool("198.51.100.77:2048-2111")} // none for the second worker
	s.Tracker.Timeouts.UDP = 5
	if err := p.reload(s); err == nil || !strings.Contains(err.Error(), "snat pool 1") {
		t.Fatalf("error %v", err)
	}
	if c := p.converse(lan, false, at(clientAddr, 4001), at(serverAddr, 80)); c.came[0].Addr() != poolAddr || p.Timeouts().UDP == 5 {
		t.Errorf("left as %v, time-out %d", c.came, p.Timeouts().UDP)
	}
}

// A gateway that is stopping is not changed, and does not hang.
func TestReloadAfterStop(t *testing.T) {
	p := newPath(t, nil)
	for _, w := range p.workers {
		w.shutMail()
	}
	if err := p.Reload(settings()); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}

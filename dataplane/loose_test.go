package dataplane

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// With loose an announcement is for any host, and may name another one than its sender:
// never one on the other side of the gateway.

// withLooseSIP makes a gateway follow SIP so.
func withLooseSIP(t *testing.T) func(*Options) {
	t.Helper()
	spec, err := helpers.ParseSpec("sip:loose")
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Helpers = helpers.NewSet(spec) }
}

// describe sends a message of a call whose description names a place.
func (p *path) describe(from int, src, dst netip.AddrPort, first string, media netip.AddrPort) (e [2]netip.AddrPort, text string) {
	p.t.Helper()
	body := sdpOf(media)
	if media.Addr().Is6() {
		body = strings.ReplaceAll(body, "IN IP4", "IN IP6")
	}
	return p.sip(from, src, dst, sipHead(first, "INVITE", src, dst, "call"), body)
}

// Who comes to an announced port is seen as who it is, or as hosts inside are by each other.
func TestLooseStrangers(t *testing.T) {
	relay := at(netip.MustParseAddr("9.9.9.9"), 30000)
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for _, port := range somePorts[:6] {
			p := open(withLooseSIP(t))
			p.mirror.SetFixed(siegeNetwork())
			phone, server, media := at(clientAddr, 5060), at(serverAddr, 5060), at(clientAddr, port)
			_, text := p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", media)
			out := mediaIn(t, text)
			if got := p.pass(wan, false, relay, out, layers.TCP{}); got != [2]netip.AddrPort{relay, media} {
				t.Errorf("%s > %s arrived as %v", relay, out, got)
			}
			if got := p.pass(lan, false, media, relay, layers.TCP{}); got != [2]netip.AddrPort{out, relay} {
				t.Errorf("%s > %s left as %v", media, relay, got)
			}
			if got := p.send(wan, build(t, wan, l4(false, at(poolAddr, 7000), next(out, 1), layers.TCP{}))); len(got) != 0 {
				t.Error("the address of hosts inside came from outside")
			}
			if q := p.hairpin(false, at(client2Addr, 7000), next(out, 1)); q[0].Addr() != poolAddr || q[1] != next(media, 1) {
				t.Errorf("from inside arrived as %v", q)
			}
			p.checkStraysEnd()
		}
	})
}

// What one outside announces lets nobody else there have packets sent on to it, and hosts
// inside send to it as they always do.
func TestLooseOutside(t *testing.T) {
	for seen, cfg := range map[netip.Addr]nat.Config{poolAddr: {SNAT: []nat.Pool{mustPool(poolAddr.String())}}, wanAddr: {Masquerade: true}} {
		p := newPath(t, func(o *Options) {
			withLooseSIP(t)(o)
			o.NAT = cfg
		})
		p.mirror.SetFixed(siegeNetwork())
		phone, server, media := at(clientAddr, 5060), at(serverAddr, 5060), at(serverAddr, 30000)
		e, _ := p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", at(clientAddr, 20000))
		p.describe(wan, server, e[0], "SIP/2.0 200 OK", media)
		if out := p.send(wan, build(t, wan, l4(false, at(server2Addr, 53), media, layers.TCP{}))); len(out) != 0 {
			t.Errorf("from outside to outside: %d packets left", len(out))
		}
		if q, _ := p.exchange(lan, false, at(client2Addr, 7000), media); q[0].Addr() != seen {
			t.Errorf("left from %s", q[0])
		}
	}
}

// Nobody outside opens ports of the inside, not even of hosts that are reached untranslated.
func TestLooseAcross(t *testing.T) {
	client26 := at(client26Addr, 7104)
	for name, named := range map[string]netip.AddrPort{"a host inside": client26, "the phone itself": at(client6Addr, 7104)} {
		t.Run(name, func(t *testing.T) {
			p := newPath(t, withLooseSIP(t))
			p.mirror.SetFixed(siegeNetwork())
			phone, server := at(client6Addr, 5060), at(server6Addr, 5060)
			e, _ := p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", at(client6Addr, 20000))
			p.describe(wan, server, e[0], "SIP/2.0 200 OK", named)
			if out := p.send(wan, build(t, wan, l4(false, at(server26Addr, 53), named, layers.TCP{}))); len(out) != 0 {
				t.Error("came in")
			}
		})
	}
	t.Run("a host outside", func(t *testing.T) {
		p := newPath(t, withLooseSIP(t))
		p.mirror.SetFixed(siegeNetwork())
		phone, server, other := at(clientAddr, 5060), at(serverAddr, 5060), at(server2Addr, 30000)
		if _, text := p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", other); mediaIn(t, text) != other {
			t.Errorf("became\n%s", text)
		}
		if n := p.Expectations().Len(); n != 0 {
			t.Errorf("%d expectations", n)
		}
	})
	t.Run("an address of a rule", func(t *testing.T) {
		p := newPath(t, func(o *Options) {
			withLooseSIP(t)(o)
			o.NAT.DNAT = hairpinRules
		})
		p.mirror.SetFixed(siegeNetwork())
		phone, server := at(clientAddr, 5060), at(serverAddr, 5060)
		p.describe(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", at(hairpinRules[0].Addr, 30000))
		if n := p.counterValue("sip_gateway_address"); n != 1 || p.Expectations().Len() != 0 {
			t.Errorf("counted %d times, %d expectations", n, p.Expectations().Len())
		}
	})
}

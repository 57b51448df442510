package dataplane

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// Two phones inside call each other by a server outside, which lets them exchange media
// without it: by the outside addresses that each has announced.
func TestSIPTwoPhonesInside(t *testing.T) {
	spec, err := helpers.ParseSpec("sip:loose") // media come from others than the server
	if err != nil {
		t.Fatal(err)
	}
	eachSpread(t, func(t *testing.T, open func(func(*Options)) *path) {
		for i, media := range somePorts[:6] {
			p := open(func(o *Options) {
				o.Helpers = helpers.NewSet(spec)
				o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:5060=10.1.2.4:5060")}
			})
			phone, second, server, rule := at(clientAddr, 5062), at(client2Addr, 5060), at(serverAddr, 5060), at(poolAddr, 5060)
			invite := func(from int, src, dst netip.AddrPort, first, call string, media netip.AddrPort) ([2]netip.AddrPort, netip.AddrPort) {
				e, text := p.sip(from, src, dst, sipHead(first, "INVITE", src, dst, call), sdpOf(media))
				return e, mediaIn(t, text)
			}
			a, b := at(clientAddr, media), at(client2Addr, media) // of both phones
			leg1, aOut := invite(lan, phone, server, "INVITE sip:b@"+server.String()+" SIP/2.0", "one", a)
			leg2, told := invite(wan, server, rule, "INVITE sip:b@"+rule.String()+" SIP/2.0", "two", aOut)
			if told != aOut {
				t.Fatalf("the second phone is told of %s, the first one's media are at %s", told, aOut)
			}
			_, bOut := invite(lan, second, leg2[0], "SIP/2.0 200 OK", "two", b)
			if _, told = invite(wan, server, leg1[0], "SIP/2.0 200 OK", "one", bOut); told != bOut {
				t.Fatalf("the first phone is told of %s, the second one's media are at %s", told, bOut)
			}
			for k := range 4 {
				from, to, fromOut, toOut := a, b, aOut, bOut
				if (i+k)%2 == 0 {
					from, to, fromOut, toOut = b, a, bOut, aOut
				}
				for n := range uint16(2) {
					if got, want := p.turn(false, next(from, n), next(toOut, n), layers.TCP{}), [2]netip.AddrPort{next(fromOut, n), next(to, n)}; got != want {
						t.Errorf("media of %s to %s arrive from %s at %s, want %v", from, toOut, got[0], got[1], want)
					}
				}
			}
			p.checkFlows(4)
			p.checkStraysEnd()
		}
	})
}

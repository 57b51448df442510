package control_test

import (
	"testing"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
)

// Class, flags and a source that may be any, as a 6.18 kernel and conntrack 1.4.7 show
// those of SIP.
func TestExpectationOfAClass(t *testing.T) {
	e := flowtable.Expectation{
		Tuple: mustTuple(17, "203.0.113.47", "198.51.100.32", 0, 40000), Helper: 3, Class: 1,
		MasterOrig: mustTuple(17, "10.1.2.3", "203.0.113.47", 5060, 5060), Deadline: goldenNow + 180*flowtable.TicksPerSecond,
	}
	print := func(encoding control.Encoding) string {
		p := control.NewPrinter(control.Format{Encoding: encoding}, func(uint8) string { return "sip" }, goldenNow, goldenWall)
		return string(p.Expectation(nil, &e))
	}
	check := func(encoding control.Encoding, want string) {
		t.Helper()
		if got := print(encoding); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	const mask = " mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.1.2.3 master-dst=203.0.113.47 sport=5060 dport=5060"
	check(control.EncodingText, "180 proto=17 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=40000 mask-src=255.255.255.255"+mask+" class=1 helper=sip")
	check(control.EncodingProc, "180 l3proto = 2 proto=17 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=40000 sip/audio")
	e.Class, e.Flags, e.Tuple.Src = 0, flowtable.ExpectPermanent|flowtable.ExpectInactive, mustTuple(17, "0.0.0.0", "0.0.0.0", 0, 0).Src
	check(control.EncodingText, "180 proto=17 src=0.0.0.0 dst=198.51.100.32 sport=0 dport=40000 mask-src=0.0.0.0"+mask+" PERMANENT,INACTIVE class=0 helper=sip")
	check(control.EncodingProc, "180 l3proto = 2 proto=17 src=0.0.0.0 dst=198.51.100.32 sport=0 dport=40000 PERMANENT,INACTIVE sip")
	check(control.EncodingXML, `<flow><layer3 protonum="2" protoname="ipv4"><expected><src>0.0.0.0</src><dst>198.51.100.32</dst></expected>`+
		`<mask><src>0.0.0.0</src><dst>255.255.255.255</dst></mask><master><src>10.1.2.3</src><dst>203.0.113.47</dst></master></layer3>`+
		`<layer4 protonum="17" protoname="udp"><expected><sport>0</sport><dport>40000</dport></expected><mask><sport>0</sport><dport>65535</dport></mask>`+
		`<master><sport>5060</sport><dport>5060</dport></master></layer4><meta><helper-name>sip</helper-name><timeout>180</timeout><class>0</class>`+
		`<permanent/><inactive/></meta></flow>`)
}

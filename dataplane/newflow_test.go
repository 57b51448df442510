package dataplane

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/nat"
)

// A flow knows both next hops as soon as it is made: those that forward would
// find by its tuples.
func TestNewFlowKnowsItsNextHops(t *testing.T) {
	rule, err := nat.ParseDNAT("udp:198.51.100.32:53=10.1.2.3:5353")
	if err != nil {
		t.Fatal(err)
	}
	p := newPath(t, func(o *Options) { o.NAT.DNAT = []nat.DNATRule{rule} })
	p.send(lan, build(t, lan, udp(7000, 80)))
	p.send(wan, build(t, wan, answer(4000, 53)))
	w := p.workers[0]
	for idx := uint32(1); idx <= 2; idx++ {
		f := w.flows.table.Flow(idx)
		if f.NextHopGen != w.routes.now.Gen() {
			t.Fatalf("flow %d has next hops of generation %d, want %d", idx, f.NextHopGen, w.routes.now.Gen())
		}
		known := f.NextHop
		if f.NextHopGen = 0; !w.renewHops(idx, f) || known != f.NextHop || known[0] == known[1] {
			t.Errorf("flow %d was made with next hops %v, its tuples say %v", idx, known, f.NextHop)
		}
	}
}

// A packet that restarts its flow turns out to start one only in track. It gets
// its own outlook, not that of the packet that was in its place a burst ago.
func TestRestartInABurstOfNewFlows(t *testing.T) {
	p := newPath(t, nil)
	segment := func(l layers.TCP, port int) []byte {
		s := spec{src: clientAddr, dst: serverAddr, sport: 7000, dport: 80, tcp: &l}
		if port == wan {
			s = spec{src: serverAddr, dst: poolAddr, sport: 80, dport: 7000, tcp: &l}
		}
		return build(t, port, s)
	}
	syn := segment(layers.TCP{SYN: true, Seq: 1}, lan)
	p.send(lan, syn)
	p.send(wan, segment(layers.TCP{SYN: true, ACK: true, Seq: 9, Ack: 2}, wan))
	p.send(lan, segment(layers.TCP{ACK: true, Seq: 2, Ack: 10}, lan))
	p.send(lan, segment(layers.TCP{FIN: true, ACK: true, Seq: 2, Ack: 10}, lan))
	p.send(wan, segment(layers.TCP{FIN: true, ACK: true, Seq: 10, Ack: 3}, wan))
	p.send(lan, segment(layers.TCP{ACK: true, Seq: 3, Ack: 11}, lan)) // TIME_WAIT
	p.send(lan, build(t, lan, udp(8000, 53)), build(t, lan, udp(8001, 53)), build(t, lan, udp(8002, 53)))
	made := p.counterValue("flows_new")
	out := p.send(lan, build(t, lan, udp(9000, 53)), syn, build(t, lan, udp(9001, 53)))
	want := []string{"198.51.100.32:9000 203.0.113.47:53", "198.51.100.32:7000 203.0.113.47:80",
		"198.51.100.32:9001 203.0.113.47:53"}
	if len(out) != len(want) {
		t.Fatalf("%d packets sent, want %d", len(out), len(want))
	}
	for i, s := range out {
		if got := endpoints(t, decode(t, s.frame)); got != want[i] {
			t.Errorf("packet %d left as %s, want %s", i, got, want[i])
		}
	}
	if n := p.counterValue("flows_new") - made; n != 3 {
		t.Errorf("%d flows made, want 3", n)
	}
}

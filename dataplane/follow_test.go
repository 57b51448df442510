package dataplane

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// An active FTP session's data connection belongs to the worker of its control
// connection, whatever its ports, so that what comes by one queue leaves in order.

// openByPorts makes a gateway of four workers; packets come to queue *queue.
func openByPorts(t testing.TB, queue *int) *path {
	t.Helper()
	p := newPath(t, func(o *Options) {
		o.Queues = 4
		o.NAT.DNAT = []nat.DNATRule{mustRule("tcp:198.51.100.32:21=10.1.2.3:21")}
	})
	p.queue = func(int, []byte) int { return *queue }
	return p
}

// expect lets a control connection of worker master announce a connection to dst,
// which NAT leads to inside.
func (p *path) expect(master int, src netip.Addr, dst, inside, server netip.AddrPort) {
	p.t.Helper()
	e := flowtable.Expectation{
		Tuple: flowtable.Tuple{Src: packet.AddrOf(src), Dst: packet.AddrOf(dst.Addr()), DstPort: dst.Port(),
			Proto: packet.ProtoTCP, Family: packet.FamilyOf(src)},
		MasterOrig: flowtable.Tuple{Dst: packet.AddrOf(server.Addr())}, Master: flowtable.FlowID{Worker: uint8(master)},
		SavedAddr: packet.AddrOf(inside.Addr()), SavedPort: inside.Port(), Follows: true, Deadline: p.Now() + 100,
	}
	if p.Expectations().Add(&e) != flowtable.AddOK {
		p.t.Fatal("the expectation was not taken")
	}
}

// expectedWorker is the worker of the only flow that was announced.
func (p *path) expectedWorker() int {
	p.t.Helper()
	found := -1
	for _, w := range p.workers {
		for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
			if w.flows.table.Gen(idx)&1 == 0 && w.flows.table.Flow(idx).Status()&flowtable.StatusExpected != 0 {
				if found >= 0 {
					p.t.Fatal("two flows were announced")
				}
				found = w.id
			}
		}
	}
	return found
}

func TestDataFollowsItsControlConnection(t *testing.T) {
	for _, tt := range []struct {
		name            string
		from            int // the side that the data connection comes from
		src, dst, lead  netip.Addr
		seen, ruledHost netip.Addr // how its source is seen; the server as the client knows it
	}{
		{"client translated", wan, serverAddr, poolAddr, clientAddr, serverAddr, serverAddr},
		{"server behind a rule", lan, clientAddr, serverAddr, serverAddr, poolAddr, poolAddr},
		{"not translated", wan, server6Addr, client6Addr, client6Addr, server6Addr, server6Addr},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var queue int
			for master := range 4 {
				for i, port := range somePorts {
					p := openByPorts(t, &queue)
					p.expect(master, tt.src, at(tt.dst, port), at(tt.lead, port), at(tt.ruledHost, 21))
					for queue = range 4 { // each packet of the exchange by each queue
						q, _ := p.exchange(tt.from, true, at(tt.src, 20), at(tt.dst, port))
						if q != [2]netip.AddrPort{at(tt.seen, 20), at(tt.lead, port)} {
							t.Fatalf("arrived as %v", q)
						}
					}
					if w := p.expectedWorker(); w != master {
						t.Errorf("port %d: worker %d has the data connection, %d its control connection", somePorts[i], w, master)
					}
					p.checkFlows(1)
					p.checkStraysEnd()
				}
			}
		})
	}
}

// What comes to a queue for both connections leaves in the order in which it came,
// whichever workers the ports belong to, even in one burst.
func TestDataAndControlStayInOrder(t *testing.T) {
	var queue int
	for queue = range 4 {
		for _, control := range []uint16{40000, 40064, 40128, 40192} {
			for _, data := range []uint16{5000, 5064, 5128, 5192} {
				p := openByPorts(t, &queue)
				p.exchange(lan, true, at(clientAddr, control), at(serverAddr, 21))
				p.pass(lan, true, at(clientAddr, control), at(serverAddr, 21), layers.TCP{ACK: true, Seq: 2, Ack: 10})
				p.expect(nat.PortOwner(control, 4), serverAddr, at(poolAddr, data), at(clientAddr, data), at(serverAddr, 21))
				p.exchange(wan, true, at(serverAddr, 20), at(poolAddr, data))
				onData := build(t, wan, l4(true, at(serverAddr, 20), at(poolAddr, data), layers.TCP{ACK: true, Seq: 2, Ack: 10}))
				onControl := build(t, wan, l4(true, at(serverAddr, 21), at(poolAddr, control), layers.TCP{ACK: true, Seq: 10, Ack: 2}))
				out := p.send(wan, onData, onControl, onData, onControl)
				var got []uint16
				for _, s := range out {
					got = append(got, ends(t, s.frame)[0].Port())
				}
				if len(got) != 4 || got[0] != 20 || got[1] != 21 || got[2] != 20 || got[3] != 21 {
					t.Errorf("queue %d, control port %d, data port %d: packets from ports %v arrived", queue, control, data, got)
				}
			}
		}
	}
}

// A port that another flow of the outside address has towards the same client is not
// used twice, whichever of them comes first.
func TestFollowedPortIsTaken(t *testing.T) {
	queue := 3
	for _, first := range []bool{true, false} {
		p := openByPorts(t, &queue)
		p.expect(2, clientAddr, at(serverAddr, 6000), at(serverAddr, 6000), at(poolAddr, 21))
		other := func() []sent {
			return p.send(lan, build(t, lan, l4(true, at(client2Addr, 20), at(serverAddr, 6000), layers.TCP{SYN: true, Seq: 1})))
		}
		if first {
			p.check(other(), wan)
		}
		q, _ := p.exchange(lan, true, at(clientAddr, 20), at(serverAddr, 6000))
		if (q[0] == at(poolAddr, 20)) == first {
			t.Errorf("other flow first %v: left from %v", first, q[0])
		}
		if !first {
			if out := other(); len(out) != 0 || p.counterValue("drop_nat_clash") != 1 {
				t.Errorf("%d packets left, %d clashes", len(out), p.counterValue("drop_nat_clash"))
			}
		}
		p.checkStraysEnd()
	}
}

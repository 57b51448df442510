package dataplane

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
)

// counting asks a gateway to count and to keep timestamps.
func counting(o *Options) { o.Accounting, o.Timestamps = true, true }

// counts is what a flow shows of its traffic: packets and bytes there and back.
type counts [4]uint64

// flowCounts returns the counts of all flows.
func (p *path) flowCounts() (all []counts) {
	var s flowtable.Snapshot
	for _, t := range p.Tables() {
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			if t.Read(idx, p.Now(), &s) {
				all = append(all, counts{s.Packets[0], s.Bytes[0], s.Packets[1], s.Bytes[1]})
			}
		}
	}
	return all
}

func (p *path) checkCounts(what string, want ...counts) {
	p.t.Helper()
	if diff := cmp.Diff(want, p.flowCounts()); diff != "" {
		p.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestWhatIsCounted follows nf_conntrack: what the flow's state machine accepted,
// with its IP length, and nothing else.
func TestWhatIsCounted(t *testing.T) {
	p := newPath(t, counting)
	p.send(lan, build(t, lan, udp(7000, 53)))
	p.checkCounts("the first packet", counts{1, 33, 0, 0})
	p.send(wan, build(t, wan, answer(53, 7000)), build(t, wan, answer(53, 7000)))
	p.checkCounts("two answers", counts{1, 33, 2, 66})
	p.advance(3 * time.Second)
	for range 3 { // an assured stream takes the short way
		p.send(lan, build(t, lan, udp(7000, 53)))
	}
	p.checkCounts("a stream", counts{4, 132, 2, 66})
	padded := append(build(t, wan, answer(53, 7000)), make([]byte, 13)...)
	p.send(wan, padded)
	p.checkCounts("Ethernet padding is not counted", counts{4, 132, 3, 99})
	p.send(wan, build(t, wan, spec{src: serverAddr, dst: poolAddr, icmp: &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)},
		payload: quoted(t)}))
	p.checkCounts("ICMP errors are not counted", counts{4, 132, 3, 99})
}

// quoted is the packet that an ICMP error about the flow of these tests quotes.
func quoted(t *testing.T) []byte {
	t.Helper()
	s := udp(7000, 53)
	s.src = poolAddr
	return build(t, lan, s)[14:]
}

func TestTCPCounts(t *testing.T) {
	p := newPath(t, counting)
	segment := func(flags layers.TCP) spec {
		return spec{src: clientAddr, dst: serverAddr, sport: 7000, dport: 80, tcp: &flags}
	}
	syn := build(t, lan, segment(layers.TCP{SYN: true, Seq: 100}))
	p.send(lan, syn)
	p.send(lan, syn)
	// The kernel lets a SYN that is sent again pass, but neither renews nor
	// counts (nf_conntrack_tcp_packet); so with all that is ignored.
	out := p.flowCounts()
	if len(out) != 1 || out[0][0] < 1 || out[0][1] != 40*out[0][0] {
		t.Fatalf("SYN: %v", out)
	}
	p.send(lan, build(t, lan, segment(layers.TCP{SYN: true, FIN: true, Seq: 100}))) // INVALID
	p.checkCounts("invalid segments are not counted", out[0])
	p.send(wan, build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 80, dport: 7000, tcp: &layers.TCP{RST: true, ACK: true, Ack: 101}}))
	p.checkCounts("the RST ended it")
}

// TestEndTellsCountsAndTimes looks at the event of a flow's end.
func TestEndTellsCountsAndTimes(t *testing.T) {
	p := newPath(t, counting)
	sub := p.Subscribe(16)
	defer sub.Close()
	p.send(lan, build(t, lan, udp(7000, 53)))
	p.advance(31 * time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var events []flowtable.Event
	for len(events) < 2 {
		buf := make([]flowtable.Event, 4)
		n, _, err := sub.Read(ctx, buf)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, buf[:n]...)
	}
	began, ended := events[0].Flow, events[1].Flow
	if began.ID != ended.ID || began.Start != ended.Start || began.Start == 0 || began.Stop != 0 {
		t.Errorf("began %+v\nended %+v", began, ended)
	}
	if ended.Packets != [2]uint64{1, 0} || ended.Bytes != [2]uint64{33, 0} || events[1].Left != 0 {
		t.Errorf("the end tells %v %v, %d s left", ended.Packets, ended.Bytes, events[1].Left)
	}
	// A gateway in memory leaves the wall clock alone, so that the flow begins and
	// is taken down at one moment of it. Its time was over a second before that.
	if life := time.Duration(ended.Stop - ended.Start); life < -1100*time.Millisecond || life > -900*time.Millisecond {
		t.Errorf("it ended %v after its start, want -1 s", life)
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	p := newPath(t, counting)
	frame := build(t, lan, udp(7000, 53))
	p.checkNoAllocs(t, func(i int) []byte {
		binary.BigEndian.PutUint16(frame[34:], uint16(1024+i%500))
		frame[40], frame[41] = 0, 0 // no UDP checksum
		return frame
	})
}

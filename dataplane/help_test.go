package dataplane

import (
	"context"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// ftpSession is an FTP control connection through the gateway.
type ftpSession struct {
	*path
	port uint16 // of the client, as the server sees it
}

// newFTPSession opens one, up to the first command, and counts the use of ports
// of the NAT address as where it is the box's own.
func newFTPSession(t *testing.T) *ftpSession {
	t.Helper()
	return newFTPSessionOn(t, newPath(t, nil))
}

// newFTPSessionOn opens one through a gateway.
func newFTPSessionOn(t testing.TB, p *path) *ftpSession {
	t.Helper()
	s := &ftpSession{path: p}
	if err := s.shared.use.Register(packet.IPv4, packet.AddrOf(poolAddr), make([]uint32, nat.PortUseSlots)); err != nil {
		t.Fatal(err)
	}
	s.client(layers.TCP{SYN: true, Seq: 99}, "")
	s.server(layers.TCP{SYN: true, ACK: true, Seq: 499, Ack: 100}, "")
	s.client(layers.TCP{ACK: true, Seq: 100, Ack: 500}, "")
	s.server(layers.TCP{ACK: true, PSH: true, Seq: 500, Ack: 100}, "220 hi\r\n")
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 100, Ack: 508}, "USER x\r\n")
	return s
}

// client sends a segment from inside and returns what left.
func (s *ftpSession) client(flags layers.TCP, text string) *layers.TCP {
	s.t.Helper()
	frame := build(s.t, lan, spec{src: clientAddr, dst: serverAddr, sport: 40000, dport: 21, tcp: &flags, payload: []byte(text)})
	out := s.check(s.send(lan, frame), wan).Layer(layers.LayerTypeTCP).(*layers.TCP)
	s.port = uint16(out.SrcPort)
	return out
}

// server sends a segment from outside and returns what arrived.
func (s *ftpSession) server(flags layers.TCP, text string) *layers.TCP {
	s.t.Helper()
	frame := build(s.t, wan, spec{src: serverAddr, dst: poolAddr, sport: 21, dport: s.port, tcp: &flags, payload: []byte(text)})
	return s.check(s.send(wan, frame), lan).Layer(layers.LayerTypeTCP).(*layers.TCP)
}

// portUse returns how often a TCP port of the NAT address is in use.
func (s *ftpSession) portUse(port uint16) uint32 {
	return s.shared.use.Count(packet.ProtoTCP, packet.IPv4, packet.AddrOf(poolAddr), port)
}

const (
	portCommand = "PORT 10,1,2,3,25,0\r\n" // port 6400
	portOutside = "PORT 198,51,100,32,25,0\r\n"
)

// The text of a PORT command changes length: what follows must be shifted, in
// both directions, and the announced connection must find its way in.
func TestFTPActive(t *testing.T) {
	s := newFTPSession(t)
	out := s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	if got := string(out.Payload); got != portOutside {
		t.Fatalf("command left as %q, want %q", got, portOutside)
	}
	if n := s.Expectations().Len(); n != 1 || s.portUse(6400) != 1 {
		t.Fatalf("%d expectations, port used %d times; want 1 and 1", n, s.portUse(6400))
	}
	grown := uint32(len(portOutside) - len(portCommand))
	end := 108 + uint32(len(portCommand))
	if got := s.server(layers.TCP{ACK: true, Seq: 508, Ack: end + grown}, "200 ok\r\n").Ack; got != end {
		t.Errorf("server's ACK reached the client as %d, want %d", got, end)
	}
	if got := s.client(layers.TCP{ACK: true, PSH: true, Seq: end, Ack: 516}, "RETR f\r\n").Seq; got != end+grown {
		t.Errorf("next command left with seq %d, want %d", got, end+grown)
	}
	data := spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6400, tcp: &layers.TCP{SYN: true, Seq: 7}}
	in := s.check(s.send(wan, build(t, wan, data)), lan)
	if got, want := endpoints(t, in), "203.0.113.47:20 10.1.2.3:6400"; got != want {
		t.Errorf("data connection arrived as %s, want %s", got, want)
	}
	if n := s.Expectations().Len(); n != 0 {
		t.Errorf("%d expectations after the data connection, want 0", n)
	}
	if n := s.portUse(6400); n != 1 { // by the flow, no longer by the expectation
		t.Errorf("port is used %d times, want 1", n)
	}
}

// An expectation does not outlive the flow that made it.
func TestExpectationEndsWithItsMaster(t *testing.T) {
	s := newFTPSession(t)
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	s.workers[0].removeFlow(1, flowtable.EndDeleted)
	if n := s.Expectations().Len(); n != 0 || s.portUse(6400) != 0 || s.portUse(40000) != 0 {
		t.Errorf("%d expectations, ports used %d and %d times; want none", n, s.portUse(6400), s.portUse(40000))
	}
}

// Expectations are deleted for a process, which events tell; the port is free again.
func TestExpectationIsDeleted(t *testing.T) {
	s := newFTPSession(t)
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	sub := s.Subscribe(16)
	defer sub.Close()
	var gone []flowtable.Expectation
	n := s.whileRunning(func(ctx context.Context) (int, error) {
		return s.DeleteExpectations(ctx, flowtable.ProcessOf(77, "ctl\n"), func(*flowtable.Expectation) bool { return true },
			func(e *flowtable.Expectation) { gone = append(gone, *e) })
	})
	if n != 1 || len(gone) != 1 || gone[0].Tuple.DstPort != 6400 || s.Expectations().Len() != 0 || s.portUse(6400) != 0 {
		t.Errorf("%d deleted, %v; %d left, port used %d times", n, gone, s.Expectations().Len(), s.portUse(6400))
	}
	var buf [4]flowtable.Event
	if _, _, err := sub.Read(t.Context(), buf[:]); err != nil {
		t.Fatal(err)
	}
	if e := &buf[0]; !e.Expect || !e.Deleted || e.By.PID != 77 || string(e.By.Name()) != "ctl?" {
		t.Errorf("event %+v", e)
	}
	for name, want := range map[string]uint64{"expect_new": 1, "expect_used": 0, "expect_ended": 1} {
		if got := s.counterValue(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

// whileRunning runs a command of the control plane while the worker goes on.
func (p *path) whileRunning(command func(context.Context) (int, error)) int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	var n int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err = command(ctx)
	}()
	for {
		select {
		case <-done:
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		default:
			p.run()
		}
	}
}

// What an expectation announced is known by it: master, and the helper that the
// expectation names, from the first event on.
func TestExpectedFlowShowsItsMaster(t *testing.T) {
	s := newFTPSession(t)
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	sub := s.Subscribe(16)
	defer sub.Close()
	s.check(s.send(wan, build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6400, tcp: &layers.TCP{SYN: true, Seq: 7}})), lan)
	var buf [8]flowtable.Event
	var told []flowtable.Event
	for len(told) < 2 {
		n, _, err := sub.Read(t.Context(), buf[:])
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, buf[:n]...)
	}
	if e := &told[0]; !e.Expect || e.Kind != flowtable.EventDestroy {
		t.Errorf("first event %+v", e)
	}
	e := &told[1]
	if e.Kind != flowtable.EventNew || e.Flow.Status&flowtable.StatusExpected == 0 || e.Flow.Master.Index != 1 || e.Flow.Helper != 0 {
		t.Errorf("second event %+v", e)
	}
}

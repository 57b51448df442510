package xsk

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gateway is two ports over one UMEM, every queue with a socket.
type gateway struct {
	umem     *UMEM
	ports    [2]*testPort
	programs [2]*Program
	sockets  [2][]*Socket // by port and queue
	free     []uint64     // frames that the test holds
}

// newGateway sets up two ports in the lab the way the documentation says.
func newGateway(t testing.TB, queues int, mode AttachMode, frames int, busyPoll time.Duration) *gateway {
	t.Helper()
	newLab(t)
	g := &gateway{umem: newTestUMEM(t, UMEMOptions{Frames: frames, HugePages: true})}
	maps := newTestMaps(t)
	var options []SocketOptions
	for i, name := range []string{"in0", "ex0"} {
		g.ports[i] = newTestPort(t, name, queues)
		d := &g.ports[i].Device
		if d.Queues() != queues {
			t.Fatalf("%s has %d queues, want %d", name, d.Queues(), queues)
		}
		g.programs[i] = newTestProgram(t, maps, d)
		mustDo(t, "attach", g.programs[i].Attach(d.Ifindex, mode))
		for q := range queues {
			o := smallRings(g.umem, d, q)
			o.BusyPoll = busyPoll
			options = append(options, o)
		}
	}
	all := newTestSockets(t, options)
	for i := range frames {
		g.free = append(g.free, g.umem.Frame(i))
	}
	for i := range g.ports {
		g.sockets[i] = all[i*queues : (i+1)*queues]
		for _, s := range g.sockets[i] {
			mustDo(t, "register", g.programs[i].Register(s))
			n := s.Fill(g.free[:frames/len(all)/2])
			g.free = g.free[n:]
			if s.NeedsRXWakeup() {
				s.WakeRX()
			}
		}
	}
	return g
}

func (g *gateway) all() []*Socket {
	return append(append([]*Socket(nil), g.sockets[0]...), g.sockets[1]...)
}

// receive polls the sockets of a port until a packet comes; it returns the
// queue and the packet, or -1 after a second.
func (g *gateway) receive(port int) (queue int, d Desc) {
	var descs [1]Desc
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		for q, s := range g.sockets[port] {
			if s.NeedsRXWakeup() {
				s.WakeRX()
			}
			if s.Receive(descs[:]) == 1 {
				return q, descs[0]
			}
		}
	}
	return -1, Desc{}
}

// complete takes frames back from the sockets of a port until n came.
func (g *gateway) complete(t testing.TB, port, n int) {
	t.Helper()
	var addrs [64]uint64
	for end := time.Now().Add(time.Second); n > 0; {
		for _, s := range g.sockets[port] {
			got := s.Complete(addrs[:])
			for _, a := range addrs[:got] {
				g.free = append(g.free, g.umem.FrameOf(a))
			}
			n -= got
			mustDo(t, "flush", s.Flush())
		}
		if time.Now().After(end) {
			t.Fatalf("%d frames were not completed", n)
		}
	}
}

// A veth keeps the queue: what the peer sends on queue q is received on queue q.
// The AF_PACKET socket chooses the queue by its priority.
func TestFramesArriveAtTheirQueue(t *testing.T) {
	for _, mode := range []AttachMode{AttachNative, AttachGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			const queues = 4
			g := newGateway(t, queues, mode, 1024, 0)
			seen := map[int]int{}
			for i := range 64 {
				p := g.ports[0]
				frame := udp4(p.MAC, p.peerMAC, [4]byte{192, 0, 2, byte(i)}, uint16(i), 80)
				// The stack hashes the flow to a queue: the same one each time.
				p.send(t, frame)
				q, d := g.receive(0)
				if q < 0 {
					t.Fatalf("frame %d did not arrive", i)
				}
				got := g.umem.Bytes(d.Addr, d.Len)
				if !bytes.Equal(got, frame) {
					t.Fatalf("frame %d arrived as\n%x\nwant\n%x", i, got, frame)
				}
				if want := uint64(kernelHeadroom); d.Addr-g.umem.FrameOf(d.Addr) != want {
					t.Errorf("frame %d starts %d bytes into its frame, want %d", i, d.Addr-g.umem.FrameOf(d.Addr), want)
				}
				seen[q]++
				g.free = append(g.free, g.umem.FrameOf(d.Addr))
			}
			t.Logf("frames by queue: %v", seen)
			var n [Decisions]uint64
			mustDo(t, "counters", g.programs[0].Counters(&n))
			if n[RedirectForward] != 64 {
				t.Errorf("program counted %d forwarded frames, want 64", n[RedirectForward])
			}
			checkLedger(t, g.umem, len(g.free), g.all()...)
		})
	}
}

// A frame received on one port is sent from the other by its address alone: the
// bytes at the peer are those that were written into the received frame.
func TestForwardingBetweenPortsMovesOnlyTheDescriptor(t *testing.T) {
	for _, mode := range []AttachMode{AttachNative, AttachGeneric} {
		t.Run(mode.String(), func(t *testing.T) {
			g := newGateway(t, 2, mode, 1024, 0)
			in, out := g.ports[0], g.ports[1]
			for i := range 100 {
				in.send(t, udp4(in.MAC, in.peerMAC, [4]byte{192, 0, 2, byte(i)}, uint16(i), 60+i))
				q, d := g.receive(0)
				if q < 0 {
					t.Fatalf("frame %d did not arrive", i)
				}
				packet := g.umem.Bytes(d.Addr, d.Len)
				copy(packet, out.peerMAC)
				copy(packet[6:], out.MAC)
				packet[len(packet)-1] = byte(i)
				s := g.sockets[1][q]
				if n := s.Transmit([]Desc{d}); n != 1 {
					t.Fatalf("Transmit took %d of 1", n)
				}
				mustDo(t, "flush", s.Flush())
				got := out.arrive(t, time.Second)
				if !bytes.Equal(got, packet) {
					t.Fatalf("frame %d left as\n%x\narrived as\n%x", i, packet, got)
				}
				g.complete(t, 1, 1)
			}
			checkLedger(t, g.umem, len(g.free), g.all()...)
		})
	}
}

// Copy mode sends 32 packets per call: a full ring needs the loop in Flush, and
// nothing may be lost on the way.
func TestFlushSendsAFullRing(t *testing.T) {
	g := newGateway(t, 1, AttachNative, 1024, 0)
	s, out := g.sockets[1][0], g.ports[1]
	var descs []Desc
	for i := range 256 {
		addr := g.free[0]
		g.free = g.free[1:]
		n := copy(g.umem.FrameRoom(addr), udp4(out.peerMAC, out.MAC, [4]byte{192, 0, 2, 1}, uint16(i), 60))
		descs = append(descs, Desc{Addr: addr, Len: uint32(n)})
	}
	if n := s.Transmit(descs); n != 256 {
		t.Fatalf("Transmit took %d of 256", n)
	}
	if n := s.Transmit(descs[:1]); n != 0 {
		t.Fatalf("a full ring took %d", n)
	}
	mustDo(t, "flush", s.Flush())
	if o := s.Outstanding(); o.TX != 0 {
		t.Errorf("after Flush %d packets are still in the TX ring", o.TX)
	}
	for i := range 256 {
		got := out.arrive(t, time.Second)
		if got == nil {
			t.Fatalf("packet %d is missing", i)
		}
		if want := udp4(out.peerMAC, out.MAC, [4]byte{192, 0, 2, 1}, uint16(i), 60); !bytes.Equal(got, want) {
			t.Fatalf("packet %d differs: %x", i, got)
		}
	}
	g.complete(t, 1, 256)
	checkLedger(t, g.umem, len(g.free), g.all()...)
}

// Kick sends whether the ring asks for it or not, an empty ring included.
func TestKickSends(t *testing.T) {
	g := newGateway(t, 1, AttachGeneric, 64, 0)
	s, out := g.sockets[1][0], g.ports[1]
	s.Kick()
	addr := g.free[0]
	g.free = g.free[1:]
	want := udp4(out.peerMAC, out.MAC, [4]byte{192, 0, 2, 1}, 9, 60)
	copy(g.umem.FrameRoom(addr), want)
	s.Transmit([]Desc{{Addr: addr, Len: 60}})
	s.Kick()
	if got := out.arrive(t, time.Second); !bytes.Equal(got, want) {
		t.Errorf("arrived: %x", got)
	}
	g.complete(t, 1, 1)
	checkLedger(t, g.umem, len(g.free), g.all()...)
}

// Frames that find no room are counted by the kernel and lost to nobody.
func TestFullRXRingLosesNoFrames(t *testing.T) {
	g := newGateway(t, 1, AttachNative, 2048, 0)
	p := g.ports[0]
	for range 700 {
		p.send(t, udp4(p.MAC, p.peerMAC, [4]byte{192, 0, 2, 1}, 9, 60))
	}
	time.Sleep(20 * time.Millisecond)
	s := g.sockets[0][0]
	o := s.Outstanding()
	if o.RX != 128 {
		t.Errorf("%d packets in an RX ring of 128", o.RX)
	}
	st, err := s.Stats()
	mustDo(t, "stats", err)
	if st.RXRingFull != 700-128 {
		t.Errorf("kernel counted %+v, want RXRingFull %d", st, 700-128)
	}
	t.Logf("kernel: %+v; outstanding: %+v", st, o)
	descs := make([]Desc, 512)
	n := s.Receive(descs)
	for _, d := range descs[:n] {
		g.free = append(g.free, g.umem.FrameOf(d.Addr))
	}
	checkLedger(t, g.umem, len(g.free), g.all()...)
	if st, _ = s.Stats(); st.RXInvalidDescs+st.TXInvalidDescs != 0 {
		t.Errorf("invalid descriptors: %+v", st)
	}
}

// A packet that does not fit into a frame is dropped and counted.
func TestPacketLongerThanFrameIsCounted(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "long0", 1)
	u := newTestUMEM(t, UMEMOptions{Frames: 64, Headroom: 300})
	if fits := newTestUMEM(t, UMEMOptions{Frames: 64}); !port.FitsFrame(fits) {
		t.Errorf("MTU %d does not fit a packet of %d", port.MTU, fits.MaxPacket())
	}
	if port.FitsFrame(u) {
		t.Errorf("MTU %d fits a packet of %d", port.MTU, u.MaxPacket())
	}
	p := newTestProgram(t, newTestMaps(t), &port.Device)
	mustDo(t, "attach", p.Attach(port.Ifindex, AttachNative))
	s := newTestSockets(t, []SocketOptions{smallRings(u, &port.Device, 0)})[0]
	mustDo(t, "register", p.Register(s))
	s.Fill([]uint64{u.Frame(0), u.Frame(1)})

	port.send(t, udp4(port.MAC, port.peerMAC, [4]byte{192, 0, 2, 1}, 9, u.MaxPacket()+1))
	port.send(t, udp4(port.MAC, port.peerMAC, [4]byte{192, 0, 2, 1}, 9, u.MaxPacket()))
	var d [2]Desc
	n := 0
	for end := time.Now().Add(time.Second); n == 0 && time.Now().Before(end); {
		n = s.Receive(d[:])
	}
	if n != 1 || int(d[0].Len) != u.MaxPacket() {
		t.Errorf("received %d packets, the first of %d bytes; want the one of %d", n, d[0].Len, u.MaxPacket())
	}
	st, err := s.Stats()
	mustDo(t, "stats", err)
	if st.RXDropped != 1 {
		t.Errorf("kernel counted %+v, want RXDropped 1", st)
	}
	checkLedger(t, u, 62+n, s)
}

// While the port is down packets stay in the ring, and go when it is up again.
func TestPacketsWaitForThePort(t *testing.T) {
	g := newGateway(t, 1, AttachNative, 256, 0)
	s, out := g.sockets[1][0], g.ports[1]
	addr := g.free[0]
	g.free = g.free[1:]
	want := udp4(out.peerMAC, out.MAC, [4]byte{192, 0, 2, 1}, 9, 60)
	copy(g.umem.FrameRoom(addr), want)
	setUp(t, out.Ifindex, false)
	s.Transmit([]Desc{{Addr: addr, Len: 60}})
	checkErrorIs(t, s.Flush(), unix.ENETDOWN)
	if o := s.Outstanding(); o.TX != 1 {
		t.Errorf("outstanding %+v, want the packet in the TX ring", o)
	}
	setUp(t, out.Ifindex, true)
	for end := time.Now().Add(time.Second); s.Flush() != nil && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got := out.arrive(t, time.Second); !bytes.Equal(got, want) {
		t.Errorf("arrived: %x", got)
	}
	g.complete(t, 1, 1)
	checkLedger(t, g.umem, len(g.free), g.all()...)
}

func TestBusyPollingReceivesAndSends(t *testing.T) {
	g := newGateway(t, 1, AttachNative, 256, 20*time.Microsecond)
	in, out := g.ports[0], g.ports[1]
	if !g.sockets[0][0].NeedsRXWakeup() {
		t.Error("a busy-polling socket wants no wakeup")
	}
	for i := range 50 {
		want := udp4(in.MAC, in.peerMAC, [4]byte{192, 0, 2, 1}, uint16(i), 60)
		in.send(t, want)
		q, d := g.receive(0)
		if q < 0 {
			t.Fatalf("packet %d did not arrive", i)
		}
		g.sockets[1][0].Transmit([]Desc{d})
		mustDo(t, "flush", g.sockets[1][0].Flush())
		if got := out.arrive(t, time.Second); !bytes.Equal(got, want) {
			t.Fatalf("packet %d left as %x", i, got)
		}
		g.complete(t, 1, 1)
	}
}

// The hot methods of a live socket do not allocate, forwarding or idle.
func TestHotMethodsDoNotAllocate(t *testing.T) {
	g := newGateway(t, 1, AttachNative, 1024, 0)
	in, out := g.ports[0], g.ports[1]
	rx, tx := g.sockets[0][0], g.sockets[1][0]
	frame := udp4(in.MAC, in.peerMAC, [4]byte{192, 0, 2, 1}, 9, 60)
	descs, addrs := make([]Desc, 64), make([]uint64, 64)
	forwarded, sink := 0, make([]byte, 2048)
	got := testing.AllocsPerRun(5, func() {
		for range 1000 {
			_, _ = unix.Write(in.wire, frame)
			n := rx.Receive(descs)
			for i := range descs[:n] {
				_ = g.umem.Bytes(descs[i].Addr, descs[i].Len)
				_ = g.umem.FrameRoom(descs[i].Addr)
			}
			forwarded += tx.Transmit(descs[:n])
			_ = tx.Flush()
			n = tx.Complete(addrs)
			rx.Fill(addrs[:n])
			if rx.NeedsRXWakeup() {
				rx.WakeRX()
			}
			_ = rx.Outstanding().Total()
			_, _ = unix.Read(out.wire, sink)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations per 1000 rounds", got)
	}
	if forwarded < 5000 {
		t.Errorf("only %d packets were forwarded", forwarded)
	}
}

package xsk

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// BenchmarkForward moves packets between two veth ports and back into the fill
// ring: the bare l2fwd loop of the package, all on one thread, with the sender's
// and the receiver's kernel work on another. It tells the rate of this machine's
// veth, not the cost of our rings (see BenchmarkRings).
func BenchmarkForward(b *testing.B) {
	for _, mode := range []AttachMode{AttachNative, AttachGeneric} {
		b.Run(mode.String(), func(b *testing.B) { benchmarkForward(b, mode) })
	}
}

func benchmarkForward(b *testing.B, mode AttachMode) {
	g := newGateway(b, 1, mode, 2048, 0)
	in, out := g.ports[0], g.ports[1]
	ignoreArrivals(b, out)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		frame := udp4(in.MAC, in.peerMAC, [4]byte{192, 0, 2, 1}, 9, 60)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range 64 {
				_, _ = unix.Write(in.wire, frame)
			}
		}
	}()
	rx, tx := g.sockets[0][0], g.sockets[1][0]
	descs, addrs := make([]Desc, 64), make([]uint64, 64)
	bursts := 0
	b.ResetTimer()
	var start unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &start)
	for n := 0; n < b.N; {
		got := rx.Receive(descs)
		if got != 0 {
			bursts++
		}
		for i := range descs[:got] {
			f := g.umem.Bytes(descs[i].Addr, descs[i].Len)
			swap(f, out.peerMAC, out.MAC)
		}
		n += tx.Transmit(descs[:got])
		_ = tx.Flush()
		done := tx.Complete(addrs)
		rx.Fill(addrs[:done])
	}
	b.StopTimer()
	var end unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &end)
	cpu := time.Duration(end.Utime.Nano() - start.Utime.Nano() + end.Stime.Nano() - start.Stime.Nano())
	b.ReportMetric(float64(b.N)/float64(bursts), "pkt/burst")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/pkt")
	close(stop)
	<-done
}

// ignoreArrivals makes the AF_PACKET socket of the peer refuse everything, so
// that no copy for it is measured: a classic filter that returns 0 bytes.
func ignoreArrivals(b *testing.B, p *testPort) {
	b.Helper()
	none := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	mustDo(b, "filter AF_PACKET", unix.SetsockoptSockFprog(p.wire, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &none}))
}

func swap(f []byte, dst, src net.HardwareAddr) {
	copy(f[:6], dst)
	copy(f[6:12], src)
}

// BenchmarkTransmit sends full bursts from one port: the cost of a packet in
// copy mode, kernel included.
func BenchmarkTransmit(b *testing.B) {
	for _, burst := range []int{1, 32, 64, 256} {
		b.Run(fmt.Sprintf("burst=%d", burst), func(b *testing.B) {
			g := newGateway(b, 1, AttachNative, 1024, 0)
			s, out := g.sockets[1][0], g.ports[1]
			ignoreArrivals(b, out)
			descs := make([]Desc, burst)
			frame := udp4(out.peerMAC, out.MAC, [4]byte{192, 0, 2, 1}, 9, 60)
			for i := range descs {
				descs[i] = Desc{Addr: g.free[i], Len: 60}
				copy(g.umem.FrameRoom(g.free[i]), frame)
			}
			addrs := make([]uint64, burst)
			for n := 0; n < b.N; n += burst {
				if s.Transmit(descs) != burst {
					b.Fatal("ring full")
				}
				for left := burst; left > 0; {
					if err := s.Flush(); err != nil {
						b.Fatal(err)
					}
					left -= s.Complete(addrs)
				}
			}
		})
	}
}

// BenchmarkProgram is the cost of the XDP program alone, per frame, by decision.
func BenchmarkProgram(b *testing.B) {
	newLab(b)
	port := newTestPort(b, "prog0", 1)
	maps := newTestMaps(b)
	setUse(maps)
	mustDo(b, "set local", maps.SetLocal(map[netip.Addr]Local{
		box: {Flags: LocalBox}, pool: {Flags: LocalNAT}, shared: {Flags: LocalBox | LocalNAT, Index: 1},
	}))
	p, err := NewProgram(maps, ProgramOptions{MAC: ourMAC, Queues: 1})
	mustDo(b, "load", err)
	defer p.Close()
	u := newTestUMEM(b, UMEMOptions{Frames: 16})
	mustDo(b, "register", p.Register(newTestSockets(b, []SocketOptions{smallRings(u, &port.Device, 0)})[0]))
	for _, c := range []struct {
		name string
		mac  net.HardwareAddr
		dst  netip.Addr
	}{
		// The floor: BPF_PROG_RUN itself and one counter.
		{"group-mac", net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}, remote},
		{"forward", ourMAC, remote}, {"local", ourMAC, box}, {"nat", ourMAC, pool}, {"shared", ourMAC, shared},
	} {
		b.Run(c.name, func(b *testing.B) {
			frame := ether(c.mac, unix.ETH_P_IP, ip4(remote, c.dst, tcp, 0, nil, ports(443, used), make([]byte, 40)))
			o := ebpf.RunOptions{Data: frame, Context: [6]uint32{1: uint32(len(frame)), 3: uint32(port.Ifindex)}, Repeat: uint32(b.N)}
			if _, err := p.objects.XdpctPort.Run(&o); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRings is the cost of the rings alone, per packet: receive, transmit,
// complete and fill a burst of 64 on plain memory with the kernel's side done by
// one index store each.
func BenchmarkRings(b *testing.B) {
	rx, tx := memoryRing[Desc](2048, 0), memoryRing[Desc](2048, 0)
	comp, fill := memoryRing[uint64](2048, 0), memoryRing[uint64](2048, 0)
	descs, addrs := make([]Desc, 64), make([]uint64, 64)
	b.ReportAllocs()
	for n := 0; n < b.N; n += 64 {
		atomic.AddUint32(rx.producer, 64)
		tx.produce(descs[:rx.consume(descs)])
		atomic.AddUint32(tx.consumer, 64)
		atomic.AddUint32(comp.producer, 64)
		fill.produce(addrs[:comp.consume(addrs)])
		atomic.AddUint32(fill.consumer, 64)
	}
}

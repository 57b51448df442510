package forward

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// frameSize is the length of the frames in bytes, without checksum.
const frameSize = 60

// load is what a trial asks of the generator.
type load struct {
	rate     float64 // packets/s
	duration time.Duration
	flows    int  // a power of two, 1 to 2^20, at least 1 a generator
	mixed    bool // flows arrive at any queue, wherever their owner is
}

// batch is how many calls of the program the kernel makes between two looks at
// what is ready to leave. A call that sends nothing takes 150 ns, so packets
// leave every 10 microseconds, as a NIC with little interrupt moderation brings
// them. It is also how many pages the kernel keeps for frames. With 256 of them
// they travel back and forth between the CPUs, which costs a gateway that is
// done with a frame early 500 ns a packet.
const batch = 64

// backlog is how many packets may be sent late, one right after the other, when
// the generator was kept from running; fewer than a veth's queue of 256 holds.
const backlog = 64

// maxFlows is 2^20: 32 servers with 32768 ports each.
const maxFlows = 1 << 20

// traffic is the two ends of a lab: the generators' programs and the sink's.
type traffic struct {
	lab  *lab
	gens []generator
	sink sinkObjects
	at   counter   // where the sink is
	link link.Link // of the sink's program
	run  uint32    // trials so far
}

// newTraffic loads both programs and attaches that of the sink. It counts in XDP,
// although the kernel then copies packets of its own and of AF_XDP sockets once
// more: that is on the sink's CPU, where dropping them later costs more.
func newTraffic(l *lab, at counter) (*traffic, error) {
	t := &traffic{lab: l, at: at, gens: make([]generator, len(l.senders))}
	for i, cpu := range l.senders {
		t.gens[i].cpu = cpu
		if err := loadGeneratorObjects(&t.gens[i].objects, nil); err != nil {
			return nil, errors.Join(fmt.Errorf("load the generator: %w", err), t.close())
		}
	}
	if err := loadSinkObjects(&t.sink, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("load the sink: %w", err), t.close())
	}
	err := inNamespace(at.namespace, func() (err error) {
		t.link, err = link.AttachXDP(link.XDPOptions{Program: t.sink.Sink, Interface: at.ifindex})
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the sink: %w", err), t.close())
	}
	return t, nil
}

// counter is where packets are counted, and what they must be there.
type counter struct {
	namespace string
	ifindex   int
	mac       [6]byte
	nat       bool // the source is the NAT address
	ttl       uint8
}

func (t *traffic) close() error {
	var err error
	if t.link != nil {
		err = t.link.Close()
	}
	for i := range t.gens {
		err = errors.Join(err, t.gens[i].objects.Close())
	}
	return errors.Join(err, t.sink.Close())
}

// start tells the programs about the next trial.
func (t *traffic) start(o load) error {
	t.run++
	l := t.lab
	parts := len(t.gens)
	plan := generatorSchedule{
		Duration: uint64(o.duration), Interval: uint64(1024e9 / o.rate * float64(parts)),
		Backlog: backlog, Run: t.run, Ifindex: uint32(l.gen.ifindex),
		Flows: uint32(o.flows / parts), Shift: uint32(bits.Len(uint(o.flows/parts)) / 2), Parts: uint32(parts),
		Host: word(hostFirst), Server: word(serverFirst),
		Dst: [6]byte(l.gen.peerMAC), Src: [6]byte(l.gen.mac),
	}
	want := sinkExpected{
		Run: t.run, Ttl: t.at.ttl, Mac: t.at.mac,
		Src: wire(word(hostFirst) &^ 0xffff), SrcMask: wire(0xffff0000),
		Dst: wire(word(serverFirst) &^ 0x1ffff), DstMask: wire(0xfffe0000),
	}
	if t.at.nat {
		want.Src, want.SrcMask = wire(word(natAddr)), wire(0xffffffff)
	}
	if o.mixed {
		plan.Mixed = 1
	}
	for i := range t.gens {
		plan.Part = uint32(i)
		g := &t.gens[i].objects
		if err := errors.Join(g.Sent.Set(generatorProgress{}), g.Plan.Set(plan)); err != nil {
			return err
		}
	}
	return errors.Join(
		t.sink.Seen.Set(sinkCounts{}),
		t.sink.Histogram.Set([buckets]uint64{}),
		t.sink.Wanted.Set(want),
	)
}

// send runs the generators until the trial or ctx is over.
func (t *traffic) send(ctx context.Context) error {
	errs := make([]error, len(t.gens))
	var all sync.WaitGroup
	for i := range t.gens {
		all.Go(func() { errs[i] = t.gens[i].send(ctx, t.lab.generator) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// progress is what the generators have sent, all together.
func (t *traffic) progress() (sent generatorProgress, err error) {
	for i := range t.gens {
		var one generatorProgress
		if err := t.gens[i].objects.Sent.Get(&one); err != nil {
			return sent, fmt.Errorf("read the generator's counts: %w", err)
		}
		sent.Packets += one.Packets
		sent.Last = max(sent.Last, one.Last)
		if sent.First == 0 || one.First < sent.First {
			sent.First = one.First
		}
	}
	return sent, nil
}

// now is the time that the programs know.
func now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("forward: no monotonic clock: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// word is an IPv4 address in host order.
func word(addr string) uint32 {
	a := netip.MustParseAddr(addr).As4()
	return binary.BigEndian.Uint32(a[:])
}

// wire is a number in host order as the same bytes on the wire are for a
// program.
func wire(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}

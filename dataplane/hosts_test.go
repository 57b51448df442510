package dataplane

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

func TestHostBucketIsTwoLines(t *testing.T) {
	if n := unsafe.Sizeof(hostBucket{}); n != hostBucketBytes {
		t.Errorf("%d bytes, want %d", n, hostBucketBytes)
	}
}

// The counts of sources are those of a plain map, whatever begins and ends.
func TestHostsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := Options{MaxFlowsPerHost: rapid.IntRange(0, 6).Draw(rt, "flows"), NewFlowsPerHost: rapid.IntRange(1, 5).Draw(rt, "new")}
		h := newHosts(&limits, 64, 1)
		flows, began := make(map[uint64]int), make(map[[2]uint64]int)
		now := flowtable.Tick(0)
		for range 300 {
			key := 1 + rapid.Uint64Range(0, 20).Draw(rt, "source")*0x9e3779b97f4a7c15
			second := uint64(now / flowtable.TicksPerSecond)
			switch rapid.IntRange(0, 3).Draw(rt, "what") {
			case 0, 1:
				want := DropUnspecified
				if limits.MaxFlowsPerHost != 0 && flows[key] >= limits.MaxFlowsPerHost {
					want = DropHostFlows
				} else if began[[2]uint64{key, second}] >= limits.NewFlowsPerHost {
					want = DropHostRate
				}
				if got := h.refuses(key, now); got != want {
					rt.Fatalf("source %x with %d flows at %d: %v, want %v", key, flows[key], now, got, want)
				}
				if want == DropUnspecified {
					if !h.began(key, now) {
						rt.Fatal("no room")
					}
					flows[key]++
					began[[2]uint64{key, second}]++
				}
			case 2:
				if flows[key] > 0 {
					h.ended(key)
					flows[key]--
				}
			case 3:
				now += flowtable.Tick(rapid.IntRange(0, 20).Draw(rt, "ticks"))
			}
		}
	})
}

// A source has as many flows as it may, and another one when one of them has ended, be
// it by time, by a command or for a newer flow. Others are not affected.
func TestFlowsOfAHostAreLimited(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlowsPerHost = 3 })
	open := func(src netip.Addr, port uint16) bool {
		s := udp(port, 53)
		s.src = src
		return len(p.send(lan, build(t, lan, s))) == 1
	}
	for i := range uint16(5) {
		if got, want := open(clientAddr, 7000+i), i < 3; got != want {
			t.Errorf("flow %d: %v, want %v", i, got, want)
		}
	}
	if !open(clientAddr, 7000) {
		t.Error("a packet of a known flow was refused")
	}
	if !open(client2Addr, 7000) {
		t.Error("another source was refused")
	}
	p.workers[0].removeFlow(1, flowtable.EndDeleted)
	if !open(clientAddr, 7004) || open(clientAddr, 7005) {
		t.Error("after a flow was deleted, not exactly one more was admitted")
	}
	p.advance(31 * time.Second)
	for i := range uint16(4) {
		if got, want := open(clientAddr, 8000+i), i < 3; got != want {
			t.Errorf("after all have ended, flow %d: %v, want %v", i, got, want)
		}
	}
	if n := p.counterValue("drop_host_flows"); n != 4 {
		t.Errorf("drop_host_flows is %d, want 4", n)
	}
}

// One IPv6 host has many addresses: 64 bits name it.
func TestAnIPv6HostIs64Bits(t *testing.T) {
	p := newPath(t, func(o *Options) { o.MaxFlowsPerHost = 2 })
	for i, c := range []struct {
		src  string
		want int
	}{{"fd00:1:2::3", 1}, {"fd00:1:2::99", 1}, {"fd00:1:2::1234:5678", 0}, {"fd00:1:3::3", 1}} {
		s := spec{src: netip.MustParseAddr(c.src), dst: server6Addr, sport: 7000, dport: 53}
		if out := p.send(lan, build(t, lan, s)); len(out) != c.want {
			t.Errorf("%d, %s: %d packets sent, want %d", i, c.src, len(out), c.want)
		}
	}
}

func TestNewFlowsOfAHostAreLimited(t *testing.T) {
	p := newPath(t, func(o *Options) { o.NewFlowsPerHost = 10 })
	for second := range 3 {
		p.Advance(time.Second - time.Since(p.shared.start)%time.Second) // its beginning
		p.run()
		for i := range uint16(25) {
			p.send(lan, build(t, lan, udp(7000+uint16(second)*100+i, 53)))
		}
	}
	// A machine that halts may see a fourth second.
	if n := p.counterValue("flows_new"); n < 30 || n > 40 {
		t.Errorf("%d flows in three seconds, want 30", n)
	}
	if n := p.counterValue("drop_host_rate"); n+p.counterValue("flows_new") != 75 {
		t.Errorf("drop_host_rate is %d", n)
	}
}

// Of two workers each allows its half: never more than the limit, and all of it if the
// flows are spread evenly.
func TestLimitsOfAHostAreShared(t *testing.T) {
	p := newPath(t, func(o *Options) { o.Queues, o.MaxFlowsPerHost = 2, 10 })
	p.queue = func(int, []byte) int { return rand.IntN(2) }
	for i := range uint16(40) { // ports of both workers in turns
		p.send(lan, build(t, lan, udp(6400+i*64, 53)))
	}
	if n := p.counterValue("flows"); n != 10 {
		t.Errorf("%d flows, want 10", n)
	}
}

// Announced connections count for who opens them, and outside sources are limited too.
func TestAnnouncedFlowsCountForTheirSource(t *testing.T) {
	p := newPath(t, func(o *Options) {
		o.MaxFlowsPerHost = 1
		o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:53")}
	})
	s := newFTPSessionOn(t, p)
	s.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	data := spec{src: serverAddr, dst: poolAddr, sport: 20, dport: 6400, tcp: &layers.TCP{SYN: true, Seq: 7}}
	if out := p.send(wan, build(t, wan, data)); len(out) != 1 {
		t.Errorf("the data connection was refused: %v", drops(p))
	}
	if out := p.send(wan, build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 4000, dport: 53})); len(out) != 0 {
		t.Error("the server has begun two flows")
	}
}

// A flood from sources that nobody has takes no memory and no flow that was there, and
// honest sources are still limited.
func TestRandomSourcesTakeNoMemory(t *testing.T) {
	p := newPath(t, func(o *Options) {
		o.MaxFlows, o.MaxFlowsPerHost, o.NewFlowsPerHost = 2048, 5, 60000
		o.NAT.DNAT = []nat.DNATRule{mustRule("udp:198.51.100.32:53=10.1.2.3:53")}
	})
	bytes := memoryOf(p)
	frame := build(t, wan, spec{src: serverAddr, dst: poolAddr, sport: 4000, dport: 53})
	frame[40], frame[41] = 0, 0 // no UDP checksum
	rng := rand.New(rand.NewPCG(1, 2))
	flood := func(i int) []byte {
		binary.BigEndian.PutUint32(frame[26:], 20<<24|rng.Uint32()>>8)
		sumIPv4Frame(frame)
		return frame
	}
	p.mirror.SetFixed(siegeNetwork())
	p.checkNoAllocs(t, func(i int) []byte { // wan, not lan
		if p.Wires[wan][0].Deliver(flood(i)) != 1 {
			t.Fatal("the wire is full")
		}
		return build0
	})
	// A few find no room among the others, or lose flows to new ones. Ports in a row would be
	// neighbours in one table of a thousand, each new flow in the place of the last.
	honest := clientAddr
	for host := range uint16(10) {
		for i := range uint16(8) {
			q := udp(790*(2+8*host+i)+uint16(rng.UintN(790)), 80)
			q.src = honest
			p.send(lan, build(t, lan, q))
		}
		honest = honest.Next()
	}
	if n := p.counterValue("drop_host_flows"); n < 15 || n > 30 {
		t.Errorf("%d flows of ten honest sources were refused, want three of each: %v", n, drops(p))
	}
	if now := memoryOf(p); now != bytes {
		t.Errorf("%d bytes before, %d after", bytes, now)
	}
	made, uncounted := p.counterValue("flows_new"), p.counterValue("host_uncounted")
	if made < 3000 || uncounted > made/200 {
		t.Errorf("%d flows made, %d of them uncounted", made, uncounted)
	}
	t.Logf("%d flows made, %d of them uncounted", made, uncounted)
}

// build0 is a frame that is dropped at once.
var build0 = make([]byte, 60)

func memoryOf(p *path) uint64 {
	for _, c := range p.SharedStats() {
		if c.Name == "table_bytes" {
			return c.Value
		}
	}
	return 0
}

func BenchmarkHosts(b *testing.B) {
	for _, sources := range []int{100, 100_000} {
		b.Run(fmt.Sprintf("sources=%d", sources), func(b *testing.B) {
			h := newHosts(&Options{MaxFlowsPerHost: 1 << 20}, 262144, 1)
			keys := make([]uint64, sources)
			for i := range keys {
				keys[i] = rand.Uint64()
			}
			for i := 0; b.Loop(); i++ {
				key := keys[i%sources]
				if h.refuses(key, flowtable.Tick(i>>10)) == DropUnspecified {
					h.began(key, flowtable.Tick(i>>10))
					h.ended(key)
				}
			}
		})
	}
}

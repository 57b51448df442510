package nat_test

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// allocRounds is the number of packets in one measured run: the average is
// floored, so a single packet could hide rare allocations.
const allocRounds = 1000

func checkAllocs(t *testing.T, name string, f func(i int)) {
	t.Helper()
	n := testing.AllocsPerRun(5, func() {
		for i := range allocRounds {
			f(i)
		}
	})
	if n != 0 {
		t.Errorf("%s: %v allocations in %d packets", name, n, allocRounds)
	}
}

func TestAllocsFlow(t *testing.T) {
	use := new(nat.PortUse)
	mem := make([]uint32, nat.PortUseSlots)
	mustDo(t, use.Register(packet.IPv4, packet.AddrOf(addr("203.0.113.1")), mem))
	cfg := snatConfig(t, "203.0.113.1", "2001:db8::1")
	g := newGateway(t, cfg, 0, use)
	for _, src := range []string{"10.0.0.1:7000", "[fd00::1]:7000"} {
		dst := "198.51.100.1:80"
		if src[0] == '[' {
			dst = "[2001:db8:9::1]:80"
		}
		g.mustOpen(packet.ProtoTCP, src, dst) // forces every other host to search
		orig := tuple(packet.ProtoTCP, src, dst)
		var o flowtable.Tuple
		var origs [1]*flowtable.Tuple
		var flows [1]uint32
		checkAllocs(t, "open and close from "+src, func(i int) {
			o = orig
			o.Src.Lo += uint64(i&3 + 1)
			origs[0] = &o
			g.n.Recall(origs[:])
			c := g.choose(&o, nat.RealmInternal, nat.RealmExternal)
			idx, r := g.table.Add(&flowtable.NewFlow{Orig: &o, Reply: &c.Reply,
				Keys: flowtable.Keys{g.table.Hash(&o), c.Hash}, Status: c.Status}, 0)
			if c.Reason != nat.ReasonNone || r != flowtable.InsertOK {
				t.Fatalf("%v %v", c.Reason, r)
			}
			g.n.Bind(g.table, idx, &o, &c)
			flows[0] = idx
			g.n.RecallHeld(g.table, flows[:])
			g.close(idx)
		})
	}
	gre := tuple(packet.ProtoGRE, "10.0.0.1:0", "198.51.100.1:0")
	g.open(gre, nat.RealmInternal, nat.RealmExternal)
	gre.Src.Lo++
	checkAllocs(t, "refusal", func(int) {
		if c := g.choose(&gre, nat.RealmInternal, nat.RealmExternal); c.Reason != nat.ReasonClash {
			t.Fatal(c.Reason)
		}
	})
	e := flowtable.Expectation{Tuple: tuple(6, "198.51.100.1:0", "203.0.113.1:6400")}
	checkAllocs(t, "expected port", func(i int) {
		g.n.ExpectedPort(packet.IPv4, packet.ProtoTCP, e.Tuple.Dst, 6400, i&63)
		g.n.ReserveExpected(&e)
		g.n.ReleaseExpected(&e)
	})
}

func TestAllocsExhausted(t *testing.T) {
	g := newGateway(t, snatConfig(t, "203.0.113.1:2000-2000"), 0, nil)
	g.mustOpen(packet.ProtoTCP, "10.0.0.1:7000", "198.51.100.1:80")
	o := tuple(packet.ProtoTCP, "10.0.0.2:7000", "198.51.100.1:80")
	checkAllocs(t, "exhaustion", func(int) {
		if c := g.choose(&o, nat.RealmInternal, nat.RealmExternal); c.Reason != nat.ReasonPortsExhausted {
			t.Fatal(c.Reason)
		}
	})
}

func TestAllocsRewrite(t *testing.T) {
	for _, tt := range rewriteCases {
		frame := buildFrame(t, &tt.from, []byte("some text"))
		h := mustParse(t, frame)
		checkAllocs(t, "rewrite "+tt.name, func(int) {
			nat.Rewrite(frame, &h, &tt.from, &tt.to)
			nat.Rewrite(frame, &h, &tt.to, &tt.from)
		})
		quoted := icmpError(t, tt.from.Dst, tt.from.Src, buildIP(t, &tt.from, nil))
		qh := mustParse(t, quoted)
		var inner packet.Headers
		if tt.from.Proto != packet.ProtoGRE && packet.ParseInner(quoted, int(qh.Payload), &inner) != packet.ParseOK {
			t.Fatal("inner parse")
		}
		if tt.from.Proto == packet.ProtoGRE {
			continue
		}
		checkAllocs(t, "error "+tt.name, func(int) {
			nat.RewriteICMPError(quoted, &qh, &inner, &tt.from, &tt.to)
			nat.RewriteICMPError(quoted, &qh, &inner, &tt.to, &tt.from)
		})
	}
	frame := tcpFrame(t, 1000, 2000, []byte("PORT 10,0,0,5,25,0\r\n"), 2, 2000, 2100)
	h := mustParse(t, frame)
	ext := new(flowtable.Ext)
	checkAllocs(t, "replace and adjust", func(i int) {
		n, ok := nat.ReplaceText(frame, &h, int(h.Payload)+5, 4, []byte("203,"))
		if !ok {
			t.Fatal("no room")
		}
		nat.AddSeqChange(ext, flowtable.DirOriginal, flowtable.SeqChange{Start: uint32(i) * 9, Old: 4, New: 6}, uint32(i)*9)
		nat.AdjustTCP(frame[:n], &h, ext, flowtable.DirOriginal)
	})
}

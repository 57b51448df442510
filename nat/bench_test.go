package nat_test

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// BenchmarkChooseBindRelease is a flow's life without packets: choice, insert,
// mapping, release and removal, with 64k other flows in table and mappings.
func BenchmarkChooseBindRelease(b *testing.B) {
	const flows = 1 << 16
	for _, bb := range []struct {
		name string
		dst  uint64 // added to the destination: 0 = a taken port, so a search
	}{{"kept", 1 << 8}, {"searched", 0}} {
		b.Run(bb.name, func(b *testing.B) {
			cfg := snatConfig(b, "203.0.113.1-203.0.113.16")
			cfg.Workers = 1
			n := nat.NewTranslator(&cfg, 0, 1, 2*flows, nil)
			table, err := flowtable.New(flowtable.Options{MaxFlows: 2 * flows, Seed: 1})
			mustDo(b, err)
			defer table.Close()
			at := func(i int) flowtable.Tuple {
				return flowtable.Tuple{Src: packet.Addr{Lo: 0x0a000000 + uint64(i>>4)}, SrcPort: uint16(2000 + i<<4&0xff0),
					Dst: packet.Addr{Lo: 0xc6330000 + uint64(i&0xff)}, DstPort: 80, Proto: packet.ProtoTCP, Family: packet.IPv4}
			}
			open := func(o *flowtable.Tuple) uint32 {
				var c nat.Choice
				n.Propose(&c, table, o, nat.RealmInternal, nat.RealmExternal, packet.Addr{})
				n.Choose(&c, table, o, 0)
				idx, r := table.Add(&flowtable.NewFlow{Orig: o, Reply: &c.Reply,
					Keys: flowtable.Keys{table.Hash(o), c.Hash}, Status: c.Status}, 0)
				if c.Reason != nat.ReasonNone || r != flowtable.InsertOK {
					b.Fatalf("%v %v", c.Reason, r)
				}
				n.Bind(table, idx, o, &c)
				return idx
			}
			for i := range flows {
				o := at(i)
				open(&o)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				o := at(i * 7919 % flows)
				o.Src.Lo += 0x100000
				o.Dst.Lo += bb.dst
				i++
				idx := open(&o)
				n.Release(table, idx)
				table.Remove(idx)
			}
		})
	}
}

// BenchmarkRewrite translates bursts of 64 packets there and back; the figure
// is per packet.
func BenchmarkRewrite(b *testing.B) {
	const burst = 64
	for _, tt := range rewriteCases {
		b.Run(tt.name, func(b *testing.B) {
			var frames [burst][]byte
			for i := range frames {
				frames[i] = buildFrame(b, &tt.from, make([]byte, 18))
			}
			h := mustParse(b, frames[0])
			from, to := &tt.from, &tt.to
			b.ReportAllocs()
			for b.Loop() {
				for i := range frames {
					nat.Rewrite(frames[i], &h, from, to)
				}
				from, to = to, from
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*burst), "ns/pkt")
		})
	}
}

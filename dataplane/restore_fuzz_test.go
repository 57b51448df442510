package dataplane

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// FuzzRestore: whatever is in a state file, it is refused, or its flows are taken,
// take packets, also those that their helper reads, and end without anything left.
func FuzzRestore(f *testing.F) {
	seal := func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	}
	add := func(p *path) {
		state := p.savedState()
		f.Add(state[:len(state)-4])
	}
	many := newPath(f, manyFlows)
	many.manyConversations()
	add(many)
	ftp := newFTPSessionOn(f, newPath(f, nil))
	ftp.client(layers.TCP{ACK: true, PSH: true, Seq: 108, Ack: 508}, portCommand)
	ftp.send(lan, build(f, lan, spec{src: clientAddr, dst: serverAddr, sport: 40000, dport: 21, payload: []byte("PORT 10,"),
		tcp: &layers.TCP{ACK: true, PSH: true, Seq: 108 + uint32(len(portCommand)), Ack: 508}})) // held back
	add(ftp.path)

	p := newPath(f, func(o *Options) {
		manyFlows(o)
		o.Queues = 2
		o.Tracker = flowtable.NewTracker()
		o.Tracker.TCPLiberal = true
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		p.t = t
		if _, err := p.Restore(bytes.NewReader(seal(b)), time.Now()); err != nil {
			t.Skip(err)
		}
		for _, w := range p.workers {
			for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
				p.readText(t, w.flows.table, idx)
			}
		}
		p.run()
		for _, w := range p.workers {
			for idx := uint32(1); idx <= w.flows.table.HighWater(); idx++ {
				w.removeFlow(idx, flowtable.EndDeleted)
			}
		}
		p.Expectations().Expire(p.Now()+flowtable.MaxTimeout, nil)
		if n := p.counterValue("flows"); n != 0 || p.counterValue("nat_mappings") != 0 || p.path.strays.Len() != 0 {
			t.Fatalf("%d flows, %d mappings, %d strays are left", n, p.counterValue("nat_mappings"), p.path.strays.Len())
		}
	})
}

// readText sends a command along a flow of TCP over IPv4, at the place where its
// helper reads.
func (p *path) readText(t *testing.T, table *flowtable.Table, idx uint32) {
	t.Helper()
	var s flowtable.Snapshot
	if x := table.Ext(idx); x != nil && table.Read(idx, p.Now(), &s) && s.Proto == packet.ProtoTCP && s.Orig.Family == packet.IPv4 {
		for d, tu := range [2]*flowtable.Tuple{&s.Orig, &s.Reply} {
			p.send(d, build(t, d, spec{src: tu.Src.Netip(tu.Family), dst: tu.Dst.Netip(tu.Family), sport: tu.SrcPort, dport: tu.DstPort,
				tcp: &layers.TCP{ACK: true, Seq: x.Data[d], Ack: x.Data[1-d]}, payload: []byte("EPRT |1|10.1.2.3|6400|\r\nPORT 10,1,2,3,25,0\r\n")}))
		}
	}
}

package flowtable

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"github.com/xdpct/xdpct/packet"
)

// sealed gives bytes a checksum that fits, so that the fuzzer gets behind it.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(b), crc32.Checksum(b, castagnoliTable))
}

// FuzzReadState: whatever is in a file, it is refused or restored, and what was
// restored can be saved again.
func FuzzReadState(f *testing.F) {
	for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP, packet.ProtoICMP} {
		for _, family := range []packet.Family{packet.IPv4, packet.IPv6} {
			s := SavedFlow{Orig: Tuple{Src: packet.Addr{Lo: 5}, Dst: packet.Addr{Lo: 6}, SrcPort: 7, DstPort: 8, Proto: proto, Family: family},
				Timeout: 100, Status: StatusConfirmed | StatusHelper, HasExt: true, Counted: true, Start: 3}
			s.Reply = s.Orig.Invert()
			e := Expectation{ID: 9, Tuple: s.Orig, MasterOrig: s.Reply, Deadline: 2000}
			b := written(f, &s, &e)
			f.Add(b[:len(b)-checksumLen])
		}
	}
	tb, err := New(Options{MaxFlows: 64, Accounting: true, Timestamps: true})
	if err != nil {
		f.Fatal(err)
	}
	if err := tb.KeepIDs(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := readAll(b, func(StateRecord, *StateReader) {}); err == nil {
			t.Skip("has a checksum of its own")
		}
		var flows []uint32
		x := NewExpectations(16)
		_ = readAll(sealed(b), func(kind StateRecord, r *StateReader) {
			switch kind {
			case StateFlow:
				if idx, result := tb.Restore(&r.Flow, 1); result == InsertOK {
					flows = append(flows, idx)
				}
			case StateExpectation:
				x.Restore(&r.Expectation)
			}
		})
		var s SavedFlow
		var snap Snapshot
		for _, idx := range flows {
			tb.Save(idx, 1, 2, &s)
			tb.Read(idx, 2, &snap)
			tb.Remove(idx)
		}
		if tb.Len() != 0 {
			t.Fatalf("%d flows are left", tb.Len())
		}
	})
}

func BenchmarkState(b *testing.B) {
	const flows = 100_000
	tb, err := New(Options{MaxFlows: flows})
	if err != nil {
		b.Fatal(err)
	}
	for i := range flows {
		orig := Tuple{Src: packet.Addr{Lo: uint64(i)}, Dst: packet.Addr{Lo: 1}, SrcPort: 4000, DstPort: 80,
			Proto: packet.ProtoTCP, Family: packet.IPv4}
		reply := orig.Invert()
		tb.Add(&NewFlow{Orig: &orig, Reply: &reply, Keys: Keys{tb.Hash(&orig), tb.Hash(&reply)}, Timeout: 16000}, 1)
	}
	var out bytes.Buffer
	save := func() {
		out.Reset()
		w := NewStateWriter(&out, time.Now())
		var s SavedFlow
		for idx := uint32(1); idx <= tb.HighWater(); idx++ {
			if tb.Save(idx, 0, 2, &s) {
				w.Flow(&s)
			}
		}
		if err := w.Close(0); err != nil {
			b.Fatal(err)
		}
	}
	perFlow := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/flows, "ns/flow")
		b.ReportMetric(float64(out.Len())/flows, "B/flow")
	}
	b.Run("save", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			save()
		}
		perFlow(b)
	})
	b.Run("read", func(b *testing.B) {
		save()
		b.ReportAllocs()
		for b.Loop() {
			if err := readAll(out.Bytes(), func(StateRecord, *StateReader) {}); err != nil {
				b.Fatal(err)
			}
		}
		perFlow(b)
	})
}

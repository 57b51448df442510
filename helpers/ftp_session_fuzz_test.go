package helpers_test

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// fuzzTexts are pieces of a control connection; the fuzzer picks among them
// and adds its own.
var fuzzTexts = []string{
	"NOOP\r\n", "PORT 10,99,1,2,25,0\r\n", "PORT 10,99,1,2,200,7\r\n", "EPRT |1|10.99.1.2|6401|\r\n",
	"227 (10,99,2,2,40,2)\r\n", "229 x (|||10243|)\r\n", "PORT 10,99,1,9,25,0\r\n", "PORT 10,99,1,2,0,21\r\n",
	"PORT 10,9", "STOR x", "\r\n", "PORT 10,99,1,2,25,0\r",
}

// FuzzFTPSession plays segments, new and repeated, into the helper. Whatever
// the text: at most one expectation is pending, on an unprivileged port with
// the owner of the announced one and for the sender's own address; events and
// the flow's record agree with the table; frames stay well formed.
func FuzzFTPSession(f *testing.F) {
	f.Add([]byte{0, 16, 1, 17, 2, 2, 0x81, 3}, "PORT 1,2,3,4,5,6\r\n")
	f.Add([]byte{4 | 16, 5 | 16, 4 | 16, 0x84, 8, 1, 11, 10, 1}, "227 (10,99,2,2,0,22)\r\n")
	f.Fuzz(func(t *testing.T, script []byte, own string) {
		if len(own) > 1000 {
			return
		}
		s := snat4
		s.workers, s.pool, s.public = 3, "203.0.113.200", "203.0.113.200:35002"
		e := newSession(t, s)
		e.greet()
		events := make(map[uint32]bool)
		for _, op := range script[:min(len(script), 40)] {
			text := own
			if k := int(op & 15); k < len(fuzzTexts) {
				text = fuzzTexts[k]
			}
			d := flowtable.Dir(op >> 4 & 1)
			seq := e.seq[d]
			if op&0x80 != 0 { // repeat what was just sent
				seq -= uint32(len(text))
			}
			_, v := e.sendAt(d, seq, text)
			if v != helpers.VerdictDrop && seq == e.seq[d] {
				e.seq[d] += uint32(len(text))
			}
			if id := e.removed.ID; id != 0 {
				if !events[id] {
					t.Fatalf("removed %d, which is not pending", id)
				}
				delete(events, id)
			}
			if id := e.added.ID; id != 0 {
				events[id] = true
			}
			e.checkInvariants(events)
		}
	})
}

func (e *session) checkInvariants(events map[uint32]bool) {
	t := e.t
	t.Helper()
	x := e.pending() // at most one
	if x == nil {
		if len(events) != 0 {
			t.Fatalf("events say %v, nothing is pending", events)
		}
		return
	}
	if len(events) != 1 || !events[x.ID] || e.table.Ext(e.idx).Expect != x.ID {
		t.Fatalf("pending %d, flow says %d, events %v", x.ID, e.table.Ext(e.idx).Expect, events)
	}
	p := x.Tuple.DstPort
	if p < 1024 || x.SavedPort < 1024 {
		t.Fatalf("port %d for %d", p, x.SavedPort)
	}
	own := e.orig.Src
	if x.Dir == flowtable.DirReply {
		own = e.reply.Src
	} else if nat.PortOwner(p, 3) != nat.PortOwner(x.SavedPort, 3) {
		t.Fatalf("port %d for %d has another owner", p, x.SavedPort)
	}
	if x.SavedAddr != own {
		t.Fatalf("leads to %v", x.SavedAddr)
	}
}

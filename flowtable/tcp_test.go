package flowtable

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// kernelTCP is the transition table of Linux 7.0,
// net/netfilter/nf_conntrack_proto_tcp.c, typed independently of tcp.go.
// Columns: NO SS SR ES FW CW LA TW CL S2.
const kernelTCP = `
original syn     SS SS IG IG IG IG IG SS SS S2
original synack  IV IV SR IV IV IV IV IV IV SR
original fin     IV IV FW FW LA LA LA TW CL IV
original ack     ES IV ES ES CW CW TW TW CL IV
original rst     IV CL CL CL CL CL CL CL CL CL
original none    IV IV IV IV IV IV IV IV IV IV
reply    syn     IV S2 IV IV IV IV IV SS IV S2
reply    synack  IV SR IG IG IG IG IG IG IG SR
reply    fin     IV IV FW FW LA LA LA TW CL IV
reply    ack     IV IG SR ES CW CW TW TW CL IG
reply    rst     IV CL CL CL CL CL CL CL CL CL
reply    none    IV IV IV IV IV IV IV IV IV IV
`

// tcpSegments gives the flags of a segment of each class.
var tcpSegments = map[string]uint8{
	"syn": packet.SYN, "synack": packet.SYN | packet.ACK, "fin": packet.FIN | packet.ACK,
	"ack": packet.ACK, "rst": packet.RST, "none": packet.PSH,
}

// tcpFlow inserts a TCP flow in a state.
func tcpFlow(t testing.TB, tb *Table, state TCPState, status Status, timeout, now Tick) uint32 {
	t.Helper()
	tu := tuple4(int(now) + 7)
	tu.Proto = packet.ProtoTCP
	idx := mustInsert(t, tb, tu, timeout, now)
	tb.Flow(idx).SetState(uint8(state))
	tb.Flow(idx).AddStatus(status)
	return idx
}

// advance applies a segment that is in window of a flow without history.
func advance(tr *Tracker, tb *Table, idx uint32, d Dir, flags uint8, now Tick) Step {
	frame, h := tcpSpec{flags: flags, win: 65535}.build()
	return tr.Advance(tb, idx, d, frame, &h, now)
}

// TestTCPTable goes through all cells for a flow that has seen a reply and
// that has no history which makes a special case.
func TestTCPTable(t *testing.T) {
	short := map[string]TCPState{"SS": TCPSynSent, "SR": TCPSynRecv, "ES": TCPEstablished, "FW": TCPFinWait,
		"CW": TCPCloseWait, "LA": TCPLastAck, "TW": TCPTimeWait, "CL": TCPClose, "S2": TCPSynSent2}
	tr := NewTracker()
	cells := 0
	for _, line := range strings.Split(strings.TrimSpace(kernelTCP), "\n") {
		col := strings.Fields(line)
		d := DirOriginal
		if col[0] == "reply" {
			d = DirReply
		}
		for old := TCPNone; old < tcpStates; old++ {
			cell := col[2+int(old)]
			name := fmt.Sprintf("%s %s in %v", col[0], col[1], old)
			cells++
			if old == TCPNone {
				if d == DirOriginal {
					checkStart(t, tr, name, tcpSegments[col[1]], cell, short)
				}
				continue
			}
			tb := newTable(t, 1)
			idx := tcpFlow(t, tb, old, StatusSeenReply, 5000, 0)
			s := advance(tr, tb, idx, d, tcpSegments[col[1]], 100)
			f := tb.Flow(idx)
			want, wantState := OutcomeAccept, short[cell]
			deadline := Tick(100) + tr.Timeouts.TCP[wantState]
			switch {
			case cell == "IV":
				want, wantState, deadline = OutcomeInvalid, old, 5000
			case cell == "IG", cell == "SS" && old >= TCPTimeWait:
				want, wantState, deadline = OutcomeIgnore, old, 5000
			}
			if s.Outcome != want || TCPState(f.State()) != wantState || f.Deadline() != deadline {
				t.Errorf("%s: %v to %v, deadline %d; want %v to %v, deadline %d", name,
					s.Outcome, TCPState(f.State()), f.Deadline(), want, wantState, deadline)
			}
			if changed := s.Changes&ChangeState != 0; changed != (wantState != old) {
				t.Errorf("%s: state change reported: %v", name, changed)
			}
		}
	}
	if cells != 120 {
		t.Errorf("%d cells, want 120", cells)
	}
}

// checkStart checks the first column: what a segment without a flow makes.
func checkStart(t *testing.T, tr *Tracker, name string, flags uint8, cell string, short map[string]TCPState) {
	t.Helper()
	frame, h := tcpSpec{flags: flags}.build()
	state, _, cause := tr.Start(frame, &h)
	if cell == "IV" {
		if cause == InvalidNone {
			t.Errorf("%s: starts a flow in %v", name, TCPState(state))
		}
	} else if cause != InvalidNone || TCPState(state) != short[cell] {
		t.Errorf("%s: %v, %v, want %v", name, TCPState(state), cause, short[cell])
	}
}

func TestTCPFlagSets(t *testing.T) {
	const fin, syn, rst, ack, urg = packet.FIN, packet.SYN, packet.RST, packet.ACK, packet.URG
	legal := map[uint8]bool{syn: true, syn | urg: true, syn | ack: true, rst: true, rst | ack: true,
		fin | ack: true, fin | ack | urg: true, ack: true, ack | urg: true}
	for flags := range uint8(255) {
		want := legal[flags&(fin|syn|rst|ack|urg)]
		if got := tcpClass(flags) != tcpClassIllegal; got != want {
			t.Errorf("flags %08b: legal %v, want %v", flags, got, want)
		}
	}
}

// FuzzTCPState plays random segments and checks what must hold for all.
func FuzzTCPState(f *testing.F) {
	f.Add([]byte{2, 0x92, 16, 0x90, 17, 0x91, 16})
	f.Add([]byte{2, 0x82, 0x92, 16})
	f.Add([]byte{16, 4, 2})
	f.Fuzz(func(t *testing.T, script []byte) {
		tr := NewTracker()
		tb := newTable(t, 1)
		idx := tcpFlow(t, tb, TCPSynSent, StatusConfirmed, tr.Timeouts.TCP[TCPSynSent], 0)
		fl := tb.Flow(idx)
		now := Tick(0)
		for _, b := range script {
			now += Tick(b>>6&1) * TicksPerSecond
			d := Dir(b >> 7)
			before := *fl
			s := advance(tr, tb, idx, d, b&0x3f, now)
			if fl.State() == uint8(TCPNone) || fl.State() >= uint8(tcpStates) {
				t.Fatalf("state %d", fl.State())
			}
			if s.Outcome == OutcomeInvalid && (*fl != before || s.Cause == InvalidNone) {
				t.Fatal("an invalid segment changed the flow, or has no cause")
			}
			if before.Status()&^fl.Status()&(StatusAssured|StatusSeenReply|StatusConfirmed|statusCloseInit) != 0 {
				t.Fatalf("status bits lost: %x to %x", before.Status(), fl.Status())
			}
			if fl.Status()&StatusAssured != 0 && fl.Status()&StatusSeenReply == 0 {
				t.Fatal("assured without a reply")
			}
			if (s.Changes&ChangeState != 0) != (fl.State() != before.State()) && s.Outcome == OutcomeAccept {
				t.Fatalf("changes %b, state %d to %d", s.Changes, before.State(), fl.State())
			}
			if s.Outcome == OutcomeIgnore && fl.Deadline() != before.Deadline() {
				t.Fatal("an ignored segment moved the deadline")
			}
			if s.Outcome == OutcomeRestart || s.Outcome == OutcomeDestroy {
				return
			}
		}
	})
}

package flowtable

import (
	"testing"

	"github.com/xdpct/xdpct/packet"
)

// datagramStep is a packet of a flow that is not TCP.
type datagramStep struct {
	at      Tick // since the first packet
	d       Dir
	timeout Tick // seconds, after the packet
	changes Changes
}

func TestDatagramProtocols(t *testing.T) {
	const o, r, s = DirOriginal, DirReply, Tick(TicksPerSecond)
	for _, c := range []struct {
		name  string
		proto uint8
		first Tick // seconds
		steps []datagramStep
	}{
		{"udp becomes a stream after two seconds", packet.ProtoUDP, 30, []datagramStep{
			{1, o, 30, 0}, {2, r, 30, ChangeReply}, {3, o, 30, 0}, {2 * s, r, 30, 0},
			{2*s + 1, o, 120, ChangeAssured}, {3 * s, r, 120, 0}}},
		{"udp without a reply never does", packet.ProtoUDP, 30, []datagramStep{
			{3 * s, o, 30, 0}, {20 * s, o, 30, 0}}},
		{"udp late reply", packet.ProtoUDP, 30, []datagramStep{
			{10 * s, r, 30, ChangeReply}, {10 * s, r, 120, ChangeAssured}}},
		{"icmp", packet.ProtoICMP, 30, []datagramStep{
			{1, r, 30, ChangeReply}, {10 * s, o, 30, 0}, {11 * s, r, 30, 0}}},
		{"icmpv6", packet.ProtoICMPv6, 30, []datagramStep{{1, r, 30, ChangeReply}, {9 * s, o, 30, 0}}},
		{"gre", packet.ProtoGRE, 30, []datagramStep{
			{1, o, 30, 0}, {2, r, 30, ChangeReply}, {3, o, 180, ChangeAssured}, {4, r, 180, 0}}},
		{"proto 253", 253, 600, []datagramStep{{1, r, 600, ChangeReply}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, tb := NewTracker(), newTable(t, 1)
			h := packet.Headers{Proto: c.proto, Family: packet.IPv4}
			query := []byte{8, 0}
			if c.proto == packet.ProtoICMPv6 {
				query[0] = 128
			}
			state, timeout, cause := tr.Start(query, &h)
			if state != 0 || timeout != c.first*TicksPerSecond || cause != InvalidNone {
				t.Fatalf("start: %d, %d, %v", state, timeout, cause)
			}
			const start = Tick(12345)
			tu := tuple4(1)
			tu.Proto = c.proto
			idx := mustInsert(t, tb, tu, timeout, start)
			for i, s := range c.steps {
				now := start + s.at
				step := tr.Advance(tb, idx, s.d, nil, &h, now)
				left := tb.Flow(idx).Deadline() - now
				if step.Outcome != OutcomeAccept || step.Changes != s.changes || left != s.timeout*TicksPerSecond {
					t.Errorf("step %d: %v, changes %b, left %d; want changes %b, left %d",
						i, step.Outcome, step.Changes, left, s.changes, s.timeout*TicksPerSecond)
				}
			}
		})
	}
}

func TestICMPStartsByQueriesOnly(t *testing.T) {
	tr := NewTracker()
	for proto, queries := range map[uint8]map[int]bool{
		packet.ProtoICMP:   {8: true, 13: true, 15: true, 17: true},
		packet.ProtoICMPv6: {128: true, 139: true},
	} {
		h := packet.Headers{Proto: proto}
		for typ := range 256 {
			_, _, cause := tr.Start([]byte{byte(typ)}, &h)
			if (cause == InvalidNone) != queries[typ] {
				t.Errorf("protocol %d type %d: %v", proto, typ, cause)
			}
			if !queries[typ] && cause != InvalidICMPType {
				t.Errorf("protocol %d type %d: cause %v", proto, typ, cause)
			}
		}
		if _, _, cause := tr.Start(nil, &h); cause != InvalidTruncated {
			t.Errorf("protocol %d without a header: %v", proto, cause)
		}
	}
}

func TestInvalidSegmentChangesNothing(t *testing.T) {
	tr, tb := NewTracker(), newTable(t, 1)
	idx := tcpFlow(t, tb, TCPEstablished, StatusSeenReply, 1000, 0)
	before := *tb.Flow(idx)
	for _, c := range []struct {
		flags uint8
		cause Invalid
	}{{packet.SYN | packet.FIN, InvalidTCPFlags}, {0, InvalidTCPFlags}, {packet.SYN | packet.ACK, InvalidTCPState}} {
		if s := advance(tr, tb, idx, DirOriginal, c.flags, 50); s != (Step{Cause: c.cause}) {
			t.Errorf("flags %#x: %+v", c.flags, s)
		}
	}
	if *tb.Flow(idx) != before {
		t.Error("an invalid segment changed the flow")
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range NumInvalid {
		name := Invalid(i).String()
		if name == "" || seen[name] || name[0] == 'I' {
			t.Errorf("cause %d: name %q", i, name)
		}
		seen[name] = true
	}
	for s := range tcpStates {
		if got, ok := ParseTCPState(s.String()); !ok || got != s {
			t.Errorf("state %v does not parse", s)
		}
	}
	if _, ok := ParseTCPState("LISTEN"); ok {
		t.Error("unknown state accepted")
	}
}

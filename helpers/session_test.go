package helpers_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// session is a control connection through a gateway of one worker: the
// client's and the server's sequence numbers, the table and the helper.
type session struct {
	t        testing.TB
	table    *flowtable.Table
	idx      uint32
	orig     flowtable.Tuple
	reply    flowtable.Tuple
	set      *helpers.Set
	c        helpers.Context
	h        packet.Headers
	seq      [2]uint32 // next sequence number of each direction
	urgent   uint16    // urgent pointer of frames with URG
	counters helpers.Counters
	id       helpers.ID
	// What the last packet brought: the last of each, ID 0 = none.
	added, removed flowtable.Expectation
}

// sides is what a session is built from: who talks to whom, seen from where.
type sides struct {
	client, server string // as the client sees them, "addr:port"
	public         string // the client as the server sees it; "" = client
	target         string // the server as it is behind DNAT; "" = server
	pool           string // snat flag; "" = none
	spec           string // helper flag; "" = ftp
	workers        int
}

func addrPort(s string) (packet.Addr, uint16, packet.Family) {
	p := netip.MustParseAddrPort(s)
	return packet.AddrOf(p.Addr()), p.Port(), packet.FamilyOf(p.Addr())
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newSession makes an established control connection.
func newSession(t testing.TB, s sides) *session {
	t.Helper()
	if s.public == "" {
		s.public = s.client
	}
	if s.target == "" {
		s.target = s.server
	}
	if s.spec == "" {
		s.spec = "ftp"
	}
	cfg := nat.Config{Workers: max(s.workers, 1)}
	if s.pool != "" {
		p, err := nat.ParseSNAT(s.pool)
		mustDo(t, err)
		cfg.SNAT = []nat.Pool{p}
	}
	mustDo(t, cfg.Validate())
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1024, Seed: 1})
	mustDo(t, err)
	t.Cleanup(func() { mustDo(t, table.Close()) })
	spec, err := helpers.ParseSpec(s.spec)
	mustDo(t, err)

	e := &session{t: t, table: table, set: helpers.NewSet(spec), id: spec.ID, seq: [2]uint32{1000, 500000}}
	e.orig.Src, e.orig.SrcPort, e.orig.Family = addrPort(s.client)
	e.orig.Dst, e.orig.DstPort, _ = addrPort(s.server)
	e.orig.Proto = packet.ProtoTCP
	if spec.ID != helpers.IDFTP {
		e.orig.Proto = packet.ProtoUDP
	}
	e.reply = e.orig.Invert()
	e.reply.Src, e.reply.SrcPort, _ = addrPort(s.target)
	e.reply.Dst, e.reply.DstPort, _ = addrPort(s.public)
	idx, r := table.Insert(&e.orig, &e.reply, 0)
	if r != flowtable.InsertOK {
		t.Fatal(r)
	}
	e.idx = idx
	if e.set.For(&e.orig) != spec.ID || !helpers.Attach(table, idx, spec.ID, flowtable.FlowID{}) {
		t.Fatal("no helper attached")
	}
	e.c = helpers.Context{
		Table: table, Expectations: flowtable.NewExpectations(16),
		Translator: nat.NewTranslator(&cfg, 0, 1, 64, nil), Counters: &e.counters, Tell: e.hear,
	}
	e.established()
	return e
}

// hear notes what the helper says of expectations.
func (e *session) hear(kind flowtable.EventKind, x *flowtable.Expectation) {
	if kind == flowtable.EventNew {
		e.added = *x
	} else {
		e.removed = *x
	}
}

// established marks the flow as the tracker does after a handshake.
func (e *session) established() {
	f := e.table.Flow(e.idx)
	f.AddStatus(flowtable.StatusSeenReply | flowtable.StatusAssured | flowtable.StatusConfirmed)
	f.SetState(uint8(flowtable.TCPEstablished))
}

// frame builds a segment as its sender puts it on the wire.
func (e *session) frame(d flowtable.Dir, seq uint32, flags uint8, text string) []byte {
	e.t.Helper()
	tu := e.orig
	if d == flowtable.DirReply {
		tu = e.reply
	}
	if tu.Proto == packet.ProtoUDP {
		return e.datagram(&tu, text)
	}
	src, dst := tu.Src.Netip(tu.Family).AsSlice(), tu.Dst.Netip(tu.Family).AsSlice()
	l := &layers.TCP{SrcPort: layers.TCPPort(tu.SrcPort), DstPort: layers.TCPPort(tu.DstPort), Seq: seq, Ack: e.seq[d.Opposite()],
		ACK: flags&packet.ACK != 0, SYN: flags&packet.SYN != 0, FIN: flags&packet.FIN != 0, PSH: true, Window: 500}
	if flags&packet.URG != 0 {
		l.URG, l.Urgent = true, e.urgent
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	var err error
	if tu.Family == packet.IPv4 {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
		mustDo(e.t, l.SetNetworkLayerForChecksum(ip))
		err = gopacket.SerializeLayers(buf, options, ip, l, gopacket.Payload(text))
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
		mustDo(e.t, l.SetNetworkLayerForChecksum(ip))
		err = gopacket.SerializeLayers(buf, options, ip, l, gopacket.Payload(text))
	}
	mustDo(e.t, err)
	f := make([]byte, 14, 2048)
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	if tu.Family == packet.IPv6 {
		binary.BigEndian.PutUint16(f[12:], 0x86dd)
	}
	return append(f, buf.Bytes()...)
}

// datagram builds a UDP packet.
func (e *session) datagram(tu *flowtable.Tuple, text string) []byte {
	e.t.Helper()
	src, dst := tu.Src.Netip(tu.Family).AsSlice(), tu.Dst.Netip(tu.Family).AsSlice()
	l := &layers.UDP{SrcPort: layers.UDPPort(tu.SrcPort), DstPort: layers.UDPPort(tu.DstPort)}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	ip4 := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src, DstIP: dst}
	f := make([]byte, 14, 2048)
	if tu.Family == packet.IPv4 {
		binary.BigEndian.PutUint16(f[12:], 0x0800)
		mustDo(e.t, l.SetNetworkLayerForChecksum(ip4))
		mustDo(e.t, gopacket.SerializeLayers(buf, options, ip4, l, gopacket.Payload(text)))
	} else {
		binary.BigEndian.PutUint16(f[12:], 0x86dd)
		mustDo(e.t, l.SetNetworkLayerForChecksum(ip6))
		mustDo(e.t, gopacket.SerializeLayers(buf, options, ip6, l, gopacket.Payload(text)))
	}
	return append(f, buf.Bytes()...)
}

// reparse makes a frame the one that the helper sees next, as of the client.
func (e *session) reparse(frame []byte) {
	if r := packet.Parse(frame, &e.h); r != packet.ParseOK {
		e.t.Fatalf("parse: %d", r)
	}
	e.c.Index, e.c.Dir, e.c.Headers, e.c.Frame = e.idx, orig, &e.h, frame
}

// sendAt passes a segment at seq to the helper and returns what is left of
// its text; "" with VerdictDrop.
func (e *session) sendAt(d flowtable.Dir, seq uint32, text string) (string, helpers.Verdict) {
	e.t.Helper()
	return e.pass(d, e.frame(d, seq, packet.ACK, text))
}

func (e *session) pass(d flowtable.Dir, frame []byte) (string, helpers.Verdict) {
	e.t.Helper()
	if r := packet.Parse(frame, &e.h); r != packet.ParseOK {
		e.t.Fatalf("parse: %d", r)
	}
	e.c.Index, e.c.Dir, e.c.Headers, e.c.Frame = e.idx, d, &e.h, frame
	before := bytes.Clone(frame)
	e.added.ID, e.removed.ID = 0, 0
	v := e.set.Packet(e.id, &e.c)
	switch v {
	case helpers.VerdictDrop:
		if !e.c.Cause.Drops() && e.c.Headers.Payload < e.c.Headers.End {
			e.t.Errorf("dropped with cause %v", e.c.Cause)
		}
		return "", v
	case helpers.VerdictAccept:
		if !bytes.Equal(before, e.c.Frame) {
			e.t.Error("accepted, but the frame has changed")
		}
	}
	var h packet.Headers
	if r := packet.Parse(e.c.Frame, &h); r != packet.ParseOK || h != e.h {
		e.t.Fatalf("changed frame: parse %d, headers %+v, want %+v", r, h, e.h)
	}
	e.checkSum(h)
	return string(e.c.Frame[h.Payload:h.End]), v
}

// checkSum recomputes the TCP checksum of the frame.
func (e *session) checkSum(h packet.Headers) {
	e.t.Helper()
	tu := e.orig
	if e.c.Dir == flowtable.DirReply {
		tu = e.reply
	}
	sum := packet.PseudoSum(tu.Family, tu.Src, tu.Dst, tu.Proto, int(h.End-h.L4))
	if got := packet.Fold(packet.Sum(e.c.Frame[h.L4:h.End], sum)); got != 0 {
		e.t.Errorf("transport checksum is off by %#x", got)
	}
}

// send passes the next segment of a direction; if it is dropped the sender
// stays where it was.
func (e *session) send(d flowtable.Dir, text string) (string, helpers.Verdict) {
	e.t.Helper()
	got, v := e.sendAt(d, e.seq[d], text)
	if v != helpers.VerdictDrop {
		e.seq[d] += uint32(len(text))
	}
	return got, v
}

// greet exchanges a first line in both directions, so that the helper knows
// where lines start.
func (e *session) greet() {
	e.t.Helper()
	e.send(flowtable.DirReply, "220 ready\r\n")
	if _, v := e.send(flowtable.DirOriginal, "USER anna\r\n"); v != helpers.VerdictAccept || e.c.Cause != helpers.CauseNone {
		e.t.Fatalf("USER: verdict %d, %v", v, e.c.Cause)
	}
}

// pending returns the only pending expectation, or nil.
func (e *session) pending() *flowtable.Expectation {
	e.t.Helper()
	var all []flowtable.Expectation
	e.c.Expectations.Each(func(x *flowtable.Expectation) bool {
		all = append(all, *x)
		return true
	})
	switch len(all) {
	case 0:
		return nil
	case 1:
		return &all[0]
	}
	e.t.Fatalf("%d expectations pending", len(all))
	return nil
}

// checkPending asserts the pending expectation, "" = none.
func (e *session) checkPending(src, dst string) {
	e.t.Helper()
	x := e.pending()
	if dst == "" {
		if x != nil {
			e.t.Errorf("expectation %v, want none", &x.Tuple)
		}
		return
	}
	want := flowtable.Tuple{Proto: e.orig.Proto}
	want.Dst, want.DstPort, want.Family = addrPort(dst)
	want.Src = packet.AddrOf(netip.MustParseAddr(src))
	if x == nil {
		e.t.Fatalf("no expectation, want %v", &want)
	}
	if x.Tuple != want {
		e.t.Errorf("expectation %v, want %v", &x.Tuple, &want)
	}
	if x.MasterOrig != e.orig || x.Master.Index != e.idx || x.Helper != uint8(e.id) {
		e.t.Errorf("expectation of %+v by helper %d", x.Master, x.Helper)
	}
}

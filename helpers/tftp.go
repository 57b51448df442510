package helpers

import (
	"bytes"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// tftpHelper follows requests of TFTP (RFC 1350): the server answers from a fresh
// port to the port that the request came from. As net/netfilter/nf_conntrack_tftp.c.
var tftpHelper = helper{
	name: "tftp", proto: packet.ProtoUDP, port: 69,
	unit:    "TFTP requests",
	packet:  tftpPacket,
	classes: []class{{max: 1, lifetime: 300 * flowtable.TicksPerSecond}}, // tftp_exp_policy
	causes: []Cause{
		CauseExpected, CauseExpectPending, CauseMalformed, CauseFragment, CauseTooFast, CauseExpectFull, CauseHostFull,
	},
}

// Opcodes (RFC 1350 section 5).
const (
	tftpRead  = 1
	tftpWrite = 2
)

// tftpPacket reads one packet of a flow to the server's port. A request that is
// repeated announces the same again, which renews it.
func tftpPacket(c *Context) Verdict {
	h := c.Headers
	if c.Dir != flowtable.DirOriginal || h.Proto != packet.ProtoUDP || h.Payload == h.End {
		return VerdictAccept
	}
	ext := c.Table.Ext(c.Index)
	switch {
	case ext == nil:
		return VerdictAccept
	case h.Fragment != packet.NotFragment:
		c.note(CauseFragment)
		return VerdictAccept
	case !isTFTPRequest(c.Frame[h.Payload:h.End]):
		c.note(CauseMalformed)
		return VerdictAccept
	case !(*allowance)(&ext.Data[0]).spend(c.Now):
		c.note(CauseTooFast)
		return VerdictDrop
	}
	// Nothing of this is in the text: the client's port is the one that the request
	// has already got outside.
	var orig, reply flowtable.Tuple
	c.Table.Tuple(c.Index, flowtable.DirOriginal, &orig)
	c.Table.Tuple(c.Index, flowtable.DirReply, &reply)
	e := flowtable.Expectation{Tuple: reply, SavedAddr: orig.Src, SavedPort: orig.SrcPort}
	e.Tuple.SrcPort = 0
	cause := refusal(c.expect(&e))
	c.note(cause)
	if cause.Drops() {
		return VerdictDrop
	}
	return VerdictAccept
}

// isTFTPRequest tells whether b is a request to read or write: a name and a mode,
// each ended by a zero byte (RFC 1350 section 5). Options may follow (RFC 2347).
func isTFTPRequest(b []byte) bool {
	if len(b) < 2 || b[0] != 0 || b[1] != tftpRead && b[1] != tftpWrite {
		return false
	}
	name, rest, ok := bytes.Cut(b[2:], []byte{0})
	if !ok || len(name) == 0 {
		return false
	}
	mode, _, ok := bytes.Cut(rest, []byte{0})
	return ok && (isFold(mode, "OCTET") || isFold(mode, "NETASCII") || isFold(mode, "MAIL"))
}

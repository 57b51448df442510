package helpers

import (
	"bytes"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/packet"
)

// FuzzFTP feeds the grammar: it must not panic, must stay within the segment,
// and what it accepts must, rewritten with its own address and port, be read
// again as the same.
func FuzzFTP(f *testing.F) {
	for _, s := range []string{
		"PORT 10,99,1,2,25,0\r\n", "EPRT |1|10.99.1.2|6400|\r\n", "EPRT !1!10.99.1.2!6400!", "P", "EPRT |1|10", "PORT 255,255,255,255,255,255\r",
	} {
		f.Add(false, false, []byte(s))
	}
	for _, s := range []string{
		"227 Entering Passive Mode (10,99,2,2,40,2).\r\n", "227 10,99,2,2,40,2 ", "229 Extended (|||10242|)\r\n", "229 (!!!1!)", "22", "227-x\r\n",
	} {
		f.Add(true, false, []byte(s))
	}
	f.Add(false, true, []byte("EPRT |2|fd99:1::2|6400|\r\n"))
	f.Add(false, true, []byte("EPRT |2|::ffff:1.2.3.4|6400|\r\n"))
	f.Fuzz(func(t *testing.T, reply, v6 bool, b []byte) {
		d, family := flowtable.DirOriginal, packet.IPv4
		if reply {
			d = flowtable.DirReply
		}
		if v6 {
			family = packet.IPv6
		}
		before := bytes.Clone(b)
		if len(b) == 0 || bytes.IndexByte(b, '\n') >= 0 && bytes.IndexByte(b, '\n') < len(b)-1 {
			return // one line, or its start
		}
		c, ok, cause := parseCommand(d, family, b)
		if !bytes.Equal(b, before) {
			t.Fatal("the text has changed")
		}
		if ok && cause != CauseNone || cause == CausePartial && bytes.IndexByte(b, '\n') == len(b)-1 {
			t.Fatalf("ok %v, cause %v", ok, cause)
		}
		if !ok {
			return
		}
		if c.off < 4 || c.n <= 0 || c.off+c.n > len(b) || c.port == 0 {
			t.Fatalf("%+v of %d bytes", c, len(b))
		}
		text := c.appendText(bytes.Clone(b[:c.off]), family, c.addr, c.port)
		n := len(text)
		again, ok, cause := parseCommand(d, family, append(text, b[c.off+c.n:]...))
		if !ok {
			t.Fatalf("%q: cause %v when read again as %q", b, cause, text)
		}
		if again.kind != c.kind || again.addr != c.addr || again.port != c.port || again.off != c.off || again.off+again.n != n {
			t.Fatalf("%q: %+v, read again %+v", b, c, again)
		}
	})
}

package helpers_test

import (
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

// TestFTPBothTranslated: both ends of the control connection have other addresses on
// the other side. So have those of the data connection, in all four modes.
func TestFTPBothTranslated(t *testing.T) {
	s := sides{client: "10.99.1.2:35002", server: "203.0.113.1:21", public: "203.0.113.9:35002", target: "10.0.0.7:2121", pool: "203.0.113.9"}
	for _, tt := range []struct {
		dir              flowtable.Dir
		in, out          string
		from, announced  string // the data connection as it comes
		inside, answered string // where it is led, and what it is seen to come from
	}{
		{orig, "PORT 10,99,1,2,25,0\r\n", "PORT 203,0,113,9,25,0\r\n", "10.0.0.7", "203.0.113.9:6400", "10.99.1.2:6400", "203.0.113.1"},
		{orig, "EPRT |1|10.99.1.2|6400|\r\n", "EPRT |1|203.0.113.9|6400|\r\n", "10.0.0.7", "203.0.113.9:6400", "10.99.1.2:6400", "203.0.113.1"},
		{reply, "227 x (10,0,0,7,40,2)\r\n", "227 x (203,0,113,1,40,2)\r\n", "10.99.1.2", "203.0.113.1:10242", "10.0.0.7:10242", "203.0.113.9"},
		{reply, "229 x (|||10242|)\r\n", "229 x (|||10242|)\r\n", "10.99.1.2", "203.0.113.1:10242", "10.0.0.7:10242", "203.0.113.9"},
	} {
		e := newSession(t, s)
		e.greet()
		if got, v := e.send(tt.dir, tt.in); v == drop || got != tt.out {
			t.Errorf("%q: verdict %d %q, want %q", tt.in, v, got, tt.out)
		}
		e.checkPending(tt.from, tt.announced)
		x := e.pending()
		data := x.Tuple
		data.SrcPort = 20
		c := e.c.Translator.Expected(e.table, &data, x, nil, &e.reply, 0)
		inside, port, _ := addrPort(tt.inside)
		seen, _, _ := addrPort(tt.answered + ":1")
		if c.Reason != nat.ReasonNone || c.Reply.Src != inside || c.Reply.SrcPort != port || c.Reply.Dst != seen || c.Reply.DstPort != 20 {
			t.Errorf("%q: data connection %v %v", tt.in, c.Reason, &c.Reply)
		}
	}
}

package helpers_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/packet"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		in   string
		want helpers.Spec
		err  string
	}{
		{in: "ftp", want: helpers.Spec{ID: helpers.IDFTP, Ports: []uint16{21}}},
		{in: "FTP:2121", want: helpers.Spec{ID: helpers.IDFTP, Ports: []uint16{2121}}},
		{in: "ftp:21,2121", want: helpers.Spec{ID: helpers.IDFTP, Ports: []uint16{21, 2121}}},
		{in: "ftp:loose", want: helpers.Spec{ID: helpers.IDFTP, Ports: []uint16{21}, Loose: true}},
		{in: "ftp:2121:loose", want: helpers.Spec{ID: helpers.IDFTP, Ports: []uint16{2121}, Loose: true}},
		{in: "", err: "expected ftp"},
		{in: "tftp", want: helpers.Spec{ID: helpers.IDTFTP, Ports: []uint16{69}}},
		{in: "tftp:69:loose", err: "tftp has no option loose"},
		{in: "irc", err: `no helper "irc", expected ftp`},
		{in: "ftp:", err: "no ports after"},
		{in: "ftp:0", err: `"0" is not a port, expected 1-65535`},
		{in: "ftp:21,", err: `"" is not a port`},
		{in: "ftp:70000", err: `"70000" is not a port`},
		{in: "ftp:21,21", err: "port 21 is given twice"},
		{in: "ftp:21:lax", err: `unknown option "lax"`},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := helpers.ParseSpec(tt.in)
			if tt.err == "" {
				if err != nil || !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.err)
			}
		})
	}
}

func TestSetFor(t *testing.T) {
	specs := []helpers.Spec{
		{ID: helpers.IDFTP, Ports: []uint16{21, 65535}}, {ID: helpers.IDFTP, Ports: []uint16{2121}},
		{ID: helpers.IDTFTP, Ports: []uint16{69, 2121}},
	}
	if err := helpers.CheckSpecs(specs); err != nil {
		t.Fatal(err)
	}
	set := helpers.NewSet(specs...)
	for _, tt := range []struct {
		set   *helpers.Set
		proto uint8
		port  uint16
		want  helpers.ID
	}{
		{set, packet.ProtoTCP, 21, helpers.IDFTP}, {set, packet.ProtoTCP, 2121, helpers.IDFTP},
		{set, packet.ProtoTCP, 65535, helpers.IDFTP}, {set, packet.ProtoTCP, 22, helpers.None},
		{set, packet.ProtoUDP, 21, helpers.None}, {set, packet.ProtoUDP, 2121, helpers.IDTFTP},
		{set, packet.ProtoUDP, 69, helpers.IDTFTP}, {set, packet.ProtoTCP, 69, helpers.None}, {set, packet.ProtoSCTP, 69, helpers.None},
		{nil, packet.ProtoTCP, 21, helpers.None},
		{new(helpers.Set), packet.ProtoTCP, 21, helpers.None},
	} {
		tu := flowtable.Tuple{Proto: tt.proto, DstPort: tt.port}
		if got := tt.set.For(&tu); got != tt.want {
			t.Errorf("protocol %d port %d: %v, want %v", tt.proto, tt.port, got.Name(), tt.want.Name())
		}
	}
}

func TestCauseNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range helpers.AllCounted() {
		if s := c.Name; seen[s] || strings.Contains(s, "(") || strings.Contains(s, "__") || !strings.HasPrefix(s, c.ID.Name()+"_") {
			t.Errorf("cause %d of %s is called %q", c.Cause, c.ID.Name(), s)
		} else {
			seen[s] = true
		}
	}
}

func TestUsageNamesAllHelpers(t *testing.T) {
	for _, name := range helpers.Names() {
		if _, err := helpers.ParseSpec(name); err != nil || !strings.Contains(helpers.Usage(), "\n"+name+" ") {
			t.Errorf("%s: %v; usage %s", name, err, helpers.Usage())
		}
	}
}

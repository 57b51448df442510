package nat_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestParseSNAT(t *testing.T) {
	tests := []struct {
		in   string
		want nat.Pool
		err  string // part of the message; "" = valid
	}{
		{in: "203.0.113.1", want: nat.Pool{First: addr("203.0.113.1"), Last: addr("203.0.113.1")}},
		{in: "203.0.113.1-203.0.113.9", want: nat.Pool{First: addr("203.0.113.1"), Last: addr("203.0.113.9")}},
		{in: "203.0.113.1:2000-2999", want: nat.Pool{First: addr("203.0.113.1"), Last: addr("203.0.113.1"), FirstPort: 2000, LastPort: 2999}},
		{in: "203.0.113.1-203.0.113.2:80", want: nat.Pool{First: addr("203.0.113.1"), Last: addr("203.0.113.2"), FirstPort: 80, LastPort: 80}},
		{in: "2001:db8::1", want: nat.Pool{First: addr("2001:db8::1"), Last: addr("2001:db8::1")}},
		{in: "2001:db8::1-2001:db8::ff", want: nat.Pool{First: addr("2001:db8::1"), Last: addr("2001:db8::ff")}},
		{in: "[2001:db8::1]", want: nat.Pool{First: addr("2001:db8::1"), Last: addr("2001:db8::1")}},
		{in: "[2001:db8::1-2001:db8::2]:1024-2047", want: nat.Pool{First: addr("2001:db8::1"), Last: addr("2001:db8::2"), FirstPort: 1024, LastPort: 2047}},
		{in: "::ffff:203.0.113.1", want: nat.Pool{First: addr("203.0.113.1"), Last: addr("203.0.113.1")}},

		{in: "", err: `"" is not an address`},
		{in: "eth0", err: `"eth0" is not an address`},
		{in: "203.0.113.0/24", err: "is not an address, expected for example 203.0.113.1"},
		{in: "203.0.113.9-203.0.113.1", err: "reversed, expected 203.0.113.1-203.0.113.9"},
		{in: "203.0.113.1-2001:db8::1", err: "mixes IPv4 and IPv6"},
		{in: "203.0.113.1-203.0.113.4-203.0.113.8", err: "is not an address"},
		{in: "203.0.113.1:", err: `nothing after ":"`},
		{in: "203.0.113.1:0-100", err: `"0" is not a port`},
		{in: "203.0.113.1:+1-100", err: `"+1" is not a port`},
		{in: "203.0.113.1:100-65536", err: `"65536" is not a port`},
		{in: "203.0.113.1:200-100", err: "reversed, expected 100-200"},
		{in: "203.0.113.1:100-", err: `"" is not a port`},
		{in: "[2001:db8::1", err: `missing "]"`},
		{in: "[2001:db8::1]80", err: `unexpected "80"`},
		{in: "fe80::1%eth0", err: "has a zone"},
		{in: "224.0.0.1", err: "unicast"},
		{in: "0.0.0.0", err: "unicast"},
		{in: "127.0.0.1", err: "unicast"},
		{in: "10.0.0.0-10.1.0.0", err: "too large, expected at most 65536"},
		{in: "2001:db8::-2001:db8:1::", err: "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := nat.ParseSNAT(tt.in)
			checkParse(t, err, tt.err)
			if tt.err == "" && got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestParseDNAT(t *testing.T) {
	tests := []struct {
		in   string
		want nat.DNATRule
		err  string
	}{
		{in: "tcp:203.0.113.1:80=10.0.0.5:8080", want: nat.DNATRule{Proto: packet.ProtoTCP,
			Addr: addr("203.0.113.1"), Port: 80, ToAddr: addr("10.0.0.5"), ToPort: 8080}},
		{in: "UDP:203.0.113.1:53=10.0.0.5:53", want: nat.DNATRule{Proto: packet.ProtoUDP,
			Addr: addr("203.0.113.1"), Port: 53, ToAddr: addr("10.0.0.5"), ToPort: 53}},
		{in: "tcp:[2001:db8::1]:80=[fd00::5]:8080", want: nat.DNATRule{Proto: packet.ProtoTCP,
			Addr: addr("2001:db8::1"), Port: 80, ToAddr: addr("fd00::5"), ToPort: 8080}},

		{in: "", err: "no protocol, expected tcp|udp:ADDR:PORT=ADDR:PORT"},
		{in: "sctp:203.0.113.1:80=10.0.0.5:80", err: `protocol "sctp" is not supported, expected tcp or udp`},
		{in: "tcp:203.0.113.1:80", err: "no target"},
		{in: "tcp:203.0.113.1=10.0.0.5:80", err: "external side: \"203.0.113.1\" has no port"},
		{in: "tcp:203.0.113.1:80=10.0.0.5", err: "target: \"10.0.0.5\" has no port"},
		{in: "tcp:203.0.113.1:0=10.0.0.5:80", err: `"0" is not a port`},
		{in: "tcp:203.0.113.1:80=10.0.0.5:http", err: `"http" is not a port`},
		{in: "tcp:203.0.113.1:80=[fd00::1]:80", err: "differ in family"},
		{in: "tcp:2001:db8::1:80=[fd00::1]:80", err: "brackets"},
		{in: "tcp:224.0.0.1:80=10.0.0.5:80", err: "unicast"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := nat.ParseDNAT(tt.in)
			checkParse(t, err, tt.err)
			if tt.err == "" && got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// checkParse compares an error with the expected part of its message and
// holds every message to one line.
func checkParse(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want != "" && err == nil:
		t.Fatalf("accepted, want error with %q", want)
	case want != "" && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")):
		t.Fatalf("error %q, want one line with %q", err, want)
	}
}

func TestConfigValidate(t *testing.T) {
	pool := func(s string) nat.Pool {
		p, err := nat.ParseSNAT(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rule := func(s string) nat.DNATRule {
		r, err := nat.ParseDNAT(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	tests := []struct {
		name string
		cfg  nat.Config
		err  string
	}{
		{name: "empty", cfg: nat.Config{Workers: 1}},
		{name: "masquerade", cfg: nat.Config{Workers: 4, Masquerade: true}},
		{name: "two families", cfg: nat.Config{Workers: 4, SNAT: []nat.Pool{pool("203.0.113.1"), pool("2001:db8::1")}}},
		{name: "no workers", err: "0 workers, expected 1-256"},
		{name: "both kinds", cfg: nat.Config{Workers: 1, Masquerade: true, SNAT: []nat.Pool{pool("203.0.113.1")}}, err: "expected one of them"},
		{name: "pools overlap", cfg: nat.Config{Workers: 1, SNAT: []nat.Pool{pool("203.0.113.9-203.0.113.12"), pool("203.0.113.1-203.0.113.9")}}, err: "share addresses"},
		{name: "range too small", cfg: nat.Config{Workers: 4, SNAT: []nat.Pool{pool("203.0.113.1:1024-1151")}}, err: "give worker 3 of 4 none"},
		{name: "range just fits", cfg: nat.Config{Workers: 4, SNAT: []nat.Pool{pool("203.0.113.1:1024-1279")}}},
		{name: "same rule twice", cfg: nat.Config{Workers: 1, DNAT: []nat.DNATRule{rule("tcp:203.0.113.1:80=10.0.0.5:80"), rule("tcp:203.0.113.1:80=10.0.0.6:80")}}, err: "rules 1 and 2 are for the same 203.0.113.1:80"},
		{name: "same port, other protocol", cfg: nat.Config{Workers: 1, DNAT: []nat.DNATRule{rule("tcp:203.0.113.1:53=10.0.0.5:53"), rule("udp:203.0.113.1:53=10.0.0.5:53")}}},
		{name: "too many addresses", cfg: nat.Config{Workers: 1, SNAT: []nat.Pool{pool("10.1.0.0-10.1.255.255"), pool("10.2.0.0")}}, err: "65537 addresses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { checkParse(t, tt.cfg.Validate(), tt.err) })
	}
}

func TestConfigAddrs(t *testing.T) {
	p, _ := nat.ParseSNAT("203.0.113.254-203.0.114.1")
	r, _ := nat.ParseDNAT("tcp:203.0.113.7:80=10.0.0.5:80")
	s, _ := nat.ParseDNAT("tcp:203.0.114.0:80=10.0.0.5:80")
	cfg := nat.Config{SNAT: []nat.Pool{p}, DNAT: []nat.DNATRule{r, s}, Workers: 1}
	got := cfg.Addrs()
	want := "[203.0.113.254 203.0.113.255 203.0.114.0 203.0.114.1 203.0.113.7]"
	if s := strings.Join(strings.Fields(sprint(got)), " "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

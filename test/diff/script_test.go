package diff

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// all are the scripts of testdata and the generated ones.
func all(t testing.TB) []*Script {
	t.Helper()
	return slices.Concat(readScripts(t), named("table/", TCPTable()), named("windows/", TCPWindows()), named("sctp-table/", SCTPTable()), named("flags/", TCPFlags()))
}

func TestScriptsReadBack(t *testing.T) {
	scripts := all(t)
	for seed := range uint64(200) {
		scripts = append(scripts, Random(seed, "snat", 4))
	}
	for _, s := range scripts {
		again, err := Parse(s.String())
		if err != nil {
			t.Fatalf("%s: %v\n%s", s.Name, err, s)
		}
		if diff := cmp.Diff([]*Script{s}, again); diff != "" {
			t.Errorf("%s: written and read again (-want +got):\n%s", s.Name, diff)
		}
	}
}

func TestScriptsHaveNamesOfTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range all(t) {
		if seen[s.Name] || len(s.Steps) == 0 {
			t.Errorf("script %s: twice, or empty", s.Name)
		}
		seen[s.Name] = true
		somewhere := false
		for _, name := range s.Profiles {
			p, known := profile(name)
			if !known {
				t.Errorf("script %s: no profile %q", s.Name, name)
			}
			somewhere = somewhere || p.has(s)
		}
		if !somewhere {
			t.Errorf("script %s runs nowhere: no profile has all its hosts", s.Name)
		}
	}
	if len(seen) < 150 {
		t.Errorf("%d scripts, want at least 150", len(seen))
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"wait 1s", "script a\nwait soon", "script a\ndiffers x", "script a\nfamily 5",
		"script a\ntcp client > nobody S", "script a\ntcp client:99999 > server S", "script a\ntcp client server S",
		"script a\nospf client > server", "script a\ntcp client > server S seq", "script a\ntcp client > server S df=1",
		"script a\ntcp client > server S seq=x", "script a\nudp client > server seq=1", "script a\nip client > server hex=1",
		"script a\nicmp client > server unreach quoting (udp client)",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, s)
		}
	}
}

func TestSeedsMakeTheSameScript(t *testing.T) {
	first, second := Random(7, "snat", 4), Random(7, "snat", 4)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("one seed makes two scripts:\n%s", diff)
	}
}

// packetOf builds one packet as script number 5 sends it from its end.
func packetOf(t *testing.T, text string, family int, nat natAddresses) []byte {
	t.Helper()
	p, err := ParsePacket(text)
	if err != nil {
		t.Fatal(err)
	}
	return newView(5, family, nat).build(p, sender(p))
}

func TestBuiltPacketsAreShown(t *testing.T) {
	nat := natAddresses{addrs(snat4, snat6), addrs(vip4, vip6)}
	for _, c := range []struct {
		text   string
		family int
		want   string
	}{
		{"tcp client:4000 > server:80 S seq=100 win=500 mss=1460 sackok wscale=7", 4,
			"tcp client:4000 > server:80 S seq=100 ack=0 win=500 urg=0 doff=0x80 opts=020405b40402030307010101 ttl=64 tos=0x0 iplen=52 ipid=0"},
		{"udp server:53 > client:5000 len=4 ttl=9 df ipid=7", 4,
			"udp server:53 > nat:5000 ulen=12 payload=4/00070e15 ttl=9 tos=0x0 iplen=32 ipid=7 df"},
		{"udp client:5000 > server:53 badsum", 6,
			"udp client:5000 > server:53 ulen=8 payload=0/ BADSUM"},
		{"udp client:5000 > server:53 badipsum nosum", 4,
			"udp client:5000 > server:53 ulen=8 payload=0/ nosum ttl=64 tos=0x0 iplen=28 ipid=0 BADIPSUM"},
		{"udp client:5000 > server:53 len=100 part=0:16 ipid=3", 4,
			"udp client:5000 > server:53 ulen=108 payload=8/00070e151c232a31 sum="},
		{"udp client:5000 > server:53 len=100 part=16:108 ipid=3", 6,
			"udp client > server payload=92/"},
		{"icmp router > client unreach code=3 quote=28 quoting (udp client:5000 > server:53 len=4)", 4,
			"icmp router > nat type=3 code=3 rest=00000000 quoting (udp nat:5000 > server:53 ulen=12 payload=0/ sum="},
		{"icmp server > client reply id=7 icmpseq=2", 6, "icmp server > nat type=129 code=0 id=7 seq=2 payload=0/ ttl=64"},
		{"sctp client:7000 > server:9 init itag=11", 4, "sctp client:7000 > server:9 vtag=0 chunks=010000140000000b"},
		{"sctp client:7000 > server:9 init itag=11 badsum", 4, "0000009 BADSUM ttl=64"},
		{"ip client > server proto=253 len=2", 4, "proto-253 client > server payload=2/0007 ttl=64 tos=0x0 iplen=22 ipid=0"},
	} {
		p := &Script{Family: c.family, Steps: []Step{{Packet: mustPacket(t, c.text)}}}
		names := newNames(p, newView(5, c.family, nat), map[netip.Addr]string{}, nil)
		if got := show(packetOf(t, c.text, c.family, nat), names); !strings.Contains(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func mustPacket(t *testing.T, text string) *Packet {
	t.Helper()
	p, err := ParsePacket(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every bit of a packet that the other end gets has to make a difference.
func TestEveryBitIsShown(t *testing.T) {
	nat := natAddresses{addrs(snat4, snat6), addrs(vip4, vip6)}
	for _, text := range []string{
		"tcp client:4000 > server:80 S seq=100 mss=1460 len=9",
		"udp client:4000 > server:80 len=20",
		"icmp client > server echo id=7 len=20",
		"icmp router > client unreach code=3 quote=28 quoting (udp client:5000 > server:53 len=4)",
		"sctp client:7000 > server:9 init itag=11",
		"gre client > server key=5 len=9",
	} {
		p := mustPacket(t, text)
		b := packetOf(t, text, 4, nat)
		names := newNames(&Script{Family: 4, Steps: []Step{{Packet: p}}}, newView(5, 4, nat), nil, nil)
		want := show(b, names)
		for bit := range len(b) * 8 {
			c := slices.Clone(b)
			c[bit/8] ^= 1 << (bit % 8)
			if got := show(c, names); got == want {
				t.Errorf("%s: bit %d of byte %d makes no difference in %s", text, bit%8, bit/8, want)
			}
		}
	}
}

func TestChosenPortsGetNames(t *testing.T) {
	s := &Script{Family: 4, Steps: []Step{{Packet: mustPacket(t, "udp client:5000 > server:53")}}}
	nat := natAddresses{addrs(snat4, ""), addrs("", "")}
	n := newNames(s, newView(5, 4, nat), nil, nil)
	got := n.line("udp 17 src=10.64.5.1 dst=100.64.5.1 sport=5000 dport=53 src=100.64.5.1 dst=198.51.100.32 sport=53 dport=41999")
	want := "udp 17 src=client dst=server sport=5000 dport=53 src=server dst=nat sport=53 dport=N1(1024-65535)"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if n.port(nat.source[4], 41999) != "N1(1024-65535)" || n.port(nat.source[4], 53) != "N2(1-511)" ||
		n.port(nat.source[4], 600) != "N3(600-1023)" || n.port(nat.source[4], 5000) != "5000" {
		t.Errorf("the names of ports change, or ranges are wrong: %v", n.renamed)
	}
}

func TestTimeoutsOfOtherClassesDiffer(t *testing.T) {
	a := []line{{"tcp", 120}}
	for timeout, want := range map[int]bool{120: true, 119: true, 118: true, 117: false, 60: false, -1: false} {
		if got := sameLines(a, []line{{"tcp", timeout}}); got != want {
			t.Errorf("120 s and %d s are the same: %v, want %v", timeout, got, want)
		}
	}
}

// deviation is a heading of docs/deviations.md.
var deviation = regexp.MustCompile("(?m)^## `([a-z0-9-]+)`$")

// TestDeviationsAreExplained holds scripts and docs/deviations.md together.
func TestDeviationsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/deviations.md")
	if err != nil {
		t.Fatal(err)
	}
	explained := make(map[string]bool)
	for _, m := range deviation.FindAllStringSubmatch(string(page), -1) {
		explained[m[1]] = true
	}
	shown := make(map[string]bool)
	for _, s := range all(t) {
		for _, step := range s.Steps {
			if name := step.Differs; name != "" {
				shown[name] = true
				if !explained[name] {
					t.Errorf("script %s differs by %q, which docs/deviations.md does not explain", s.Name, name)
				}
			}
		}
	}
	for name := range explained {
		section := sectionOf(string(page), name)
		if !shown[name] && !strings.Contains(section, "No script") {
			t.Errorf("docs/deviations.md: no script shows %q; say why (\"No script: ...\")", name)
		}
	}
	if len(explained) < 5 {
		t.Errorf("docs/deviations.md: %d deviations found: the test sees nothing", len(explained))
	}
}

// sectionOf is what stands below a deviation's heading.
func sectionOf(page, name string) string {
	_, section, _ := strings.Cut(page, fmt.Sprintf("## `%s`\n", name))
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

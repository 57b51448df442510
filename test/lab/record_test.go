package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lines as Linux 6.18 with conntrack-tools 1.4.7 prints them.
var kernelLines = map[string]string{
	"event-new":      "    [NEW] tcp      6 120 SYN_SENT src=10.1.2.3 dst=203.0.113.47 sport=39714 dport=21 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 sport=21 dport=39714 helper=ftp",
	"event-update":   " [UPDATE] icmp     1 30 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=1918 src=203.0.113.47 dst=198.51.100.32 type=0 code=0 id=1918",
	"event-expired":  "[DESTROY] udp      17 src=10.1.2.3 dst=203.0.113.47 sport=6003 dport=5003 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 sport=5003 dport=6003",
	"event-reset":    "[DESTROY] tcp      6 120 CLOSE src=10.1.2.3 dst=203.0.113.47 sport=55140 dport=9 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 sport=9 dport=55140",
	"event-expect":   "    [NEW] 300 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=36215 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.1.2.3 master-dst=203.0.113.47 sport=39714 dport=21 class=0 helper=ftp",
	"list-tcp":       "tcp      6 431998 ESTABLISHED src=10.1.2.3 dst=203.0.113.47 sport=35002 dport=5001 src=203.0.113.47 dst=198.51.100.32 sport=5001 dport=35002 [ASSURED] mark=0 use=1",
	"list-generic":   "unknown  253 599 src=10.1.2.3 dst=203.0.113.47 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 mark=0 use=1",
	"proc":           "ipv6     10 icmpv6   58 29 src=fd99:0001:0000:0000:0000:0000:0000:0002 dst=fd99:0002:0000:0000:0000:0000:0000:0002 type=128 code=0 id=14303 src=fd99:0002:0000:0000:0000:0000:0000:0002 dst=fd99:0001:0000:0000:0000:0000:0000:0002 type=129 code=0 id=14303 mark=0 zone=0 use=2",
	"proc-expect":    "299 l3proto = 2 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=6400 ftp",
	"list-expect":    "299 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=6400 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.1.2.3 master-dst=203.0.113.47 sport=41636 dport=21 class=0 helper=ftp",
	"trailing-blank": "icmp     1 29 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=1 mark=0 use=1 ",
}

func TestParseKeepsEveryByteOfALine(t *testing.T) {
	for name, line := range kernelLines {
		t.Run(name, func(t *testing.T) {
			r, err := Parse(line)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(line, r.String()); diff != "" {
				t.Errorf("parsed and written again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseFindsTheParts(t *testing.T) {
	got, err := Parse(kernelLines["event-new"])
	want := Record{
		Tag: "    [NEW] ", Proto: "tcp      6 ", Timeout: 120, State: "SYN_SENT",
		Fields: []string{"src=10.1.2.3", "dst=203.0.113.47", "sport=39714", "dport=21", "[UNREPLIED]",
			"src=203.0.113.47", "dst=198.51.100.32", "sport=21", "dport=39714", "helper=ftp"},
	}
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("error %v, difference (-want +got):\n%s", err, cmp.Diff(want, got))
	}
	expired, err := Parse(kernelLines["event-expired"])
	if err != nil || expired.Timeout != -1 || expired.State != "" {
		t.Errorf("expired: timeout %d, state %q, error %v; want none", expired.Timeout, expired.State, err)
	}
	if want := "udp      17 src=10.1.2.3 dst=203.0.113.47 sport=6003 dport=5003"; expired.Flow() != want {
		t.Errorf("flow %q, want %q", expired.Flow(), want)
	}
}

func TestParseRefusesOtherText(t *testing.T) {
	for _, line := range []string{"", "conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.", "src=1 dst=2"} {
		if r, err := Parse(line); err == nil {
			t.Errorf("%q: got %v, want an error", line, r)
		}
	}
}

func TestNamesKeepWhatIsEqualEqual(t *testing.T) {
	var n Names
	records, err := n.ParseAll([]string{
		kernelLines["event-new"],
		"    [NEW] tcp      6 120 SYN_SENT src=203.0.113.47 dst=198.51.100.32 sport=20 dport=36215 [UNREPLIED] src=10.1.2.3 dst=203.0.113.47 sport=39714 dport=20",
		kernelLines["event-update"],
		kernelLines["event-expect"],
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"    [NEW] tcp      6 120 SYN_SENT src=10.1.2.3 dst=203.0.113.47 sport=P1 dport=21 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 sport=21 dport=P1 helper=ftp",
		"    [NEW] tcp      6 120 SYN_SENT src=203.0.113.47 dst=198.51.100.32 sport=20 dport=P2 [UNREPLIED] src=10.1.2.3 dst=203.0.113.47 sport=P1 dport=20",
		" [UPDATE] icmp     1 30 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=I1 src=203.0.113.47 dst=198.51.100.32 type=0 code=0 id=I1",
		"    [NEW] 300 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=P2 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.1.2.3 master-dst=203.0.113.47 sport=P1 dport=21 class=0 helper=ftp",
	}
	for i, r := range records {
		if diff := cmp.Diff(want[i], r.String()); diff != "" {
			t.Errorf("record %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestLinesOfAllFormsAreNormalised(t *testing.T) {
	for line, want := range map[string]string{
		"[1795406477.695799]\t[DESTROY] ipv4     2 icmp     1 99 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=7777 packets=1 bytes=84 delta-time=12 [start=Mon Nov 23 04:01:17 2026] [stop=Mon Nov  2 04:01:17 2026] id=864010328 [USERSPACE] portid=3532036743":                          "[TIME]\t[DESTROY] ipv4     2 icmp     1 N src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=#1 packets=1 bytes=84 delta-time=N [start=DATE] [stop=DATE] id=#2 [USERSPACE]",
		"[DESTROY] udp      17 src=10.1.2.3 dst=10.1.2.4 sport=35001 dport=53 src=10.1.2.4 dst=10.1.2.3 sport=53 dport=35001":                                                                                                                                                               "[DESTROY] udp      17 src=10.1.2.3 dst=10.1.2.4 sport=#1 dport=53 src=10.1.2.4 dst=10.1.2.3 sport=53 dport=#1",
		"-U -t 3 -u UNSET -s 10.1.2.3 -p udp --sport 35001 --dport 53 --reply-port-src 53 --reply-port-dst 35002 [USERSPACE] portid=7 progname=xdpct":                                                                                                                                       "-U -t N -u UNSET -s 10.1.2.3 -p udp --sport #1 --dport 53 --reply-port-src 53 --reply-port-dst #2 [USERSPACE]",
		"-D -u UNSET -s 10.1.2.3 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 17790":                                                                                                                                                                                                       "-D -u UNSET -s 10.1.2.3 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id #1",
		"<sport>20</sport><dport>49671</dport><timeout>119</timeout><id>3170592481</id><timestamp><start>1795406923685081332</start></timestamp><deltatime>0</deltatime><when><hour>4</hour><min>08</min><sec>39</sec><wday>2</wday><day>23</day><month>11</month><year>2026</year></when>": "<sport>20</sport><dport>#1</dport><timeout>N</timeout><id>#2</id><timestamp><start/></timestamp><deltatime>N</deltatime><when/>",
		"    [NEW] icmp     1 30 src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=446 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 type=0 code=0 id=446":                                                                                                                                    "    [NEW] icmp     1 N src=10.1.2.3 dst=203.0.113.47 type=8 code=0 id=#1 [UNREPLIED] src=203.0.113.47 dst=198.51.100.32 type=0 code=0 id=#1",
	} {
		var n Names
		if got := n.NormalizeLine(line); got != want {
			t.Errorf("%s\nis  %s\nnot %s", line, got, want)
		}
	}
}

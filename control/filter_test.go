package control_test

import (
	"net/url"
	"testing"

	"github.com/xdpct/xdpct/control"
)

// matching returns the places in goldenFlows of the flows that match.
func matching(t *testing.T, query string) []int {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	f, err := control.ParseFilter(q)
	if err != nil {
		t.Fatal(err)
	}
	got := []int{}
	for i, s := range goldenFlows() {
		if f.Match(&s) {
			got = append(got, i)
		}
	}
	return got
}

func TestFiltersSelectFlows(t *testing.T) {
	// 0 tcp established SNAT assured, 1 udp unreplied SNAT, 2 icmp replied SNAT,
	// 3 icmpv6 replied, 4 gre unreplied, 5 proto 253 unreplied, 6 tcp to port 21.
	cases := []struct {
		query string
		want  []int
	}{
		{"", []int{0, 1, 2, 3, 4, 5, 6}},
		{"format=json", []int{0, 1, 2, 3, 4, 5, 6}},
		{"proto=tcp", []int{0, 6}},
		{"proto=UDP", []int{1}},
		{"proto=253", []int{5}},
		{"proto=0", []int{}},
		{"family=ipv6", []int{3}},
		{"family=ipv4&proto=icmp", []int{2}},
		{"src=10.1.2.3", []int{6}},
		{"src=10.99.0.0/16", []int{0, 1, 2, 4, 5}},
		{"src=10.99.77.1/16", []int{0, 1, 2, 4, 5}},
		{"src=fd99:1::/32", []int{3}},
		{"src=0.0.0.0/0", []int{0, 1, 2, 4, 5, 6}},
		{"dst=203.0.113.47", []int{6}},
		{"reply-src=203.0.113.47", []int{6}},
		{"reply-dst=198.51.100.32", []int{6}},
		{"reply-dst=10.99.1.2", []int{}},
		{"sport=35002", []int{0}},
		{"sport=5001", []int{}},
		{"dport=21", []int{6}},
		{"dport=5000-5003", []int{0, 1}},
		{"dport=0-65535", []int{0, 1, 6}},
		{"state=ESTABLISHED", []int{0}},
		{"state=time_wait", []int{6}},
		{"status=ASSURED", []int{0, 6}},
		{"status=ASSURED,SEEN_REPLY", []int{0, 6}},
		{"status=SEEN_REPLY", []int{0, 2, 3, 6}},
		{"status=UNREPLIED", []int{1, 4, 5}},
		{"status=unreplied&proto=udp", []int{1}},
		{"status=EXPECTED", []int{}},
		{"src-nat=", []int{0, 1, 2, 6}},
		{"src-nat=198.51.100.0/24", []int{6}},
		{"dst-nat=", []int{}},
		{"any-nat=", []int{0, 1, 2, 6}},
		{"src=10.99.3.7&mask-src=255.255.0.0", []int{0, 1, 2, 4, 5}},
		{"src=10.99.3.7&mask-src=16", []int{0, 1, 2, 4, 5}},
		{"src=10.99.3.7&mask-src=255.255.255.0", []int{}},
		{"dst=203.0.113.0&mask-dst=255.255.255.192", []int{6}},
		{"src=fd99:1::77&mask-src=ffff:ffff::", []int{3}},
		{"src=1.2.3.4&mask-src=0.0.0.0", []int{0, 1, 2, 4, 5, 6}},
		{"reply-port-src=21", []int{6}},
		{"reply-port-dst=35002", []int{0}},
		{"reply-port-dst=35002&dport=21", []int{}},
		{"icmp-type=8", []int{2}},
		{"icmp-type=128", []int{3}},
		{"icmp-type=8&icmp-code=1", []int{}},
		{"icmp-code=0", []int{2, 3}},
		{"icmp-id=14303", []int{3}},
		{"proto=icmp&icmp-id=14303", []int{}},
		{"mark=0", []int{0, 1, 2, 3, 4, 5, 6}},
		{"mark=0x0/0xff", []int{0, 1, 2, 3, 4, 5, 6}},
		{"mark=1", []int{}},
		{"id=1226376432", []int{0, 1, 2, 3, 4, 5, 6}},
		{"id=7", []int{}},
	}
	for _, c := range cases {
		t.Run(c.query, func(t *testing.T) {
			got := matching(t, c.query)
			if len(got) != len(c.want) {
				t.Fatalf("matches %v, want %v", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] {
					t.Fatalf("matches %v, want %v", got, c.want)
				}
			}
		})
	}
}

func TestWrongFiltersAreRefused(t *testing.T) {
	queries := []string{
		"proto=foo", "proto=256", "proto=-1", "proto=", "family=ipx", "family=",
		"src=10.1.2", "src=10.1.2.3/33", "src=", "src=fe80::1%25eth0", "dst=host",
		"sport=65536", "sport=0", "sport=a", "sport=9-3", "sport=", "dport=1-2-3",
		"state=OPEN", "state=NONE", "state=", "status=GOOD", "status=ASSURED,", "status=",
		"src-nat=x", "any-nat=1",
		"state=ESTABLISHED&proto=udp", "dport=53&proto=icmp", "status=SEEN_REPLY,UNREPLIED",
		"mask-src=255.255.255.0", "src=10.0.0.1&mask-src=255.0.255.0", "src=10.0.0.0/8&mask-src=24", "src=10.0.0.1&mask-src=33",
		"src=10.0.0.1&mask-src=255.255.255.1", "src=10.0.0.1&mask-src=x", "icmp-type=256", "icmp-id=65536", "icmp-code=-1", "icmp-type=",
		"icmp-type=8&proto=tcp", "icmp-type=8&dport=53", "mark=x", "mark=", "mark=1/x", "id=x", "id=4294967296", "reply-port-src=0",
		"family=ipv4&src=fd00::1", "src=10.0.0.1&dst=fd00::1", "src-nat=10.0.0.1&reply-dst=10.0.0.2",
	}
	for _, query := range queries {
		t.Run(query, func(t *testing.T) {
			q, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := control.ParseFilter(q); err == nil {
				t.Error("accepted, want an error")
			}
		})
	}
}

func TestEventMaskReadsTheWordsOfConntrack(t *testing.T) {
	for list, ok := range map[string]bool{
		"": true, "ALL": true, "NEW": true, "new,updates": true, "UPDATE,DESTROY": true,
		"OLD": false, "NEW,": false, ",": false,
	} {
		if _, err := control.ParseEventMask(list); (err == nil) != ok {
			t.Errorf("%q: error %v, want accepted %v", list, err, ok)
		}
	}
	all, _ := control.ParseEventMask("ALL")
	three, _ := control.ParseEventMask("NEW,UPDATES,DESTROY")
	if one, _ := control.ParseEventMask("NEW"); all != three || one == all || one == 0 {
		t.Errorf("masks %b %b %b", all, three, one)
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	f, err := control.ParseFilter(url.Values{"src": {"10.0.0.0/8"}, "dport": {"21"}, "state": {"TIME_WAIT"}})
	if err != nil {
		t.Fatal(err)
	}
	flows := goldenFlows()
	n := testing.AllocsPerRun(10, func() {
		for range 200 {
			for i := range flows {
				f.Match(&flows[i])
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestFiltersSelectExpectations(t *testing.T) {
	for query, want := range map[string]int{ // bit set of goldenExpectations
		"": 3, "family=ipv4": 1, "family=ipv6": 2, "proto=tcp": 3, "proto=udp": 0, "id=18": 2,
		"src=10.1.2.0/24": 1, "dst=203.0.113.47": 1, "sport=39714": 3, "dport=20": 0,
		"tuple-src=203.0.113.47": 1, "tuple-src=10.1.2.3": 0, "tuple-dst=fd99:1::/64": 2,
		"tuple-port-dst=36215": 3, "tuple-port-dst=36216": 0, "tuple-dst=198.51.100.32&src=10.1.2.3": 1,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		f, err := control.ParseExpectFilter(q)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for i, e := range goldenExpectations() {
			if f.MatchExpectation(&e) {
				got |= 1 << i
			}
		}
		if got != want {
			t.Errorf("%q matches %b, want %b", query, got, want)
		}
	}
	for _, key := range []string{"state=CLOSE", "status=ASSURED", "reply-src=10.0.0.1", "any-nat=", "tuple-src=x"} {
		q, _ := url.ParseQuery(key)
		if _, err := control.ParseExpectFilter(q); err == nil {
			t.Errorf("%q is accepted for expectations", key)
		}
	}
}

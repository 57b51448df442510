package flowtable

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLinuxTimeouts(t *testing.T) {
	want := map[string]int{"tcp.syn_sent": 120, "tcp.syn_recv": 60, "tcp.established": 432000, "tcp.fin_wait": 120,
		"tcp.close_wait": 60, "tcp.last_ack": 30, "tcp.time_wait": 120, "tcp.close": 10, "tcp.syn_sent2": 120,
		"tcp.max_retrans": 300, "tcp.unacknowledged": 300, "udp": 30, "udp.stream": 120, "icmp": 30, "icmpv6": 30,
		"gre": 30, "gre.stream": 180, "sctp.closed": 10, "sctp.cookie_wait": 3, "sctp.cookie_echoed": 3, "sctp.established": 210,
		"sctp.shutdown_sent": 3, "sctp.shutdown_recd": 3, "sctp.shutdown_ack_sent": 3, "sctp.heartbeat_sent": 30, "generic": 600}
	o := LinuxTimeouts()
	names := TimeoutNames()
	if len(names) != len(want) {
		t.Errorf("%d names, want %d", len(names), len(want))
	}
	for _, name := range names {
		if got, ok := o.Get(name); !ok || got != time.Duration(want[name])*time.Second {
			t.Errorf("%s = %v, want %d s", name, got, want[name])
		}
	}
}

func TestRFCTimeoutsMeetTheRequirements(t *testing.T) {
	o := RFCTimeouts()
	for name, least := range map[string]time.Duration{
		"tcp.established": 2*time.Hour + 4*time.Minute, // RFC 5382 REQ-5
		"tcp.syn_sent":    4 * time.Minute, "tcp.syn_recv": 4 * time.Minute, "tcp.fin_wait": 4 * time.Minute,
		"tcp.close_wait": 4 * time.Minute, "tcp.last_ack": 4 * time.Minute, "tcp.time_wait": 4 * time.Minute,
		"tcp.close": 4 * time.Minute,                                // RFC 7857 2.2
		"udp":       2 * time.Minute, "udp.stream": 2 * time.Minute, // RFC 4787 REQ-5
		"icmp": time.Minute, "icmpv6": time.Minute, // RFC 5508 REQ-2
	} {
		if got, _ := o.Get(name); got < least {
			t.Errorf("%s = %v, want at least %v", name, got, least)
		}
	}
}

func TestSetTimeout(t *testing.T) {
	for _, name := range TimeoutNames() {
		o := LinuxTimeouts()
		if err := o.Set(name, 77*time.Second); err != nil {
			t.Error(err)
		}
		for _, other := range TimeoutNames() {
			want, _ := new(LinuxTimeouts()).Get(other)
			if other == name {
				want = 77 * time.Second
			}
			if got, _ := o.Get(other); got != want {
				t.Errorf("after Set(%s): %s = %v, want %v", name, other, got, want)
			}
		}
	}
	o := LinuxTimeouts()
	for _, c := range []struct {
		name string
		d    time.Duration
	}{{"tcp", time.Minute}, {"", time.Minute}, {"udp", 0}, {"udp", -time.Second}, {"udp", 999 * time.Millisecond}, {"udp", 1 << 62}} {
		if o.Set(c.name, c.d) == nil {
			t.Errorf("Set(%q, %v): no error", c.name, c.d)
		}
	}
	if o != LinuxTimeouts() {
		t.Error("a refused Set changed something")
	}
	if _, err := TimeoutProfile("bsd"); err == nil {
		t.Error("unknown profile accepted")
	}
	if p, err := TimeoutProfile("rfc"); err != nil || p != RFCTimeouts() {
		t.Error("profile rfc")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want Tick
	}{{0, 0}, {-1, 0}, {1, 1}, {time.Second, 16}, {time.Second + 1, 17}, {432000 * time.Second, 6912000}, {1 << 62, MaxTimeout}} {
		if got := Ticks(c.d); got != c.want {
			t.Errorf("Ticks(%v) = %d, want %d", c.d, got, c.want)
		}
	}
	if !(^Tick(0)).Before(3) || Tick(3).Before(^Tick(0)) || Tick(3).Before(3) {
		t.Error("Before across the wrap")
	}
}

// TestTimeoutsAreDocumented holds docs/timeouts.md and the sets together.
func TestTimeoutsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/timeouts.md")
	if err != nil {
		t.Fatal(err)
	}
	linux, rfc := LinuxTimeouts(), RFCTimeouts()
	for _, name := range TimeoutNames() {
		l, _ := linux.Get(name)
		r, _ := rfc.Get(name)
		row := fmt.Sprintf("\n| `%s` | %d | %d |", name, l/time.Second, r/time.Second)
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/timeouts.md has no row%s", row)
		}
	}
}

package e2e

import (
	"regexp"
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// The forms that are compared with those of conntrack-tools.
var (
	listingForms = []string{"id", "extended", "timestamp,ktimestamp", "xml", "xml,ktimestamp,extended", "save"}
	eventForms   = []string{"id", "extended,timestamp,ktimestamp", "xml,timestamp,ktimestamp", "save"}
)

// forms is all that a gateway prints of some flows, by form, normalised.
type forms struct {
	Events, Flows map[string][]string
	Proc, Deleted []string
}

// TestSameFormsAsKernel lets the kernel and xdpct carry the same flows, which both
// count, and compares everything that conntrack and xdpct can print of them: word
// for word but for times, ephemeral ports and ids.
func TestSameFormsAsKernel(t *testing.T) {
	eachQueues(t, func(t *testing.T, ours *lab.Lab) {
		theirs := lab.New(t, 2)
		flags := snat("--accounting", "--timestamps", "--timeout", "udp=6s")
		kernel, xdpct := theirs.StartKernel(t, flags...), ours.StartGateway(t, flags...)
		seen := make(chan forms, 1)
		go func() { // both at once: half the time
			defer close(seen)
			seen <- printAll(t, theirs, kernel)
		}()
		got := printAll(t, ours, xdpct)
		want, ok := <-seen
		if !ok {
			t.FailNow()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what is printed differs (-kernel +xdpct):\n%s", diff)
		}
	})
}

// printAll lets flows begin, prints them, and lets them end in all ways.
func printAll(t *testing.T, l *lab.Lab, g *lab.Gateway) forms {
	for _, command := range []string{"UDP4-RECVFROM:7,fork", "TCP-LISTEN:7,fork,reuseaddr"} {
		l.Server.Start(t, "socat", command, "PIPE")
	}
	time.Sleep(200 * time.Millisecond) // until they listen
	g.Flush(t)
	recorders := make(map[string]*lab.Recorder)
	for _, form := range eventForms {
		recorders[form] = g.EventsIn(t, form)
	}
	for _, command := range []string{
		"ping -q -c2 -i0.2 -W2 " + lab.ServerAddr, "ping -q -c1 -W2 " + lab.ServerAddr6,
		"! echo >/dev/tcp/203.0.113.47/9",
		"exec 3<>/dev/udp/203.0.113.47/7; echo a >&3; read -t3 -N1 -u3 x",
		"exec 3<>/dev/udp/203.0.113.47/9; echo x >&3; sleep 0.1",
	} {
		l.Client.Run(t, "bash", "-c", command)
	}
	session := l.Client.Start(t, "bash", "-c", "exec 3<>/dev/tcp/203.0.113.47/7; echo one >&3; read -t5 -u3 line; echo $line; sleep 20")
	session.WaitOutput(t, "one", 10*time.Second)

	var f forms
	flows := make(map[string][]string)
	for _, form := range listingForms {
		flows[form] = g.FlowsIn(t, form)
	}
	proc := g.ProcFlows(t)
	deleted := append(g.Delete(t, "-p", "tcp", "--reply-port-src", "7"), g.Delete(t, "-p", "icmp", "--icmp-type", "8")...)
	time.Sleep(6500 * time.Millisecond) // UDP times out
	g.Expire(t)

	events := make(map[string][]string)
	for form, r := range recorders {
		r.WaitFor(t, `(DESTROY|-D|destroy).*(dport=9|--dport 9|<dport>9<).*(tim|reply-port)`)
		r.Settle(300 * time.Millisecond)
		events[form] = r.Stop(t)
	}
	f.Events, f.Flows = normalForms(events), normalForms(flows)
	f.Proc, f.Deleted = normalLines(proc), normalLines(deleted)
	return f
}

// normalForms normalises what was printed in several forms.
func normalForms(printed map[string][]string) map[string][]string {
	normal := make(map[string][]string)
	for form, list := range printed {
		normal[form] = normalLines(list)
	}
	return normal
}

// Of an established TCP connection both count the same, but its segments are not
// always the same: a server acknowledges with its answer or before.
var (
	openTCP = regexp.MustCompile(`ESTABLISHED`)
	counted = regexp.MustCompile(`packets=\d+ bytes=\d+|<packets>\d+</packets><bytes>\d+</bytes>`)
)

// normalLines normalises and sorts lines: their order is compared elsewhere
// (TestSameAsKernel), and flows that end together end in any order.
func normalLines(list []string) []string {
	var out []string
	for _, line := range list {
		if openTCP.MatchString(line) {
			line = counted.ReplaceAllString(line, "COUNTS")
		}
		var names lab.Names // of one line: how its ports belong together
		out = append(out, names.NormalizeLine(line))
	}
	sort.Strings(out)
	return out
}

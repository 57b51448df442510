package e2e

import (
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpct/xdpct/test/lab"
)

// An exchange is something that a client does with the server.
type exchange struct {
	name string
	// outside tells that the client is on the server's side.
	outside bool
	// hold is the end whose data connection waits until the expectation for it
	// has been looked at; empty: nothing is expected.
	hold    string
	command []string
	// pending tells that what is expected does not come: it is looked at in the end.
	pending bool
	// last is the event that ends the exchange.
	last string
}

const ftpURL = "ftp://203.0.113.47/file.bin"

var exchanges = []exchange{
	{name: "ftp-active-port", hold: "server", command: []string{"curl", "-sS", "--ftp-port", "-", "--disable-eprt", ftpURL, "-o", "/dev/null"}, last: `TIME_WAIT .*dport=21 `},
	{name: "ftp-active-eprt", hold: "server", command: []string{"curl", "-sS", "--ftp-port", "-", ftpURL, "-o", "/dev/null"}, last: `TIME_WAIT .*dport=21 `},
	{name: "ftp-passive-pasv", hold: "client", command: []string{"curl", "-sS", "--disable-epsv", ftpURL, "-o", "/dev/null"}, last: `TIME_WAIT .*dport=21 `},
	{name: "ftp-passive-epsv", hold: "client", command: []string{"curl", "-sS", ftpURL, "-o", "/dev/null"}, last: `TIME_WAIT .*dport=21 `},
	{name: "http", command: []string{"curl", "-sS", "http://203.0.113.47/file.bin", "-o", "/dev/null"}, last: `TIME_WAIT .*dport=80 `},
	{name: "ping", command: []string{"ping", "-q", "-c2", "-i0.3", "-W2", lab.ServerAddr}, last: `\[UPDATE\] icmp`},
	{name: "udp-stream", command: []string{"bash", "-c", `exec 3<>/dev/udp/203.0.113.47/7; echo a >&3; read -t3 -N1 -u3 x; sleep 3; echo b >&3; read -t3 -N1 -u3 x`}, last: `\[UPDATE\] udp +17 (120|119) .*ASSURED`},
	{name: "udp-closed", command: []string{"bash", "-c", `exec 3<>/dev/udp/203.0.113.47/9; echo x >&3; sleep 0.3; ! echo x >&3`}, last: `\[NEW\] udp`},
	{name: "tcp-closed", command: []string{"bash", "-c", `! echo >/dev/tcp/203.0.113.47/9`}, last: `\[DESTROY\] tcp`},
}

// observation is all that a gateway shows of one exchange, normalised.
type observation struct {
	Status       int // of the client's command
	Client       string
	Events       []lab.Record
	ExpectEvents []lab.Record
	Flows        []lab.Record
	ProcFlows    []lab.Record
	Expectations []lab.Record
	ProcExpect   []lab.Record
	XMLExpect    []string
}

// TestSameAsKernel lets the kernel and xdpct carry the same exchanges and compares
// what they show of them. (With XDPCT_TEST_GATEWAY=kernel, the kernel with itself:
// that has to agree, or the comparison is wrong.)
func TestSameAsKernel(t *testing.T) {
	eachQueues(t, func(t *testing.T, ours *lab.Lab) {
		theirs := lab.New(t, 2)
		kernel, xdpct := theirs.StartKernel(t, snat()...), ours.StartGateway(t, snat()...)
		for _, l := range []*lab.Lab{ours, theirs} {
			newFile(t, l.Serve(t, l.Server), "file.bin", 200_000)
			l.Server.Start(t, "socat", "UDP4-RECVFROM:7,fork", "PIPE")
		}
		for _, x := range exchanges {
			t.Run(x.name, func(t *testing.T) { x.sameAs(t, theirs, kernel, ours, xdpct) })
		}
	})
}

// sameAs carries the exchange through the kernel and through xdpct and compares.
func (x exchange) sameAs(t *testing.T, theirs *lab.Lab, kernel *lab.Gateway, ours *lab.Lab, xdpct *lab.Gateway) {
	t.Helper()
	seen := make(chan observation, 1)
	go func() { // both at once: half the time, and the same moment
		defer close(seen)
		seen <- x.run(t, theirs, kernel)
	}()
	got := x.run(t, ours, xdpct)
	want, ok := <-seen
	if !ok {
		t.FailNow()
	}
	want.compare(t, got)
}

// run carries out the exchange and records what the gateway shows.
func (x exchange) run(t *testing.T, l *lab.Lab, g *lab.Gateway) (o observation) {
	g.Flush(t)
	events, expectEvents := g.Events(t), g.ExpectEvents(t)
	var expected, procExpected, xmlExpected []string
	if x.hold != "" {
		l.Hold(t, x.hold)
	}
	from := l.Client
	if x.outside {
		from = l.Server
	}
	client := from.Start(t, x.command...)
	if x.hold != "" {
		lab.Eventually(t, 10*time.Second, "an expectation waits", func() bool {
			procExpected = g.ProcExpectations(t)
			return len(procExpected) > 0 || !client.Running()
		})
		expected, xmlExpected = g.Expectations(t), g.ExpectationsIn(t, "xml")
		l.Release(t, x.hold)
	}
	r := client.Wait(t, 30*time.Second)
	o.Status, o.Client = r.Status, r.Stderr
	events.WaitFor(t, x.last)
	events.Settle(300 * time.Millisecond)
	if x.pending {
		expected, xmlExpected, procExpected = g.Expectations(t), g.ExpectationsIn(t, "xml"), g.ProcExpectations(t)
	}
	flows, procFlows := g.Flows(t), g.ProcFlows(t)

	var names lab.Names // one for all, so that a port has the same name everywhere
	for _, part := range []struct {
		lines []string
		into  *[]lab.Record
	}{
		{events.Stop(t), &o.Events},
		{expectEvents.Stop(t), &o.ExpectEvents},
		{flows, &o.Flows},
		{procFlows, &o.ProcFlows},
		{expected, &o.Expectations},
		{procExpected, &o.ProcExpect},
	} {
		records, err := names.ParseAll(part.lines)
		if err != nil {
			t.Error(err)
		}
		*part.into = records
	}
	for _, line := range xmlExpected {
		o.XMLExpect = append(o.XMLExpect, new(lab.Names).NormalizeLine(line))
	}
	nominal(g, o.Events)
	return o
}

// compare reports every difference between what the kernel showed (the receiver)
// and what xdpct showed.
func (o observation) compare(t *testing.T, got observation) {
	t.Helper()
	if diff := cmp.Diff([]any{o.Status, o.Client}, []any{got.Status, got.Client}); diff != "" {
		t.Errorf("the client's program saw something else (-kernel +xdpct):\n%s", diff)
	}
	compareEvents(t, o.Events, got.Events)
	compareRecords(t, "expectation events", o.ExpectEvents, got.ExpectEvents)
	compareListing(t, "flows", o.Flows, got.Flows)
	compareListing(t, "flows -o proc", o.ProcFlows, got.ProcFlows)
	compareListing(t, "expectations", o.Expectations, got.Expectations)
	compareListing(t, "expectations -o proc", o.ProcExpect, got.ProcExpect)
	if diff := cmp.Diff(o.XMLExpect, got.XMLExpect); diff != "" {
		t.Errorf("expectations -o xml differ (-kernel +xdpct):\n%s", diff)
	}
}

// compareListing compares two listings, whose order means nothing.
func compareListing(t *testing.T, what string, want, got []lab.Record) {
	t.Helper()
	for _, records := range [][]lab.Record{want, got} {
		sort.Slice(records, func(i, j int) bool {
			return strings.Join(records[i].Fields, " ") < strings.Join(records[j].Fields, " ")
		})
	}
	compareRecords(t, what, want, got)
}

// slack is by how many seconds remaining time-outs of two listings may differ:
// the exchanges do not run in step.
const slack = 3

// compareRecords compares line by line and field by field, time-outs within slack.
func compareRecords(t *testing.T, what string, want, got []lab.Record) {
	t.Helper()
	w, g := texts(want), texts(got)
	for i := range min(len(want), len(got)) {
		if d := want[i].Timeout - got[i].Timeout; want[i].Timeout >= 0 && got[i].Timeout >= 0 && -slack <= d && d <= slack {
			same := got[i]
			same.Timeout = want[i].Timeout
			g[i] = same.String()
		}
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s differ (-kernel +xdpct):\n%s", what, diff)
	}
}

func texts(records []lab.Record) []string {
	var s []string
	for _, r := range records {
		s = append(s, r.String())
	}
	return s
}

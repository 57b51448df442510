package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/packet"
)

// stubBackend is a gateway with a fixed table.
type stubBackend struct {
	table  *flowtable.Table
	expect *flowtable.Expectations
	events chan flowtable.Event
}

const stubNow flowtable.Tick = 1600

// newStub serves a gateway with n UDP flows and returns its socket.
func newStub(t *testing.T, n int) (*stubBackend, string) {
	t.Helper()
	table, err := flowtable.New(flowtable.Options{MaxFlows: 1024})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	b := &stubBackend{table: table, expect: flowtable.NewExpectations(8), events: make(chan flowtable.Event, 8)}
	addr := func(s string) packet.Addr { return packet.AddrOf(netip.MustParseAddr(s)) }
	for i := range n {
		orig := flowtable.Tuple{Src: addr("10.0.0.2"), Dst: addr("192.0.2.1"), SrcPort: uint16(5000 + i), DstPort: 53, Proto: 17, Family: packet.IPv4}
		reply := orig.Invert()
		idx, res := table.Insert(&orig, &reply, stubNow)
		if res != flowtable.InsertOK {
			t.Fatal(res)
		}
		table.Refresh(idx, 480, stubNow)
	}
	path := filepath.Join(t.TempDir(), "s")
	s, err := control.Listen(path, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return b, path
}

func (b *stubBackend) Tables() []*flowtable.Table            { return []*flowtable.Table{b.table} }
func (b *stubBackend) Now() flowtable.Tick                   { return stubNow }
func (b *stubBackend) Expectations() *flowtable.Expectations { return b.expect }
func (b *stubBackend) HelperName(id uint8) string            { return helpers.ID(id).Name() }
func (b *stubBackend) ExpectClass(id, class uint8) string    { return helpers.ID(id).ClassName(class) }
func (b *stubBackend) Ports() []control.Port                 { return []control.Port{{Name: "in0", Role: "internal"}} }
func (b *stubBackend) Timeouts() []control.Timeout {
	return []control.Timeout{{Name: "udp", Seconds: 30}}
}
func (b *stubBackend) Reload(_ context.Context, r control.ReloadRequest) (control.Reloaded, error) {
	if r.Flush {
		return control.Reloaded{Changed: []string{"snat", "timeout"}, Ended: 7}, nil
	}
	return control.Reloaded{}, fmt.Errorf("%w: /etc/x:3: unknown flag: --frob", control.ErrBadRequest)
}
func (b *stubBackend) Version() string                    { return "v0" }
func (b *stubBackend) Subscribe(int) control.Subscription { return b }
func (b *stubBackend) Close()                             {}

func (b *stubBackend) Stats() control.Stats {
	return control.Stats{Totals: []control.Counter{{Name: "rx_packets", Value: 5}, {Name: "drop_ttl"}}}
}

func (b *stubBackend) Read(ctx context.Context, events []flowtable.Event) (int, uint64, error) {
	select {
	case events[0] = <-b.events:
		return 1, 3, nil
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

func (b *stubBackend) Delete(_ context.Context, d control.Deletion) (n int, err error) {
	var s flowtable.Snapshot
	for idx := uint32(1); idx <= b.table.HighWater(); idx++ {
		if b.table.Read(idx, stubNow, &s) && d.Match(&s) {
			b.table.Remove(idx)
			n++
			if d.Each != nil {
				d.Each(0, &s)
			}
		}
	}
	return n, nil
}

func (b *stubBackend) DeleteExpectations(_ context.Context, _ flowtable.Process, match func(*flowtable.Expectation) bool,
	each func(*flowtable.Expectation),
) (n int, err error) {
	b.expect.Each(func(e *flowtable.Expectation) bool {
		if x := *e; match(&x) {
			b.expect.Remove(x.ID)
			each(&x)
			n++
		}
		return true
	})
	return n, nil
}

func TestCommandsTalkToTheGateway(t *testing.T) {
	_, path := newStub(t, 3)
	steps := []struct {
		args           string
		code           int
		stdout, stderr string // what they must hold; "" = nothing
	}{
		{"flows --sport 5001", 0, "udp      17 30 src=10.0.0.2 dst=192.0.2.1 sport=5001 dport=53 [UNREPLIED] src=192.0.2.1 dst=10.0.0.2 sport=53 dport=5001 mark=0 use=1\n", "xdpct vdev: 1 flow entries have been shown.\n"},
		{"flows -o proc,id -p tcp", 0, "", "xdpct vdev: 0 flow entries have been shown.\n"},
		{"flows -C", 0, "3\n", ""},
		{"flows -C --sport 5000-5001", 0, "2\n", ""},
		{"flows -n", 0, "", "xdpct vdev: 0 flow entries have been shown.\n"},
		{"flows -j -C", 0, "0\n", ""},
		{"flows -G -p udp -s 10.0.0.2 -d 192.0.2.1 --orig-port-src 5002 --orig-port-dst 53", 0, "sport=5002", "xdpct vdev: 1 flow entries have been shown.\n"},
		{"flows -G -p udp -s 10.0.0.2 -d 192.0.2.1 --sport 9", 1, "", "xdpct vdev: 0 flow entries have been shown.\nxdpct: flows: there is no such flow\n"},
		{"flows -m 0 -C", 0, "3\n", ""},
		{"flows -m 1 -C", 0, "0\n", ""},
		{"flows -f ipv4 -p 17 -u UNREPLIED -C", 0, "3\n", ""},
		{"flows -s 10.0.9.9 --mask-src 255.255.0.0 -d 192.0.2.1 -r 192.0.2.1 -q 10.0.0.2 -C", 0, "3\n", ""},
		{"flows --reply-port-src 53 --reply-port-dst 5000 -C", 0, "1\n", ""},
		{"flows --icmpv6-type 128 -C", 0, "0\n", ""},
		{"flows -p tcp --state ESTABLISHED -C", 0, "0\n", ""},
		{"flows -g -C", 0, "0\n", ""},
		{"flows -n 198.51.100.32 -C", 0, "0\n", ""},
		{"flows -n=198.51.100.0/24 -C", 0, "0\n", ""},
		{"delete -g fd00::1", 1, "", "xdpct vdev: 0 flow entries have been deleted.\nxdpct: delete: nothing matched\n"},
		{"flows -i 1 -C", 0, "0\n", ""},
		{"flows -o xml --sport 5000", 0, "<conntrack>\n<flow><meta direction=\"original\">", "xdpct vdev: 1 flow entries have been shown.\n"},
		{"flows -o save --sport 5000", 0, "-A -t 30 -u UNSET -s 10.0.0.2 -d 192.0.2.1 -r 192.0.2.1 -q 10.0.0.2 -p udp --sport 5000 ", "xdpct vdev: 1 flow entries have been shown.\n"},
		{"expectations --tuple-port-dst 9", 0, "", "xdpct vdev: 0 expectations have been shown.\n"},
		{"delete expect -s 10.0.0.2", 1, "", "xdpct vdev: 0 expectations have been deleted.\nxdpct: delete: nothing matched\n"},
		{"flush expect", 0, "", "xdpct vdev: 0 expectations have been deleted.\n"},
		{"expectations", 0, "", "xdpct vdev: 0 expectations have been shown.\n"},
		{"timeouts", 0, "udp      30", ""},
		{"timeouts -o json", 0, `"seconds": 30`, ""},
		{"stats -S", 0, "", ""},
		{"stats", 0, "rx_packets  5", ""},
		{"stats --all", 0, "drop_ttl", ""},
		{"ports", 0, "in0", ""},
		{"ports -o json", 0, `"name": "in0"`, ""},
		{"delete --sport 5001", 0, "udp      17 30 src=10.0.0.2 dst=192.0.2.1 sport=5001 dport=53 [UNREPLIED] src=192.0.2.1 dst=10.0.0.2 sport=53 dport=5001 mark=0 use=1\n", "xdpct vdev: 1 flow entries have been deleted.\n"},
		{"delete --sport 5001", 1, "", "xdpct vdev: 0 flow entries have been deleted.\nxdpct: delete: nothing matched\n"},
		{"flush", 0, "", "xdpct vdev: 2 flow entries have been deleted.\n"},
		{"flows", 0, "", "xdpct vdev: 0 flow entries have been shown.\n"},
	}
	for _, s := range steps {
		r := runCommand(t, append(strings.Fields(s.args), "--control", path)...)
		if r.code != s.code || r.stderr != s.stderr || !strings.Contains(r.stdout, s.stdout) || (s.stdout == "") != (r.stdout == "") {
			t.Errorf("%s: %+v, want %+v", s.args, r, s)
		}
	}
}

func TestEventsEndWithASummary(t *testing.T) {
	b, path := newStub(t, 0)
	b.events <- flowtable.Event{Kind: flowtable.EventNew, Left: 30, Flow: flowtable.Snapshot{
		Orig: flowtable.Tuple{Proto: 253, Family: packet.IPv4}, Reply: flowtable.Tuple{Proto: 253, Family: packet.IPv4},
	}}
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	var out, errs bytes.Buffer
	code := execute(ctx, &env{stdout: &out, stderr: &errs}, []string{"events", "--control", path})
	want := "    [NEW] unknown  253 30 src=0.0.0.0 dst=0.0.0.0 [UNREPLIED] src=0.0.0.0 dst=0.0.0.0\n"
	if code != 0 || out.String() != want {
		t.Errorf("code %d, %q, want %q", code, out.String(), want)
	}
	if s := errs.String(); !strings.Contains(s, "3 events lost here") || !strings.HasSuffix(s, "xdpct vdev: 1 flow events have been shown.\n") {
		t.Errorf("stderr %q", s)
	}
}

func TestVersionTellsTheBuild(t *testing.T) {
	r := runCommand(t, "version")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "xdpct vdev (commit ") || !strings.Contains(r.stdout, " go1.") {
		t.Errorf("%+v", r)
	}
	var b buildInfo
	if r := runCommand(t, "version", "-o", "json"); json.Unmarshal([]byte(r.stdout), &b) != nil || b.Version != "vdev" || b.Platform == "" {
		t.Errorf("%+v", r)
	}
}

func TestExitCodeOfErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {fmt.Errorf("x"), 1}, {usagef("x"), 2}, {fmt.Errorf("x: %w", usagef("y")), 2},
		{control.ErrBadRequest, 2}, {control.ErrNotRunning, 1}, {errCannotRun, 3},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestManPagesAreWrittenForEveryCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man8")
	if r := runCommand(t, "man", dir); r.code != 0 || r.stdout != "" {
		t.Fatalf("%+v", r)
	}
	everyCommand(t, func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-")
		text, err := os.ReadFile(filepath.Join(dir, name+".8"))
		if err != nil || !strings.Contains(string(text), ".SH SYNOPSIS") {
			t.Errorf("%s: %v, %d bytes", name, err, len(text))
		}
	})
	for _, args := range [][]string{{"man"}, {"man", dir, dir}} {
		if r := runCommand(t, args...); r.code != 2 {
			t.Errorf("%v: code %d, want 2", args, r.code)
		}
	}
}

func TestShellsAreToldWhatMayFollow(t *testing.T) {
	for args, want := range map[string]string{
		"flows -o": "ktimestamp", "events -o": "save", "expectations -o": "xml", "delete -o": "json",
		"flows --state": "ESTABLISHED", "events -e": "DESTROY", "flows -f": "ipv6", "expectations -p": "tcp", "delete -u": "ASSURED",
	} {
		r := runCommand(t, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		if r.code != 0 || !strings.Contains("\n"+r.stdout, "\n"+want+"\n") {
			t.Errorf("%s is completed by %q, want %s among them", args, r.stdout, want)
		}
	}
}

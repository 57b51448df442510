package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/flowtable"
)

// fakeBackend is a gateway without packets: real tables that a test fills.
type fakeBackend struct {
	tables []*flowtable.Table
	expect *flowtable.Expectations
	now    flowtable.Tick
	by     flowtable.Process // who deleted last

	mu   sync.Mutex
	subs []*fakeSubscription
}

func newBackend(t testing.TB, workers, maxFlows int) *fakeBackend {
	t.Helper()
	b := &fakeBackend{expect: flowtable.NewExpectations(16), now: goldenNow}
	for range workers {
		table, err := flowtable.New(flowtable.Options{MaxFlows: maxFlows})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { table.Close() })
		b.tables = append(b.tables, table)
	}
	return b
}

// mustInsert puts a flow that never expires into a worker's table.
func (b *fakeBackend) mustInsert(t testing.TB, worker int, s flowtable.Snapshot) uint32 {
	t.Helper()
	table := b.tables[worker]
	idx, res := table.Insert(&s.Orig, &s.Reply, b.now-75*flowtable.TicksPerSecond)
	if res != flowtable.InsertOK {
		t.Fatalf("insert: %v", res)
	}
	table.Refresh(idx, flowtable.Tick(s.Timeout)*flowtable.TicksPerSecond, b.now)
	table.Flow(idx).AddStatus(s.Status &^ flowtable.StatusIPv6)
	table.Flow(idx).SetState(s.State)
	if s.Helper != 0 || s.Master.Index != 0 {
		ext := table.AddExt(idx)
		ext.Helper, ext.Master = s.Helper, s.Master
	}
	return idx
}

// mustFill inserts n UDP flows into a worker's table.
func (b *fakeBackend) mustFill(t testing.TB, worker, n int) {
	t.Helper()
	for i := range n {
		src := fmt.Sprintf("10.%d.%d.%d", worker, i>>14&255, i>>6&255)
		port := uint16(1024 + i&63)
		b.mustInsert(t, worker, snapshotOf(mustTuple(17, src, "192.0.2.1", port, 53),
			mustTuple(17, "192.0.2.1", src, 53, port), 100, replied, 0))
	}
}

func (b *fakeBackend) Tables() []*flowtable.Table            { return b.tables }
func (b *fakeBackend) Now() flowtable.Tick                   { return b.now }
func (b *fakeBackend) Expectations() *flowtable.Expectations { return b.expect }
func (b *fakeBackend) HelperName(id uint8) string            { return helperName(id) }
func (b *fakeBackend) ExpectClass(_, _ uint8) string         { return "" }
func (b *fakeBackend) Version() string                       { return "v1.2.3" }

func (b *fakeBackend) Stats() control.Stats {
	counters := func(rx uint64) []control.Counter {
		return []control.Counter{
			{Name: "drop_no_route", Help: "no route to the destination"},
			{Name: "rx_packets", Help: "packets received", Value: rx},
			{Name: "received", Help: "packets taken from queues", Value: 4 * rx},
			{Name: "handed_over", Help: "packets handed over", Value: rx / 2},
			{Name: "flows_new", Help: "flows made", Value: rx + 1},
			{Name: "drop_nat_clash", Help: "tuple taken", Value: 3},
			{Name: "drop_nat_exhausted", Help: "no port", Value: 4},
			{Name: "drop_table_full", Help: "no room", Value: 5},
			{Name: "early_drop", Help: "evicted", Value: 6},
			{Name: "invalid_tcp_state", Help: "state", Value: 7},
			{Name: "invalid_length", Help: "length", Value: 300},
			{Name: "drop_icmp_unmatched", Help: "no flow", Value: 8},
			{Name: "expect_new", Help: "made", Value: 9},
			{Name: "expect_used", Help: "came", Value: 10},
			{Name: "expect_ended", Help: "gone", Value: 11},
		}
	}
	return control.Stats{
		Workers: []control.WorkerStats{{CPU: 2, Counters: counters(40)}, {CPU: 5, Counters: counters(2)}},
		Totals:  append(counters(42), control.Counter{Name: "kernel_drops", Help: "lost before the workers", Value: 7}),
	}
}

func (b *fakeBackend) Timeouts() []control.Timeout {
	return []control.Timeout{{Name: "tcp.established", Seconds: 432000}, {Name: "udp", Seconds: 30}}
}

func (b *fakeBackend) Ports() []control.Port {
	return []control.Port{
		{Name: "eth1", Role: "internal", Driver: "veth", AttachMode: "native", Copy: "copy", Queues: 2, Steering: "ports", Notes: []string{"does not tell its RSS key and table"}, MTU: 1500, LinkUp: true, RXPackets: 10, TXPackets: 20, Drops: 3},
		{Name: "eth0", Role: "external", Driver: "ice", AttachMode: "native", Copy: "zero-copy", Queues: 2, Steering: "rss", MTU: 1500},
	}
}

func (b *fakeBackend) Reload(context.Context, control.ReloadRequest) (control.Reloaded, error) {
	return control.Reloaded{}, nil
}

func (b *fakeBackend) Delete(ctx context.Context, d control.Deletion) (int, error) {
	b.by = d.By
	n := 0
	var s flowtable.Snapshot
	for worker, table := range b.tables {
		for idx := uint32(1); idx <= table.HighWater(); idx++ {
			if table.Read(idx, b.now, &s) && d.Match(&s) {
				table.Remove(idx)
				n++
				if d.Each != nil {
					d.Each(worker, &s)
				}
			}
		}
	}
	return n, ctx.Err()
}

func (b *fakeBackend) DeleteExpectations(ctx context.Context, by flowtable.Process, match func(*flowtable.Expectation) bool,
	each func(*flowtable.Expectation),
) (int, error) {
	b.by = by
	n := 0
	b.expect.Each(func(e *flowtable.Expectation) bool {
		if x := *e; match(&x) {
			b.expect.Remove(x.ID)
			each(&x)
			n++
		}
		return true
	})
	return n, ctx.Err()
}

// fakeSubscription is a bounded queue that counts what it has no room for.
type fakeSubscription struct {
	events chan flowtable.Event
	mu     sync.Mutex
	lost   uint64
}

func (b *fakeBackend) Subscribe(size int) control.Subscription {
	s := &fakeSubscription{events: make(chan flowtable.Event, size)}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, s)
	return s
}

func (s *fakeSubscription) Close() {}

func (s *fakeSubscription) Read(ctx context.Context, events []flowtable.Event) (int, uint64, error) {
	select {
	case e := <-s.events:
		events[0] = e
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := s.lost
	s.lost = 0
	return 1, lost, nil
}

// emit gives an event to every reader; it never waits.
func (b *fakeBackend) emit(e flowtable.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		select {
		case s.events <- e:
		default:
			s.mu.Lock()
			s.lost++
			s.mu.Unlock()
		}
	}
}

// waitReaders waits until n readers have subscribed.
func (b *fakeBackend) waitReaders(t *testing.T, n int) {
	t.Helper()
	for range 500 {
		b.mu.Lock()
		got := len(b.subs)
		b.mu.Unlock()
		if got >= n {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("no reader came")
}

func mustListen(t *testing.T, b control.Backend) (*control.Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	s, err := control.Listen(path, b, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, path
}

// mustGet returns the body and the numbers of an answer.
func mustGet(t *testing.T, path, what, query string) (string, control.Result) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	res, err := control.NewClient(path).Get(t.Context(), what, q, &out)
	if err != nil {
		t.Fatalf("GET %s?%s: %v", what, query, err)
	}
	return out.String(), res
}

func TestListingReadsTheTablesInPlace(t *testing.T) {
	b := newBackend(t, 2, 1024)
	for i, s := range goldenFlows() {
		s.Helper = 0
		b.mustInsert(t, i%2, s)
	}
	_, path := mustListen(t, b)
	body, res := mustGet(t, path, "/flows", "proto=tcp&dport=21")
	want := "tcp      6 119 TIME_WAIT src=10.1.2.3 dst=203.0.113.47 sport=39714 dport=21 " +
		"src=203.0.113.47 dst=198.51.100.32 sport=21 dport=39714 [ASSURED] mark=0 use=1\n"
	if body != want || res.Count != 1 {
		t.Errorf("%d flows:\n%swant 1:\n%s", res.Count, body, want)
	}
	if body, res := mustGet(t, path, "/flows", "format=proc"); res.Count != 7 || strings.Count(body, "\n") != 7 {
		t.Errorf("%d flows, want 7:\n%s", res.Count, body)
	}
	for query, want := range map[string]string{"": "7\n", "proto=tcp": "2\n", "family=ipv6": "1\n"} {
		if got, _ := mustGet(t, path, "/flows/count", query); got != want {
			t.Errorf("count of %q = %q, want %q", query, got, want)
		}
	}
}

func TestMasterIsHeldByItsLiveDataFlow(t *testing.T) {
	b := newBackend(t, 2, 1024)
	master := goldenFlows()[6]
	at := b.mustInsert(t, 1, master)
	data := snapshotOf(mustTuple(6, "203.0.113.47", "198.51.100.32", 20, 36215),
		mustTuple(6, "10.1.2.3", "203.0.113.47", 36215, 20), 119, assured|flowtable.StatusExpected, flowtable.TCPTimeWait)
	data.Master = flowtable.FlowID{Worker: 1, Index: at, Gen: b.tables[1].Gen(at)}
	idx := b.mustInsert(t, 0, data)
	_, path := mustListen(t, b)
	if body, _ := mustGet(t, path, "/flows", "dport=21"); !strings.HasSuffix(body, " helper=ftp use=2\n") {
		t.Errorf("master: %swant helper=ftp use=2", body)
	}
	if body, _ := mustGet(t, path, "/flows", "sport=20"); !strings.HasSuffix(body, " mark=0 use=1\n") {
		t.Errorf("data flow: %swant use=1", body)
	}
	if body, _ := mustGet(t, path, "/flows", "dport=21&format=proc"); !strings.HasSuffix(body, " use=3\n") {
		t.Errorf("master in proc form: %swant use=3", body)
	}
	b.tables[0].Remove(idx)
	if body, _ := mustGet(t, path, "/flows", "dport=21"); !strings.HasSuffix(body, " use=1\n") {
		t.Errorf("master alone: %swant use=1", body)
	}
}

func TestDeleteAndFlushRemoveFlows(t *testing.T) {
	b := newBackend(t, 2, 1024)
	b.mustFill(t, 0, 100)
	b.mustFill(t, 1, 50)
	_, path := mustListen(t, b)
	c := control.NewClient(path)
	for _, step := range []struct {
		method, what string
		query        url.Values
		want         uint64
	}{
		{http.MethodDelete, "/flows", url.Values{"src": {"10.1.0.0/16"}}, 50},
		{http.MethodDelete, "/flows", url.Values{"src": {"10.1.0.0/16"}}, 0},
		{http.MethodPost, "/flush", nil, 100},
	} {
		var gone bytes.Buffer
		res, err := c.Delete(t.Context(), step.what, step.query, &gone)
		if step.method == http.MethodPost {
			res, err = c.Change(t.Context(), step.what)
		}
		if err != nil || res.Count != step.want {
			t.Fatalf("%s %s: %d flows, %v; want %d", step.method, step.what, res.Count, err, step.want)
		}
		if n := strings.Count(gone.String(), "\n"); step.method == http.MethodDelete && uint64(n) != step.want {
			t.Errorf("%d deleted flows are shown, want %d:\n%s", n, step.want, gone.String())
		}
	}
	if name := string(b.by.Name()); b.by.PID != uint32(os.Getpid()) || name == "" {
		t.Errorf("deleted by %d %q, want this process %d and its name", b.by.PID, name, os.Getpid())
	}
	if _, err := c.Delete(t.Context(), "/flows", nil, new(bytes.Buffer)); !errors.Is(err, control.ErrBadRequest) {
		t.Errorf("delete without a filter: %v, want ErrBadRequest", err)
	}
}

func TestWrongRequestsAreTheUsersMistake(t *testing.T) {
	_, path := mustListen(t, newBackend(t, 1, 1024))
	for _, c := range []struct{ what, query string }{
		{"/flows", "proto=foo"}, {"/flows", "format=yaml"}, {"/flows/count", "src=x"},
		{"/events", "event=OLD"}, {"/events", "format=proc"}, {"/events/expect", "proto=tcp"},
		{"/expectations", "format=ktimestamp"}, {"/stats", "format=yaml"}, {"/ports", "format=yaml"},
	} {
		q, _ := url.ParseQuery(c.query)
		_, err := control.NewClient(path).Get(t.Context(), c.what, q, new(bytes.Buffer))
		if !errors.Is(err, control.ErrBadRequest) || strings.Contains(err.Error(), "\n") {
			t.Errorf("GET %s?%s: %v, want one line of ErrBadRequest", c.what, c.query, err)
		}
	}
}

func TestExpectationsAreListed(t *testing.T) {
	b := newBackend(t, 1, 1024)
	x := goldenExpectations()[0]
	x.Master = flowtable.FlowID{Index: 1}
	if r := b.expect.Add(&x); r != flowtable.AddOK {
		t.Fatal(r)
	}
	_, path := mustListen(t, b)
	body, res := mustGet(t, path, "/expectations", "format=proc")
	want := "300 l3proto = 2 proto=6 src=203.0.113.47 dst=198.51.100.32 sport=0 dport=36215 ftp\n"
	if body != want || res.Count != 1 {
		t.Errorf("got %d: %swant 1: %s", res.Count, body, want)
	}
}

func TestExpectationsAreDeleted(t *testing.T) {
	b := newBackend(t, 1, 1024)
	for i := range uint16(3) {
		x := goldenExpectations()[0]
		x.Master, x.Tuple.DstPort = flowtable.FlowID{Index: uint32(i) + 1}, 5000+i
		if r := b.expect.Add(&x); r != flowtable.AddOK {
			t.Fatal(r)
		}
	}
	_, path := mustListen(t, b)
	c := control.NewClient(path)
	if _, err := c.Delete(t.Context(), "/expectations", nil, new(bytes.Buffer)); !errors.Is(err, control.ErrBadRequest) {
		t.Errorf("delete without a filter: %v, want ErrBadRequest", err)
	}
	var gone bytes.Buffer
	res, err := c.Delete(t.Context(), "/expectations", url.Values{"tuple-port-dst": {"5001"}}, &gone)
	if err != nil || res.Count != 1 || !strings.Contains(gone.String(), " sport=0 dport=5001 ") || b.by.PID == 0 {
		t.Errorf("deleted %d for %d, %v:\n%s", res.Count, b.by.PID, err, gone.String())
	}
	if body, res := mustGet(t, path, "/expectations", "tuple-port-dst=5002"); res.Count != 1 || !strings.Contains(body, "dport=5002") {
		t.Errorf("the filter lists %d:\n%s", res.Count, body)
	}
	if res, err := c.Change(t.Context(), "/flush/expect"); err != nil || res.Count != 2 || b.expect.Len() != 0 {
		t.Errorf("flushed %d, %v; %d are left", res.Count, err, b.expect.Len())
	}
}

func TestStatsAndPorts(t *testing.T) {
	b := newBackend(t, 2, 1024)
	b.mustFill(t, 0, 3)
	_, path := mustListen(t, b)
	for name, c := range map[string]struct{ what, query string }{
		"stats": {"/stats", ""}, "stats-all": {"/stats", "all=true"}, "stats-json": {"/stats", "format=json"},
		"stats-conntrack": {"/stats", "format=conntrack"}, "stats-proc": {"/stats", "format=proc"},
		"timeouts": {"/timeouts", ""}, "timeouts-json": {"/timeouts", "format=json"},
		"ports": {"/ports", ""}, "ports-json": {"/ports", "format=json"},
	} {
		body, _ := mustGet(t, path, c.what, c.query)
		// The size of the tables depends on the machine.
		size := b.tables[0].MemoryBytes() + b.tables[1].MemoryBytes()
		body = strings.ReplaceAll(body, fmt.Sprint(size), "SIZE")
		body = strings.ReplaceAll(body, fmt.Sprintf("%d MiB of", size>>20), "SIZE MiB of")
		body = strings.ReplaceAll(body, fmt.Sprint(b.tables[0].Cap()*2), "CAP")
		checkGolden(t, name, []byte(body))
	}
}

func TestSocketIsTheOwnersAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s, path := mustListen(t, newBackend(t, 1, 1024))
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the socket is still there: %v", err)
	}
}

func TestSocketOfTheDeadIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as kill -9 leaves it
	l.Close()
	if err := control.CheckPath(path); err != nil {
		t.Errorf("CheckPath: %v", err)
	}
	s, err := control.Listen(path, newBackend(t, 1, 1024), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if body, _ := mustGet(t, path, "/version", ""); body != "v1.2.3\n" {
		t.Errorf("version %q", body)
	}
}

func TestSocketOfTheLivingIsLeftAlone(t *testing.T) {
	_, path := mustListen(t, newBackend(t, 1, 1024))
	if _, err := control.Listen(path, newBackend(t, 1, 1024), slog.New(slog.DiscardHandler)); !errors.Is(err, control.ErrInUse) {
		t.Errorf("second server: %v, want ErrInUse", err)
	}
	mustGet(t, path, "/version", "")
}

func TestFileThatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(path, newBackend(t, 1, 1024), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("took over a file")
	}
	if b, err := os.ReadFile(path); string(b) != "precious" {
		t.Errorf("file is %q, %v", b, err)
	}
}

func TestNobodyThere(t *testing.T) {
	_, err := control.NewClient(filepath.Join(t.TempDir(), "s")).Get(t.Context(), "/flows", nil, new(bytes.Buffer))
	if !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("%v, want ErrNotRunning", err)
	}
}

// A flow that a helper announced shows its master, and its id alone once that is gone.
func TestFlowShowsItsMaster(t *testing.T) {
	b := newBackend(t, 2, 1024)
	at := b.mustInsert(t, 1, goldenFlows()[6])
	data := snapshotOf(mustTuple(6, "203.0.113.47", "198.51.100.32", 20, 36215),
		mustTuple(6, "10.1.2.3", "203.0.113.47", 36215, 20), 119, assured|flowtable.StatusExpected, flowtable.TCPTimeWait)
	data.Master = flowtable.FlowID{Worker: 1, Index: at, Gen: b.tables[1].Gen(at)}
	b.mustInsert(t, 0, data)
	_, path := mustListen(t, b)
	id := fmt.Sprintf(`,"master_id":%d,`, b.tables[1].MasterID(data.Master))
	master, _ := mustGet(t, path, "/flows", "dport=21&format=json")
	if !strings.HasPrefix(master, `{"id":`+id[len(`,"master_id":`):]) || strings.Contains(master, "master") {
		t.Errorf("master: %swant its id as in %s", master, id)
	}
	if body, _ := mustGet(t, path, "/flows", "sport=20&format=json"); !strings.Contains(body, id+`"master":{"src":"10.`) {
		t.Errorf("%swant %s", body, id)
	}
	b.tables[1].Remove(at)
	if body, _ := mustGet(t, path, "/flows", "sport=20&format=json"); !strings.Contains(body, id+`"timeout"`) {
		t.Errorf("%swant %s and no master", body, id)
	}
}

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

// lazy starts a gateway that gets about a thirtieth of the CPU that it shares with a
// flood: more than ten times as much is offered as it can forward.
var lazy = []string{"nice", "-n", "10"}

// TestOverload offers a gateway with a full table far more than it can forward, from
// one side after the other. An established exchange of datagrams, which come by the very
// queue that overflows, goes on; the control socket answers, memory stays as it is; and
// when the flood is over, a TCP transfer that began before goes on, too.
func TestOverload(t *testing.T) {
	lab.NeedsXDPCT(t)
	l := lab.New(t, 1)
	files := l.Serve(t, l.Server)
	newFile(t, files, "file.bin", 200_000_000)
	g := l.StartXDPCTUnder(t, lazy, snat("--max-flows", "2048", "--dnat", "tcp:"+lab.NATAddr+":80=10.1.2.3:8080")...)
	got := filepath.Join(l.Dir, "got.bin")
	transfer := l.Client.Start(t, "curl", "-sS", "--limit-rate", "1M", "-o", got, "http://203.0.113.47/file.bin")
	defer func() {
		transfer.Signal(syscall.SIGKILL)
		transfer.Wait(t, 10*time.Second)
	}()
	arrived(t, got, 100_000)
	x := startDatagrams(t, l)
	lab.Eventually(t, 30*time.Second, "a stream of datagrams", func() bool {
		return strings.Contains(strings.Join(g.Flows(t), "\n"), "dport=7777 src=203.0.113.47 dst=198.51.100.32 sport=7777 dport="+x.port+" [ASSURED]")
	})
	t.Run("from-inside", func(t *testing.T) {
		frame, next := randomUDP(t, l)
		checkFlood(t, g, x, "early_drop", func() *flood { return startFlood(t, l.Client, frame, next) })
	})
	t.Run("from-outside", func(t *testing.T) {
		frame, next := randomSYN(t, l, 80)
		checkFlood(t, g, x, "flows_new", func() *flood { return startFlood(t, l.Server, frame, next) })
	})
	arrived(t, got, fileSize(t, got)+100_000)
	lab.Eventually(t, 30*time.Second, "all frames are where they belong", func() bool { return g.Counters(t)["frames_missing"] == 0 })
}

// checkFlood lets an exchange go on during a flood, which counter counts.
func checkFlood(t *testing.T, g *lab.Gateway, x *datagrams, counter string, start func() *flood) {
	t.Helper()
	before := g.Counters(t)[counter]
	f := start()
	defer f.stop()
	lab.Eventually(t, 60*time.Second, "the flood has an effect", func() bool { return g.Counters(t)[counter] > before+20_000 })
	memory, echoes := residentBytes(t, g), x.echoes.Load()
	offered, taken := f.sent.Load(), g.Counters(t)["received"]
	lab.Eventually(t, 60*time.Second, "the exchange goes on", func() bool { return x.echoes.Load() > echoes+50 })
	if flows := strings.Join(g.Flows(t), "\n"); !strings.Contains(flows, "ESTABLISHED src=10.1.2.3 dst=203.0.113.47") {
		t.Errorf("the transfer's flow is not listed: %s", flows)
	}
	offered, taken = f.sent.Load()-offered, g.Counters(t)["received"]-taken
	if after := residentBytes(t, g); after > memory+8<<20 {
		t.Errorf("%d bytes resident, then %d", memory, after)
	}
	t.Logf("%d packets were sent while %d were taken from the queues", offered, taken)
	if offered < 2*taken {
		t.Error("that is no overload")
	}
}

// datagrams is a client that sends datagrams to an echoing server, always from one port.
type datagrams struct {
	port   string
	echoes atomic.Int64 // that came back
}

func startDatagrams(t *testing.T, l *lab.Lab) *datagrams {
	t.Helper()
	open := func(n *lab.Namespace, own, peer string) (c *net.UDPConn) {
		err := n.Do(func() (err error) {
			local, err := net.ResolveUDPAddr("udp4", own)
			if err != nil {
				return err
			}
			if peer == "" {
				c, err = net.ListenUDP("udp4", local)
				return err
			}
			remote, err := net.ResolveUDPAddr("udp4", peer)
			if err == nil {
				c, err = net.DialUDP("udp4", local, remote)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := open(l.Server, lab.ServerAddr+":7777", "")
	client := open(l.Client, lab.ClientAddr+":0", lab.ServerAddr+":7777")
	_, port, _ := net.SplitHostPort(client.LocalAddr().String())
	x := &datagrams{port: port}
	var ended sync.WaitGroup
	ended.Go(func() { // echo
		b := make([]byte, 64)
		for {
			n, from, err := server.ReadFromUDP(b)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDP(b[:n], from) // what is lost is lost
		}
	})
	ended.Go(func() {
		b := make([]byte, 64)
		for {
			if _, err := client.Read(b); errors.Is(err, net.ErrClosed) {
				return
			} else if err == nil {
				x.echoes.Add(1)
			}
		}
	})
	stop := make(chan struct{})
	ended.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = client.Write([]byte("a question"))
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		_ = client.Close()
		_ = server.Close()
		ended.Wait()
	})
	return x
}

// arrived waits until a file has grown to a size.
func arrived(t *testing.T, path string, size int64) {
	t.Helper()
	lab.Eventually(t, 60*time.Second, fmt.Sprintf("%d bytes of %s", size, filepath.Base(path)), func() bool { return fileSize(t, path) >= size })
}

// fileSize is 0 of a file that is not there.
func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// residentBytes is how much memory the gateway's process has.
func residentBytes(t *testing.T, g *lab.Gateway) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no VmRSS: %s", status)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

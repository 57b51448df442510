package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpct/xdpct/test/lab"
)

var (
	soakTime = flag.Duration("soak-time", 10*time.Second, "how long traffic and faults go on")
	soakSeed = flag.Uint64("soak-seed", 0, "of the faults; 0 = from the clock")
)

const (
	queues = 2
	// maxFlows is less than the flood makes: the table is full most of the time.
	maxFlows = 100_000
	// sessionWait is how long TCP may take to come back after the last fault: its
	// retransmissions have become rare.
	sessionWait = 2 * time.Minute
	// maxGrowth is by how many KiB the memory of the process may grow in the second part
	// of a course: by what the table takes when it fills after a late start, 20 MiB, and as
	// much again for Go's heap.
	maxGrowth = 40 << 10
)

// course is one run.
type course struct {
	lab     *lab.Lab
	gateway *lab.Gateway
	rng     *rand.Rand
	content []byte // of the file that is moved
	uploads string // folder of the files that the server got
	stopped atomic.Bool
	figures figures
	struck  map[string]int // faults by name
	made    uint64         // flows since the last start
}

// start starts the gateway.
func (c *course) start(t *testing.T) {
	t.Helper()
	c.gateway = c.lab.StartXDPCT(t, "--snat", lab.NATAddr, "--max-flows", fmt.Sprint(maxFlows),
		"--helper", "ftp:21,2121", "--helper", "tftp", "--helper", "sip",
		"--dnat", "tcp:198.51.100.40:80="+lab.ClientAddr+":80", "--dnat", "tcp:198.51.100.40:2121="+lab.ClientAddr+":21")
}

// TestSoak: traffic and faults, then silence and a look at what is left.
func TestSoak(t *testing.T) {
	lab.NeedsXDPCT(t)
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%v, seed %d", *soakTime, seed)
	c := &course{lab: lab.New(t, queues), rng: rand.New(rand.NewPCG(seed, 1)), struck: map[string]int{}}
	files := c.lab.Serve(t, c.lab.Server)
	file := newFile(t, filepath.Join(files, "file.bin"))
	c.uploads = filepath.Join(files, "upload")
	c.content, _ = os.ReadFile(file) // written a moment ago
	if err := os.WriteFile(filepath.Join(c.lab.Serve(t, c.lab.Client), "file.bin"), c.content, 0o644); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	c.serve(t, files)
	session := c.openSession(t)
	var traffic sync.WaitGroup
	moves := c.transfers(file)
	for i := range moves {
		traffic.Go(func() { c.move(t, &moves[i]) })
	}
	traffic.Go(func() { c.churn(t) })

	begin := time.Now()
	c.disturb(t, c.rng, begin.Add(*soakTime*6/10), true)
	c.disturb(t, c.rng, begin.Add(*soakTime*7/10), false)
	before := memory(t, c.gateway)
	c.disturb(t, c.rng, begin.Add(*soakTime), false)
	growth := memory(t, c.gateway) - before
	c.stopped.Store(true)
	traffic.Wait()
	took := time.Since(begin)

	session.check(t)
	session.close()

	for i := range moves { // without faults each of them works at once
		tries := c.figures.tries.Load()
		c.moveOne(t, &moves[i], -1)
		if n := c.figures.tries.Load() - tries; n != 1 {
			t.Errorf("%s took %d tries without faults", moves[i].name, n)
		}
	}
	if growth > maxGrowth {
		t.Errorf("the process grew by %d KiB, at most %d are allowed", growth, maxGrowth)
	}
	c.checkLedger(t)
	c.report(t, moves, took, growth)
}

// checkLedger: nothing is left once all flows are forgotten.
func (c *course) checkLedger(t *testing.T) {
	t.Helper()
	last := c.gateway.Counters(t)
	for _, helper := range []string{"ftp", "tftp", "sip"} {
		if last[helper+"_expected"] == 0 {
			t.Errorf("nothing was expected by %s: its traffic passes without the helper", helper)
		}
	}
	c.made = last["flows_new"]
	c.gateway.Flush(t)
	left := c.left(t)
	for until := time.Now().Add(10 * time.Second); left != "" && time.Now().Before(until); left = c.left(t) {
		time.Sleep(100 * time.Millisecond)
	}
	if left != "" {
		t.Error("left after a flush: " + left)
	}
}

// left tells what the gateway still has: of frames what is missing, held or in fragments,
// and flows, mappings and expectations.
func (c *course) left(t *testing.T) string {
	t.Helper()
	var left []string
	k := c.gateway.Counters(t)
	for _, name := range []string{"frames_missing", "frames_lost", "frames_held", "frames_fragments", "flows", "nat_mappings", "expectations"} {
		if k[name] != 0 {
			left = append(left, fmt.Sprintf("%s %d", name, k[name]))
		}
	}
	if made, ended := k["flows_new"], k["flows_ended"]; made != ended {
		left = append(left, fmt.Sprintf("%d flows made, %d ended", made, ended))
	}
	return strings.Join(left, ", ")
}

// report logs the figures of the course.
func (c *course) report(t *testing.T, moves []transfer, took time.Duration, growth int) {
	t.Helper()
	var struck, right []string
	for name, n := range c.struck {
		struck = append(struck, fmt.Sprintf("%d x %s", n, name))
	}
	slices.Sort(struck)
	for i := range moves {
		right = append(right, fmt.Sprintf("%d x %s", moves[i].right, moves[i].name))
	}
	t.Logf("%v: right in %d tries: %s (%d MB); %d packets of the flood, %d flows since the last start; memory %+d KiB; faults: %s",
		took.Round(time.Second), c.figures.tries.Load(), strings.Join(right, ", "), c.figures.bytes.Load()/1e6,
		c.figures.packets.Load(), c.made, growth, strings.Join(struck, ", "))
}

// resident is the line of /proc/PID/status with the memory in use.
var resident = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// memory returns what the gateway's process uses, KiB.
func memory(t *testing.T, g *lab.Gateway) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.Process.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := resident.FindSubmatch(status)
	if m == nil {
		t.Fatalf("no memory in\n%s", status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

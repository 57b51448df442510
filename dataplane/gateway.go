package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
)

// Gateway is everything that one `xdpct run` owns: the ports and their
// programs, the frames, the workers, and what workers share. It is made by
// New, serves from Start to Close, and is read by the control plane meanwhile.
type Gateway struct {
	opts    Options
	path    *pathConfig
	ports   []*port
	maps    *xsk.Maps
	umem    *xsk.UMEM
	mirror  *fib.Mirror
	local   *localAddrs
	workers []*Worker
	pools   []*framePool
	notes   []SteeringNote // why not all is steered by RSS
	shared  sharedState
	started time.Time
	serving sync.WaitGroup // workers
	tasks   sync.WaitGroup // goroutines that read tables
	ctx     context.Context
	cancel  context.CancelFunc // ends the tasks
	halting sync.Once
	closing sync.Once
	change  sync.RWMutex // held while settings change; guards opts.Tracker
	taken   Restored     // what Restore did
	replug  *replugger   // nil before Start

	framesLost atomic.Int64 // frames that drivers of deleted interfaces kept
}

// sharedState is what all workers of a gateway use.
type sharedState struct {
	expect *flowtable.Expectations
	hub    *eventHub
	use    *nat.PortUse
	punt   atomic.Pointer[puntDevice] // nil = no NAT address was the box's own so far
	start  time.Time                  // tick 0
}

// maxExpectations bounds the expectations of all workers together; the kernel
// allows 4 × buckets/256, which is 4096 for its usual 262144 buckets.
const maxExpectations = 4096

// New makes a gateway: it checks the options, takes the memory, opens the
// sockets and loads the programs, but attaches nothing. It must be called on a
// thread in the network namespace of the ports. An error leaves nothing
// behind.
func New(o Options) (*Gateway, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	g := &Gateway{opts: o, path: &pathConfig{helpers: o.Helpers, passInvalid: o.PassInvalid, skipChecksums: o.SkipChecksums, masquerade: o.NAT.Masquerade, spin: o.Spin || o.BusyPoll > 0}}
	g.makeShared()
	err := g.build(g.findPorts, g.makeMirror, g.makeMaps, g.makeFrames, g.makeWorkers, g.openSockets, g.makeLocal)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// build takes the steps of making a gateway. If one fails, what the others
// took is freed.
func (g *Gateway) build(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return errors.Join(err, g.release())
		}
	}
	return nil
}

// complete fills in defaults and refuses what cannot be.
func (o *Options) complete() error {
	if o.MaxFlows == 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	if o.RingSize == 0 {
		o.RingSize = DefaultRingSize
	}
	if o.FrameSize == 0 {
		o.FrameSize = DefaultFrameSize
	}
	var sides [2]int
	for _, p := range o.Ports {
		sides[p.Realm]++
	}
	if sides[nat.RealmInternal] == 0 || sides[nat.RealmExternal] == 0 {
		return errors.New("a gateway needs at least one internal and one external interface")
	}
	if len(o.Ports) > maxPorts {
		return fmt.Errorf("%d interfaces, at most %d are possible", len(o.Ports), maxPorts)
	}
	if o.Tracker == nil {
		o.Tracker = flowtable.NewTracker()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if len(o.CPUs) == 0 {
		cpus, err := allowedCPUs()
		if err != nil {
			return err
		}
		o.CPUs = cpus
	}
	return nil
}

// allowedCPUs lists the CPUs that this process may run on.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

func (g *Gateway) makeShared() {
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.shared.start = time.Now()
	g.shared.expect = flowtable.NewExpectations(maxExpectations)
	g.shared.use = &nat.PortUse{}
	g.path.strays = flowtable.NewStrays(maxStrays)
	g.path.fragmentSeed = rand.Uint64()
	g.shared.hub = &eventHub{lost: func() uint64 {
		return g.sum(func(c *counters) uint64 { return c.eventLost.Load() })
	}}
}

func (g *Gateway) makeMaps() error {
	maps, err := xsk.NewMaps(xsk.MapsOptions{SharedAddresses: maxSharedAddrs})
	g.maps = maps
	return err
}

// makeFrames takes the UMEM: for each socket a full fill ring and a full TX
// ring, some for what is under way between them, and those that all workers may put
// aside.
func (g *Gateway) makeFrames() error {
	sockets := 0 // of the worker that has most
	for _, p := range g.ports {
		sockets += (p.queues + g.path.workers - 1) / g.path.workers
	}
	perWorker := sockets*3*g.opts.RingSize + maxHeld + 2*BurstSize + asideLimit(g.path.workers)*g.path.workers
	umem, err := xsk.NewUMEM(xsk.UMEMOptions{
		Frames: perWorker * g.path.workers, FrameSize: g.opts.FrameSize, HugePages: g.opts.HugePages != HugePagesOff,
		Unlocked: g.maps == nil, // a gateway in memory: no device writes to its frames
	})
	if err != nil {
		return err
	}
	g.umem, g.path.umem = umem, umem
	if g.opts.HugePages == HugePagesOn && umem.Pages() != xsk.PagesReserved {
		return fmt.Errorf("frames take %d huge pages of 2 MiB and there are not as many free: reserve them with `sysctl vm.nr_hugepages=N` or use --huge-pages auto",
			(umem.Size()+1<<21-1)>>21)
	}
	g.pools = newFramePools(g.path.workers, perWorker, uint64(g.opts.FrameSize), newFrameCheck(umem))
	return nil
}

// Start attaches the programs and starts the workers. When it returns without
// an error, packets are being forwarded.
func (g *Gateway) Start() error {
	for _, w := range g.workers {
		w.idle = newSleeper(w)
		ready := make(chan error, 1)
		g.serving.Add(1)
		go g.serve(w, ready)
		if err := <-ready; err != nil {
			return errors.Join(err, g.Close())
		}
	}
	if err := g.attach(); err != nil {
		return errors.Join(err, g.Close())
	}
	g.replug = newReplugger(g)
	g.started = time.Now()
	g.tasks.Go(func() { g.watch(g.ctx) })
	return nil
}

// serve is a worker's thread.
func (g *Gateway) serve(w *Worker, ready chan<- error) {
	defer g.serving.Done()
	// Never unlocked: a thread with a changed affinity must not be used again.
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(w.cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		ready <- fmt.Errorf("pin worker %d to CPU %d: %w", w.id, w.cpu, err)
		return
	}
	ready <- nil
	w.run()
	w.shutMail()
}

// Stop stops the workers: from here on nothing changes the flows. The programs stay
// attached until Close and drop what is not for the box itself. Close does it too.
func (g *Gateway) Stop() {
	g.halting.Do(func() {
		if g.replug != nil {
			g.replug.close()
		}
		for _, w := range g.workers {
			w.stopped.Store(true)
			w.edge.waker.wake()
		}
		g.serving.Wait()
	})
}

// Close stops the gateway and frees everything. The kernel's own forwarding is what
// it was before, unless somebody else has the links.
func (g *Gateway) Close() error {
	g.Stop()
	var err error
	g.closing.Do(func() { err = g.release() })
	return err
}

// release frees what New took, as far as it got, in reverse order; but the kernel gets
// its ports first, since the rest takes time.
func (g *Gateway) release() error {
	errs := []error{g.detach()}
	if g.shared.hub != nil {
		g.shared.hub.close()
	}
	if g.mirror != nil {
		errs = append(errs, g.mirror.Close())
	}
	g.cancel()
	g.tasks.Wait()
	for _, w := range g.workers {
		errs = append(errs, w.flows.table.Close(), w.edge.waker.close())
	}
	for _, p := range g.ports {
		errs = append(errs, p.close())
	}
	if g.umem != nil {
		errs = append(errs, g.umem.Close())
	}
	if g.maps != nil {
		errs = append(errs, g.maps.Close())
	}
	if punt := g.shared.punt.Load(); punt != nil {
		errs = append(errs, punt.Close())
	}
	return errors.Join(errs...)
}

// Tables returns the flow table of each worker. They may be read by any
// goroutine until Close.
func (g *Gateway) Tables() []*flowtable.Table {
	tables := make([]*flowtable.Table, len(g.workers))
	for i, w := range g.workers {
		tables[i] = w.flows.table
	}
	return tables
}

// Now returns the gateway's time.
func (g *Gateway) Now() flowtable.Tick { return tickOf(time.Since(g.shared.start)) }

// Started returns when packets were first forwarded.
func (g *Gateway) Started() time.Time { return g.started }

// Timeouts returns the settings of the state machines.
func (g *Gateway) Timeouts() flowtable.Timeouts {
	g.change.RLock()
	defer g.change.RUnlock()
	return g.opts.Tracker.Timeouts
}

// Expectations returns the expectations of all workers.
func (g *Gateway) Expectations() *flowtable.Expectations { return g.shared.expect }

// Subscribe starts an event stream with room for size events.
func (g *Gateway) Subscribe(size int) *Subscription { return g.shared.hub.subscribe(size) }

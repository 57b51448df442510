package dataplane

import (
	"context"
	"fmt"

	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// Settings are those of the Options that can be changed while packets flow.
type Settings struct {
	NAT           nat.Config // Workers and Steering stay what they are
	Helpers       *helpers.Set
	Tracker       *flowtable.Tracker
	PassInvalid   bool
	SkipChecksums bool
	Ending        bool // all flows will be deleted next: none needs to be found
}

// Reload puts other settings in force, all or, with an error, none. Flows that exist
// keep their translation and their helper; time-outs count from their next packet.
//
// Each worker changes over between two bursts. With several workers, flows that the
// new rules would look for at another worker are noted as strays before, so that
// their packets find them whichever rules a worker has at the moment.
func (g *Gateway) Reload(s Settings) error {
	g.change.Lock()
	defer g.change.Unlock()
	s.NAT.Workers, s.NAT.Steering = g.path.workers, g.path.steering
	if err := s.NAT.Validate(); err != nil {
		return err
	}
	cfg := *g.path
	cfg.helpers, cfg.passInvalid, cfg.skipChecksums = s.Helpers, s.PassInvalid, s.SkipChecksums
	cfg.masquerade = s.NAT.Masquerade
	if lost := g.keepFound(&cfg, &s); lost > 0 {
		return fmt.Errorf("%d flows would be lost: their packets would be steered to other workers, and there is room for %d such directions: end some first",
			lost, maxStrays)
	}
	if g.local != nil {
		if err := g.local.setRules(s.NAT, g.mirror.Snapshot()); err != nil {
			return err
		}
	}
	rules := nat.NewRules(&s.NAT)
	for _, w := range g.workers {
		// Not to be given up half way: only the end of the gateway ends it.
		if err := w.do(context.Background(), func(w *Worker) {
			w.cfg, w.flows.tracker = &cfg, s.Tracker
			w.flows.nat.SetRules(rules)
		}); err != nil {
			return err
		}
	}
	g.opts.Tracker = s.Tracker
	// Flows that have begun meanwhile, by the rules of before.
	if lost := g.keepFound(&cfg, &s); lost > 0 {
		g.opts.Log.Warn("new flows are lost: their packets are steered to other workers by the new rules", "flows", lost)
	}
	return nil
}

// keepFound notes as strays all flows that workers with other settings would look
// for elsewhere, and returns how many there is no room for.
func (g *Gateway) keepFound(cfg *pathConfig, s *Settings) (lost int) {
	if cfg.workers == 1 || s.Ending {
		return 0
	}
	asked := Worker{cfg: cfg, flows: flowState{nat: nat.NewTranslator(&s.NAT, 0, 0, 1, nil)},
		routes: routeState{now: g.mirror.Snapshot()}}
	var flow flowtable.Snapshot
	for _, w := range g.workers {
		t := w.flows.table
		for idx := uint32(1); idx <= t.HighWater(); idx++ {
			if t.Read(idx, g.Now(), &flow) && !asked.finds(&flow, w.id) {
				lost++
			}
		}
	}
	return lost
}

// finds makes sure that the packets of a flow find it where it is. It reports false
// if there is no room for that.
func (w *Worker) finds(s *flowtable.Snapshot, worker int) bool {
	for _, t := range [2]*flowtable.Tuple{&s.Orig, &s.Reply} {
		from, ok := w.realmTowards(t)
		if ok && !w.noteStray(t, from, worker) {
			return false
		}
	}
	return true
}

package main

import (
	"cmp"

	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/nat"
)

// checkSteering says how packets find their worker, and what keeps them from
// coming to it straight.
func (f *findings) checkSteering(cfg *runConfig, m *machine) {
	var ports []dataplane.SteeringPort
	workers := len(m.cpus)
	if len(cfg.CPUs) > 0 {
		workers = len(cfg.CPUs)
	}
	for i := range m.ports {
		p := &m.ports[i]
		if p.err != nil {
			return // that is reported already
		}
		realm := nat.RealmInternal
		if p.role == "external" {
			realm = nat.RealmExternal
		}
		ports = append(ports, dataplane.SteeringPort{Name: p.name, Realm: realm, Queues: p.sockets(), RSS: p.device.RSS})
		workers = min(workers, p.sockets())
	}
	plan, notes, err := dataplane.PlanSteering(cfg.Steering, ports, workers)
	switch {
	case workers <= 1:
		f.ok("steering", "one worker: nothing to steer")
	case err == nil:
		f.ok("steering", "%s, %d workers", plan.String(), workers)
	}
	for _, n := range notes {
		switch {
		case err != nil:
			f.fail(n.Port, n.Text+": --steering rss cannot be", cmp.Or(n.Todo, "give --steering auto"))
		case n.Todo != "":
			f.warn(n.Port, n.Text+": packets are steered by port number", n.Todo)
		default:
			f.ok(n.Port, "%s: packets are steered by port number", n.Text)
		}
	}
}

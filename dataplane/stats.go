package dataplane

import "github.com/xdpct/xdpct/flowtable"

// Counter is a figure for people and metrics.
type Counter struct {
	Name  string
	Help  string
	Value uint64
}

// WorkerStats are the counters of one worker.
type WorkerStats struct {
	CPU      int
	Counters []Counter // same names and order for each worker
}

// named is how a counter is found, named and explained.
type named struct {
	name, help string
	read       func(*Worker) uint64
}

// workerCounters lists what each worker counts, in the order in which it is
// shown: flows first, then drops in the order of the packet path.
func workerCounters() []named {
	list := []named{
		{"flows", "flows in the table now", func(w *Worker) uint64 { return uint64(w.flows.table.Len()) }},
		{"flows_new", "flows made", func(w *Worker) uint64 { return w.count.flowsNew.Load() }},
		{"flows_ended", "flows removed, for any reason", func(w *Worker) uint64 { return w.count.flowsGone.Load() }},
		{"early_drop", "flows evicted from a full table", func(w *Worker) uint64 { return w.count.earlyDrop.Load() }},
		{"table_full", "new flows refused because the table was full", func(w *Worker) uint64 { return w.count.tableFull.Load() }},
		{"nat_mappings", "source translations in use now that had to be recorded: the port was taken", func(w *Worker) uint64 { return w.flows.nat.Stats().Mappings }},
		{"received", "packets taken from the queues of the ports", (*Worker).received},
		{"handed_over", "packets taken over from the queues of other workers", func(w *Worker) uint64 { return w.count.handedIn.Load() }},
		{"rss_mismatch", "packets that came to another queue than RSS, as told at the start, says: handed over", func(w *Worker) uint64 { return w.count.misspread.Load() }},
		{"punted", "packets given to the kernel after a look at the flow table", func(w *Worker) uint64 { return w.count.punted.Load() }},
		{"icmp_sent", "ICMP errors sent by the gateway itself", func(w *Worker) uint64 { return w.count.icmpSent.Load() }},
		{"fragments_joined", "datagrams that came in pieces and were made one packet, for a helper", func(w *Worker) uint64 { return w.count.joined.Load() }},
		{"fragments_assembled", "datagrams that came in pieces, with none missing", func(w *Worker) uint64 { return w.count.assembled.Load() }},
		{"tx_errors", "times that the kernel refused to send (link down)", func(w *Worker) uint64 { return w.count.txErrors.Load() }},
		{"events_lost", "events that found no room on their way to the readers", func(w *Worker) uint64 { return w.count.eventLost.Load() }},
		{"expect_new", "expectations made by helpers", func(w *Worker) uint64 { return w.count.expectNew.Load() }},
		{"expect_used", "expectations whose flow came", func(w *Worker) uint64 { return w.count.expectUsed.Load() }},
		{"expect_ended", "expectations that ended, for any reason", func(w *Worker) uint64 { return w.count.expectGone.Load() }},
		{"host_uncounted", "flows whose source found no room to be counted, and is not limited", func(w *Worker) uint64 { return w.count.hostsUntold.Load() }},
		{"helper_no_room", "flows that got no helper, or no master, for want of room", func(w *Worker) uint64 { return w.count.helperNoRoom.Load() }},
	}
	for r := range numDropReasons {
		list = append(list, named{dropText[r][0], dropText[r][1], func(w *Worker) uint64 { return w.count.drops[r].Load() }})
	}
	for c := 1; c < flowtable.NumInvalid; c++ {
		list = append(list, named{"invalid_" + flowtable.Invalid(c).String(), "packets in state INVALID, by cause",
			func(w *Worker) uint64 { return w.count.invalid[c].Load() }})
	}
	return append(list, helperCounters()...)
}

// received sums up what the worker took from its queues.
func (w *Worker) received() uint64 {
	total := uint64(0)
	for i := range w.ports {
		total += w.count.portRX[i].Load()
	}
	return total
}

// received sums up what all workers took from their queues.
func (g *Gateway) received() uint64 {
	total := uint64(0)
	for _, w := range g.workers {
		total += w.received()
	}
	return total
}

// WorkerStats returns the counters of each worker.
func (g *Gateway) WorkerStats() []WorkerStats {
	list := workerCounters()
	stats := make([]WorkerStats, len(g.workers))
	for i, w := range g.workers {
		stats[i].CPU = w.cpu
		for _, c := range list {
			stats[i].Counters = append(stats[i].Counters, Counter{c.name, c.help, c.read(w)})
		}
	}
	return stats
}

// sum adds up one figure over all workers.
func (g *Gateway) sum(read func(*counters) uint64) uint64 {
	total := uint64(0)
	for _, w := range g.workers {
		total += read(w.count)
	}
	return total
}

// SharedStats returns the figures that belong to no single worker.
func (g *Gateway) SharedStats() []Counter {
	l := g.Ledger()
	memory := uint64(0)
	for _, w := range g.workers {
		memory += w.flows.table.MemoryBytes() + w.flows.nat.MemoryBytes() + w.hosts.memoryBytes()
	}
	routes := g.mirror.Stats()
	readers, missed := g.shared.hub.readers()
	return []Counter{
		{"expectations", "expectations pending now", uint64(g.shared.expect.Len())},
		{"event_readers", "readers of events now", uint64(readers)},
		{"events_missed", "events that readers were too slow for, summed over all readers", missed},
		{"strays", "directions of flows that come to another worker than the flow's, now", uint64(g.path.strays.Len())},
		{"restored", "flows taken back from the state file at the start", g.taken.Flows},
		{"restored_expired", "flows and expectations of the state file whose time was over", g.taken.Expired},
		{"restored_refused", "flows and expectations of the state file that rules and routes do not allow any more", g.taken.Refused},
		{"restored_no_room", "flows of the state file that the tables had no room for", g.taken.NoRoom},
		{"table_bytes", "memory of flow tables and NAT mappings", memory},
		{"umem_bytes", "memory of packet frames", uint64(g.umem.Size())},
		{"frames", "frames in the UMEM", uint64(l.Total)},
		{"frames_free", "frames in the workers' pools", uint64(l.Free)},
		{"frames_kernel", "frames in the rings of the sockets and in the driver", uint64(l.Kernel)},
		{"frames_held", "frames waiting for a neighbour", uint64(l.Held)},
		{"frames_fragments", "frames of fragments waiting for the rest of their datagrams", uint64(l.Aside)},
		{"frames_moving", "frames on their way between workers", uint64(l.Moving)},
		{"frames_missing", "frames in no place of the ledger: those in a burst now, 0 at rest", uint64(max(l.Missing, 0))},
		{"frames_lost", "frames that drivers of deleted interfaces kept", uint64(g.framesLost.Load())},
		{"route_snapshots", "changes of routes, neighbours or links taken over", routes.Snapshots},
		{"neighbour_requests", "neighbours that the kernel was asked to resolve", routes.Resolves},
	}
}

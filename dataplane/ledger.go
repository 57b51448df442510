package dataplane

// Ledger says where the frames of the UMEM are. Each is in exactly one place;
// Missing is what the sum lacks: the frames in the bursts of workers at this
// moment, and 0 when no packet is under way.
type Ledger struct {
	Total   int // frames in the UMEM, without those that drivers of deleted interfaces kept
	Free    int // in the workers' pools
	Kernel  int // in fill, RX, TX and completion rings, and in the driver
	Held    int // waiting for a neighbour
	Aside   int // fragments waiting for the rest of their datagrams
	Moving  int // in hand-over and return rings
	Missing int
}

// publishLedger makes the worker's share of the ledger visible. It is called
// before each sleep and once a tick.
func (w *Worker) publishLedger() {
	w.count.framesFree.Store(int64(len(w.frames.free)))
	w.count.framesHeld.Store(int64(w.routes.held.n))
	w.count.framesAside.Store(int64(w.aside.used))
}

// Ledger counts the frames. The counts of a running worker are up to a tick
// old, so only a silent gateway has an exact ledger.
func (g *Gateway) Ledger() Ledger {
	l := Ledger{Total: g.umem.Frames() - int(g.framesLost.Load())}
	for _, w := range g.workers {
		l.Free += int(w.count.framesFree.Load())
		l.Held += int(w.count.framesHeld.Load())
		l.Aside += int(w.count.framesAside.Load())
		l.Moving += w.frames.returning()
		for _, p := range w.edge.peers {
			if p.in != nil {
				l.Moving += p.in.len()
			}
		}
	}
	for _, p := range g.ports {
		p.mu.Lock()
		for _, s := range p.sockets {
			l.Kernel += s.Outstanding().Total()
		}
		p.mu.Unlock()
	}
	l.Missing = l.Total - l.Free - l.Kernel - l.Held - l.Aside - l.Moving
	return l
}

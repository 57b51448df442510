package dataplane

// framePool is one worker's share of the UMEM. Every frame has a home, the
// worker whose pool it started in; a frame freed elsewhere travels back
// through a ring, so that no pool runs dry when traffic is handed over more in
// one direction than in the other.
//
// The ledger of a gateway: each frame is in exactly one of free, the kernel
// (fill or RX ring), a worker's burst, held, a hand-over ring, a return ring,
// TX or completion ring.
type framePool struct {
	free      []uint64        // UMEM addresses of free frames; top is the warmest
	base      uint64          // first address of its share
	frameSize uint64          // bytes, power of two
	share     uint64          // bytes of UMEM per worker
	worker    int             //
	back      []*spsc[uint64] // back[w]: frames of worker w that were freed here
	arriving  []*spsc[uint64] // arriving[w]: own frames that worker w freed
	check     *frameCheck     // shared by all pools; does something in the invariants build
}

// newFramePools splits a UMEM of frames × size bytes evenly.
func newFramePools(workers, framesEach int, frameSize uint64, check *frameCheck) []*framePool {
	pools := make([]*framePool, workers)
	for w := range pools {
		p := &framePool{
			free: make([]uint64, 0, framesEach), frameSize: frameSize, check: check,
			share: uint64(framesEach) * frameSize, worker: w,
			base:     uint64(w) * uint64(framesEach) * frameSize,
			back:     make([]*spsc[uint64], workers),
			arriving: make([]*spsc[uint64], workers),
		}
		for i := framesEach - 1; i >= 0; i-- {
			p.free = append(p.free, uint64(w)*p.share+uint64(i)*frameSize)
		}
		pools[w] = p
	}
	for from := range pools {
		for to := range pools {
			if from != to {
				// As many slots as the home has frames: it can never be full.
				r := newSPSC[uint64](framesEach)
				pools[from].back[to], pools[to].arriving[from] = r, r
			}
		}
	}
	return pools
}

// put frees the frame that addr lies in, here or at its home.
func (p *framePool) put(addr uint64) {
	addr &^= p.frameSize - 1
	if invariants { // a call of nothing would keep put from being inlined
		p.check.freed(addr)
	}
	if addr-p.base >= p.share {
		p.sendHome(addr)
		return
	}
	p.free = append(p.free, addr)
}

// sendHome returns a frame to the worker that it belongs to.
func (p *framePool) sendHome(addr uint64) {
	if !p.back[addr/p.share].push(&addr) {
		panic("dataplane: more frames returned than their home owns")
	}
}

// get takes a free frame; false means that there is none.
func (p *framePool) get() (uint64, bool) {
	var one [1]uint64
	n := p.take(one[:])
	return one[0], n == 1
}

// take fills addrs with free frames and returns how many there were.
func (p *framePool) take(addrs []uint64) int {
	if len(p.free) < len(addrs) {
		p.collect()
	}
	n := min(len(addrs), len(p.free))
	rest := len(p.free) - n
	copy(addrs, p.free[rest:])
	p.free = p.free[:rest]
	p.check.taken(addrs[:n])
	return n
}

// collect takes in own frames that other workers freed.
func (p *framePool) collect() {
	var addr uint64
	for _, r := range p.arriving {
		for r != nil && r.pop(&addr) {
			p.free = append(p.free, addr)
		}
	}
}

// returning counts the frames of other workers that they have not taken back.
func (p *framePool) returning() int {
	n := 0
	for _, r := range p.back {
		if r != nil {
			n += r.len()
		}
	}
	return n
}

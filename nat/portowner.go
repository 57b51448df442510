package nat

// portBlock is the number of consecutive ports that one worker owns. 64 keeps
// an even and an odd port, and RTP/RTCP pairs, with one worker, and leaves
// each of 8 workers at least one block of the class 1-511.
const portBlock = 64

// PortOwner returns the worker, 0 to workers-1, that owns an external port
// (or ICMP id; host order). It is the steering function of port-sliced mode:
// internal traffic is steered by its source port, external traffic by its
// destination port, so a kept port is always owned by the flow's worker.
//
// Hot: once per packet that is steered by port.
func PortOwner(port uint16, workers int) int {
	return int(port>>6) % workers
}

// portSpan is the set of ports of [first, last] that one worker owns, as a
// range of ranks: rank k is the k-th port that the worker owns, counted from
// port 0.
type portSpan struct {
	from, to uint32 // ranks, to exclusive
	worker   uint32
	workers  uint32
}

// ownedPorts returns the ports of [first, last] that worker owns.
func ownedPorts(first, last uint16, worker, workers int) portSpan {
	s := portSpan{worker: uint32(worker), workers: uint32(workers)}
	s.from = s.rank(uint32(first))
	s.to = s.rank(uint32(last) + 1)
	return s
}

// rank returns how many ports below port the worker owns.
func (s *portSpan) rank(port uint32) uint32 {
	round := portBlock * s.workers
	n := port / round * portBlock
	rest := port % round
	if rest <= s.worker*portBlock {
		return n
	}
	return n + min(rest-s.worker*portBlock, portBlock)
}

// port returns the port of a rank.
func (s *portSpan) port(rank uint32) uint16 {
	return uint16(rank/portBlock*portBlock*s.workers + s.worker*portBlock + rank%portBlock)
}

// size returns the number of ports in the span.
func (s *portSpan) size() uint32 { return s.to - s.from }

// any tells whether the span holds a port at all.
func (s portSpan) any() bool { return s.to > s.from }

// portClass returns the ports that may stand in for a source port when no
// range is given (nf_nat_l4proto_unique_tuple, net/netfilter/nf_nat_core.c,
// v6.12): privileged ports stay privileged (RFC 4787 REQ-3a).
func portClass(port uint16) (first, last uint16) {
	switch {
	case port < 512:
		return 1, 511
	case port < 1024:
		return 600, 1023
	}
	return 1024, 65535
}

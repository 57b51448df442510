package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Stats are the kernel's counters of a socket since it was opened
// (XDP_STATISTICS).
type Stats struct {
	RXDropped       uint64 // packets: longer than UMEM.MaxPacket or, in copy mode, no frame to copy into
	RXRingFull      uint64 // packets: the RX ring was full, the worker is too slow
	RXFillRingEmpty uint64 // times that the kernel found no frame in the fill ring
	RXInvalidDescs  uint64 // addresses in the fill ring outside the UMEM: a bug of ours
	TXInvalidDescs  uint64 // descriptors in the TX ring outside a frame: a bug of ours
	TXRingEmpty     uint64 // times that the kernel found nothing to send
}

// Stats reads the kernel's counters. One system call.
func (s *Socket) Stats() (Stats, error) {
	var raw unix.XDPStatistics
	if err := getXDPOption(s.fd, unix.XDP_STATISTICS, &raw); err != nil {
		return Stats{}, fmt.Errorf("read XDP_STATISTICS: %w", err)
	}
	return Stats{
		RXDropped:       raw.Rx_dropped,
		RXRingFull:      raw.Rx_ring_full,
		RXFillRingEmpty: raw.Rx_fill_ring_empty_descs,
		RXInvalidDescs:  raw.Rx_invalid_descs,
		TXInvalidDescs:  raw.Tx_invalid_descs,
		TXRingEmpty:     raw.Tx_ring_empty_descs,
	}, nil
}

// Outstanding counts the frames that are not with the owner, by place. It is
// exact while the owner's thread stands still and the kernel too; a sample
// taken meanwhile may see a frame at most once too often or too rarely.
type Outstanding struct {
	Fill       int // in the fill ring
	KernelRX   int // taken from the fill ring, not yet in the RX ring
	RX         int // in the RX ring, not yet received
	TX         int // in the TX ring
	KernelTX   int // taken from the TX ring, not yet completed
	Completion int // in the completion ring
}

// Total returns the sum over all places.
func (o Outstanding) Total() int {
	return o.Fill + o.KernelRX + o.RX + o.TX + o.KernelTX + o.Completion
}

// Outstanding counts the frames in the rings and in the kernel from the eight
// ring indices: what left the fill ring enters the RX ring, what left the TX
// ring enters the completion ring. Total is exact when called by the owner,
// because it depends on the owner's four indices only. Safe for any thread
// until Close. No system call.
//
// KernelRX includes frames that a driver in zero-copy mode holds ready (about
// 250 per queue).
func (s *Socket) Outstanding() Outstanding {
	rxProd, rxCons := s.rx.indices()
	fillProd, fillCons := s.fill.indices()
	compProd, compCons := s.completion.indices()
	txProd, txCons := s.tx.indices()
	return Outstanding{
		Fill:       int(int32(fillProd - fillCons)),
		KernelRX:   int(int32(fillCons - rxProd)),
		RX:         int(int32(rxProd - rxCons)),
		TX:         int(int32(txProd - txCons)),
		KernelTX:   int(int32(txCons - compProd)),
		Completion: int(int32(compProd - compCons)),
	}
}

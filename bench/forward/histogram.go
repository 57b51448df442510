package forward

import "time"

// The sink's histogram of times: subBits bits after the highest one, as SUB and
// BUCKETS of sink.c.
const (
	subBits = 4
	buckets = 36 << subBits
)

// histogram counts packets by how long they were under way.
type histogram [buckets]uint64

// quantile returns the time that a share q of the packets did not exceed: the
// upper end of its bucket, at most 1/16 too much.
func (h *histogram) quantile(q float64) time.Duration {
	var total uint64
	for _, n := range h {
		total += n
	}
	rank := uint64(q * float64(total))
	var seen uint64
	for i, n := range h {
		seen += n
		if n > 0 && seen > rank || seen == total {
			return bucketEnd(i)
		}
	}
	return 0
}

// bucketEnd is the first time that does not belong to a bucket any more.
func bucketEnd(i int) time.Duration {
	bit, sub := i>>subBits, i&(1<<subBits-1)
	if bit < subBits {
		return 0
	}
	return time.Duration(1<<subBits+sub+1) << (bit - subBits)
}

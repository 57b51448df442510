package fib

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// resolveQueue bounds the requests that wait.
	resolveQueue = 256
	// resolveEvery is the least distance of two requests for one address: the
	// kernel itself sends one solicitation a second (retrans_time).
	resolveEvery = time.Second
	// filterSlots is the size of the filter before the queue; a power of two.
	filterSlots = 1024
	// recentMax bounds what the goroutine remembers of the last second.
	recentMax = 4096
)

// resolver asks the kernel to resolve neighbours.
type resolver struct {
	log    *slog.Logger
	handle *netlink.Handle
	count  *counters
	queue  chan neighKey
	seed   maphash.Seed
	// filter keeps repeated requests from the queue: each slot holds the upper
	// half of a hash and the second of the last request. Two addresses in one
	// slot only cost a visit to the queue.
	filter [filterSlots]atomic.Uint64
	start  time.Time
	recent map[neighKey]time.Time // owner: run
}

// newResolver opens its socket in the namespace of the calling thread.
func newResolver(log *slog.Logger, count *counters) (*resolver, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := h.SetSocketTimeout(netlink.GetSocketTimeout()); err != nil {
		h.Close()
		return nil, fmt.Errorf("set timeout of the netlink socket: %w", err)
	}
	return &resolver{
		log: log, handle: h, count: count, queue: make(chan neighKey, resolveQueue),
		seed: maphash.MakeSeed(), start: time.Now(), recent: map[neighKey]time.Time{},
	}, nil
}

// close closes the socket.
func (r *resolver) close() { r.handle.Close() }

// ask queues a request. It returns false if the queue is full.
func (r *resolver) ask(k neighKey) bool {
	if !k.addr.IsValid() || k.addr.IsMulticast() || k.addr.IsUnspecified() || k.ifindex <= 0 {
		return true
	}
	hash := maphash.Comparable(r.seed, k)
	second := uint32(time.Since(r.start)/resolveEvery) + 1
	slot := &r.filter[hash%filterSlots]
	mark := hash>>32<<32 | uint64(second)
	if slot.Load() == mark {
		return true
	}
	select {
	case r.queue <- k:
		slot.Store(mark)
		return true
	default:
		r.count.resolvesDropped.Add(1)
		return false
	}
}

// run makes the requests.
func (r *resolver) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case k := <-r.queue:
			r.request(k, time.Now())
		}
	}
}

// request asks the kernel unless it did so less than resolveEvery ago.
func (r *resolver) request(k neighKey, now time.Time) {
	if last, ok := r.recent[k]; ok && now.Sub(last) < resolveEvery {
		return
	}
	if len(r.recent) >= recentMax {
		for old, last := range r.recent {
			if now.Sub(last) >= resolveEvery {
				delete(r.recent, old)
			}
		}
	}
	if len(r.recent) >= recentMax {
		r.count.resolvesDropped.Add(1)
		return
	}
	r.recent[k] = now
	r.count.resolves.Add(1)
	if err := r.use(k); err != nil {
		r.count.resolveErrors.Add(1)
		r.log.Debug("ask the kernel to resolve a neighbour", "address", k.addr, "ifindex", k.ifindex, "error", err)
	}
}

// use creates the entry if needed and makes the kernel treat it as if it had
// just sent a packet to it (net/core/neighbour.c, neigh_add, NTF_USE): a new or
// FAILED entry is solicited at once, a STALE one after delay_first_probe_time.
func (r *resolver) use(k neighKey) error {
	family := unix.AF_INET
	if k.addr.Is6() {
		family = unix.AF_INET6
	}
	return r.handle.NeighSet(&netlink.Neigh{
		LinkIndex: k.ifindex, Family: family, State: unix.NUD_NONE, Flags: unix.NTF_USE,
		IP: k.addr.AsSlice(),
	})
}

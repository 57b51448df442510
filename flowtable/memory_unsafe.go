package flowtable

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What memory: one anonymous private mapping per array (index, records,
// timers, windows, IPv6 addresses, extensions; accounts and starts if asked for).
// Windows, IPv6 addresses and extensions are populated when touched, the others at
// start. With huge pages, MADV_HUGEPAGE over a 2 MiB aligned range.
// Who writes it: the worker that owns the table; other threads read records
// through Table.Read.
// Lifetime: made by New, unmapped by Close, after the worker and all readers
// have stopped using the table.
// Alignment and layout: arrays start at a 2 MiB (or page) boundary, elements
// are 64 or 128 bytes; asserted below and by TestLayout.
// Ordering: closeRecord makes the generation odd before anything else of the
// record changes (a full barrier: atomic add); openRecord makes it even after
// all of it is written (release). Read loads it before and after (acquire).
// Why unsafe: records off the Go heap are not scanned, need no write barriers
// and can be backed by huge pages (BenchmarkLookup).
// What would remove it: a standard way to have typed memory outside the heap.

// Sizes are part of the design: one more byte fails to compile.
const (
	_ = uint(64 - unsafe.Sizeof(Flow{}))
	_ = uint(unsafe.Sizeof(Flow{}) - 64)
	_ = uint(64 - unsafe.Sizeof(bucket{}))
	_ = uint(unsafe.Sizeof(bucket{}) - 64)
	_ = uint(64 - unsafe.Sizeof(addrs6{}))
	_ = uint(unsafe.Sizeof(addrs6{}) - 64)
	_ = uint(extSize - unsafe.Sizeof(Ext{}))
	_ = uint(unsafe.Sizeof(Ext{}) - extSize)
	// match_amd64.s knows where these are.
	_ = uint(512 - unsafe.Offsetof(Bulk{}.Refs))
	_ = uint(unsafe.Offsetof(Bulk{}.Refs) - 512)
	_ = uint(768 - unsafe.Offsetof(Bulk{}.late))
	_ = uint(unsafe.Offsetof(Bulk{}.late) - 768)
	_ = uint(832 - unsafe.Offsetof(Bulk{}.lates))
	_ = uint(unsafe.Offsetof(Bulk{}.lates) - 832)
	_ = uint(14 - unsafe.Offsetof(bucket{}.overflow))
	_ = uint(unsafe.Offsetof(bucket{}.overflow) - 14)
	_ = uint(16 - unsafe.Offsetof(bucket{}.refs))
	_ = uint(unsafe.Offsetof(bucket{}.refs) - 16)
	_ = uint(accountSize - unsafe.Sizeof(account{}))
	_ = uint(unsafe.Sizeof(account{}) - accountSize)
	// prefetch_*.s know the size of a window.
	_ = uint(windowSize - unsafe.Sizeof(window{}))
	_ = uint(unsafe.Sizeof(window{}) - windowSize)
	_ = uint(40 - unsafe.Sizeof(Tuple{}))
	_ = uint(unsafe.Sizeof(Tuple{}) - 40)
)

const hugePage = 2 << 20

// memory keeps the mappings of one table.
type memory struct{ maps [][]byte }

// allocate takes the memory of a table.
func (t *Table) allocate(o *Options) error {
	m := &memory{}
	n, huge := t.records(), o.HugePages
	var err error
	if t.buckets, err = array[bucket](m, int(t.nbuckets), true, huge); err != nil {
		return errors.Join(fmt.Errorf("index: %w", err), m.free())
	}
	if t.flows, err = array[Flow](m, n, true, huge); err != nil {
		return errors.Join(fmt.Errorf("records: %w", err), m.free())
	}
	if t.sweep.block, err = array[Tick](m, n/blockFlows, true, huge); err != nil {
		return errors.Join(fmt.Errorf("timers: %w", err), m.free())
	}
	if t.sweep.group, err = array[Tick](m, n/(blockFlows*groupBlocks), true, false); err != nil {
		return errors.Join(fmt.Errorf("timers: %w", err), m.free())
	}
	if t.windows, err = array[window](m, n, false, huge); err != nil {
		return errors.Join(fmt.Errorf("TCP windows: %w", err), m.free())
	}
	if t.addrs6, err = array[addrs6](m, n, false, false); err != nil {
		return errors.Join(fmt.Errorf("IPv6 addresses: %w", err), m.free())
	}
	if t.exts, err = array[Ext](m, extCount(o.MaxFlows)+1, false, false); err != nil {
		return errors.Join(fmt.Errorf("extensions: %w", err), m.free())
	}
	if o.Accounting {
		if t.accounts, err = array[account](m, n, true, huge); err != nil {
			return errors.Join(fmt.Errorf("accounts: %w", err), m.free())
		}
	}
	if o.Timestamps {
		if t.starts, err = array[uint64](m, n, true, huge); err != nil {
			return errors.Join(fmt.Errorf("timestamps: %w", err), m.free())
		}
	}
	t.memory = m
	return nil
}

// array maps n zeroed elements; T must be free of Go pointers.
func array[T any](m *memory, n int, populate, huge bool) ([]T, error) {
	if raceBuild {
		return make([]T, n), nil
	}
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	length := size
	if huge {
		length = (size+hugePage-1)&^(hugePage-1) + hugePage
	}
	b, err := unix.Mmap(-1, 0, length, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d MiB: %w", length>>20, err)
	}
	m.maps = append(m.maps, b)
	if huge {
		// SAFETY: only the address is looked at, to align within the mapping.
		skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (hugePage - 1)
		b = b[skip : skip+length-hugePage]
		// Advice only: without huge pages the table is slower, not wrong.
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
	if populate {
		if err := populatePages(b[:size]); err != nil {
			return nil, fmt.Errorf("populate %d MiB: %w", size>>20, err)
		}
	}
	// SAFETY: b is at least size bytes, page aligned, outside the Go heap and
	// unmapped by free only; T has no pointers.
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n), nil
}

// populatePages makes the kernel back the range now, so that no packet waits
// for a page fault and too little memory shows at start.
func populatePages(b []byte) error {
	err := unix.Madvise(b, unix.MADV_POPULATE_WRITE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	for i := 0; i < len(b); i += unix.Getpagesize() { // Linux before 5.14
		b[i] = 0
	}
	return nil
}

// free unmaps everything; it may be called again.
func (m *memory) free() error {
	var errs []error
	for _, b := range m.maps {
		if err := unix.Munmap(b); err != nil {
			errs = append(errs, fmt.Errorf("unmap flow table: %w", err))
		}
	}
	m.maps = nil
	return errors.Join(errs...)
}

// closeRecord tells readers that the record changes from here on.
func (t *Table) closeRecord(f *Flow) { atomic.AddUint32(&f.gen, 1) }

// openRecord tells readers that the record holds a flow.
func (t *Table) openRecord(f *Flow) { atomic.AddUint32(&f.gen, 1) }

// accountLines returns the accounts in the form in which lines are prefetched.
func (t *Table) accountLines() *Flow {
	// SAFETY: only ever prefetched, never read; the mapping starts at a line.
	return (*Flow)(unsafe.Pointer(&t.accounts[0]))
}

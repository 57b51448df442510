package xsk

//go:generate go tool bpf2go -cc clang -tags linux -target bpfel,bpfeb -no-global-types -cflags "-O2 -g -Wall -Werror -I/usr/include/x86_64-linux-gnu -I/usr/include/aarch64-linux-gnu" program program.c

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// LocalFlags says whose an address is.
type LocalFlags uint16

// Bits of LocalFlags. An address with none of them need not be in the map.
const (
	// LocalBox: the box itself has the address; its traffic goes to the
	// kernel.
	LocalBox LocalFlags = 1 << iota
	// LocalNAT: translated flows use the address. Together with LocalBox,
	// single L4 ports and protocols decide (Maps.PortUseMemory).
	LocalNAT
)

// Local describes one address to the XDP program.
type Local struct {
	Flags LocalFlags
	// Index is the number of the address's blocks in PortUseMemory, 0 ..
	// MapsOptions.SharedAddresses-1. Valid iff both flags are set.
	Index uint16
}

// PortUseBlock names a block of 65536 counts of one address in Maps.PortUseMemory.
type PortUseBlock uint8

// Blocks of an address, in the order of the memory.
const (
	PortUseTCP    PortUseBlock = iota // by TCP port
	PortUseUDP                        // by UDP port
	PortUseICMP                       // by ICMP and ICMPv6 query id
	PortUseOther                      // all other protocols, by protocol number
	portUseBlocks                     // blocks per address
)

// portUseBlockLen is the number of counts in a block.
const portUseBlockLen = 1 << 16

// PortUseOffset returns where in Maps.PortUseMemory the count of an L4 port (or ICMP
// id, both in host order, or protocol number) of an address is.
func PortUseOffset(address uint16, block PortUseBlock, port uint16) int {
	return (int(address)*int(portUseBlocks)+int(block))*portUseBlockLen + int(port)
}

// Defaults of MapsOptions.
const (
	defaultLocalAddresses  = 4096
	defaultSharedAddresses = 4
)

// MapsOptions sizes the shared maps.
type MapsOptions struct {
	// LocalAddresses is the number of addresses that SetLocal can hold, of
	// each family; 0 = 4096. While a set replaces another, both must fit.
	LocalAddresses int
	// SharedAddresses is the number of addresses that are the box's own and
	// translated at once; each takes 1 MiB. 0 = 4.
	SharedAddresses int
}

// Maps are the BPF maps that the programs of all ports share.
type Maps struct {
	local4, local6 *ebpf.Map
	portUse        *ebpf.Map
	portUseMem     []byte // mapping of portUse, shared with the programs
	options        MapsOptions
}

// NewMaps makes the shared maps, all empty: every address is forwarded.
func NewMaps(o MapsOptions) (*Maps, error) {
	if o.LocalAddresses == 0 {
		o.LocalAddresses = defaultLocalAddresses
	}
	if o.SharedAddresses == 0 {
		o.SharedAddresses = defaultSharedAddresses
	}
	if o.LocalAddresses < 1 || o.SharedAddresses < 1 || o.SharedAddresses > 1<<12 {
		return nil, fmt.Errorf("make BPF maps: %d local and %d shared addresses: out of range", o.LocalAddresses, o.SharedAddresses)
	}
	// Kernels before 5.11 charge maps to the locked-memory limit.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise locked-memory limit for BPF: %w", explain(err))
	}
	m := &Maps{options: o}
	if err := m.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("make BPF maps: %w", explainBPF(err)), m.Close())
	}
	return m, nil
}

// spec returns the program's specification with the maps sized as m's.
func (m *Maps) spec() (*ebpf.CollectionSpec, error) {
	spec, err := loadProgram()
	if err != nil {
		return nil, err
	}
	spec.Maps[programMapLocal4].MaxEntries = uint32(m.options.LocalAddresses)
	spec.Maps[programMapLocal6].MaxEntries = uint32(m.options.LocalAddresses)
	spec.Maps[programMapPortUse].MaxEntries = uint32(m.options.SharedAddresses) * uint32(portUseBlocks)
	return spec, nil
}

func (m *Maps) make() error {
	spec, err := m.spec()
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		to   **ebpf.Map
	}{
		{programMapLocal4, &m.local4},
		{programMapLocal6, &m.local6},
		{programMapPortUse, &m.portUse},
	} {
		if *part.to, err = ebpf.NewMap(spec.Maps[part.name]); err != nil {
			return err
		}
	}
	size := 4 * PortUseOffset(uint16(m.options.SharedAddresses), 0, 0)
	m.portUseMem, err = unix.Mmap(m.portUse.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map %s: %w", programMapPortUse, err)
	}
	return nil
}

// SetLocal makes addresses the set that the programs know. Addresses that stay
// are known all the time; new ones come before old ones go. IPv4-mapped IPv6
// addresses count as IPv4.
func (m *Maps) SetLocal(addresses map[netip.Addr]Local) error {
	want4 := make(map[[4]byte]Local)
	want6 := make(map[[16]byte]Local)
	for a, l := range addresses {
		const both = LocalBox | LocalNAT
		if l.Flags&both == both && int(l.Index) >= m.options.SharedAddresses {
			return fmt.Errorf("set local address %s: index %d: only %d shared addresses", a, l.Index, m.options.SharedAddresses)
		}
		if a = a.Unmap(); a.Is4() {
			want4[a.As4()] = l
		} else {
			want6[a.As16()] = l
		}
	}
	if err := replace(m.local4, want4); err != nil {
		return fmt.Errorf("set local IPv4 addresses: %w", err)
	}
	if err := replace(m.local6, want6); err != nil {
		return fmt.Errorf("set local IPv6 addresses: %w", err)
	}
	return nil
}

// replace makes the contents of a hash map equal to want.
func replace[K comparable](bpf *ebpf.Map, want map[K]Local) error {
	for k, l := range want {
		if err := bpf.Put(k, l); err != nil {
			return err
		}
	}
	var (
		k    K
		l    Local
		gone []K
	)
	each := bpf.Iterate()
	for each.Next(&k, &l) {
		if _, ok := want[k]; !ok {
			gone = append(gone, k)
		}
	}
	if err := each.Err(); err != nil {
		return err
	}
	for _, k := range gone {
		if err := bpf.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// PortUseMemory returns the use counts of the shared addresses' L4 ports, laid out as
// PortUseOffset says. A packet to a shared address whose count is not 0 goes to
// user space, others to the kernel, and so do all fragments. The memory is that of the BPF map: change
// counts with atomic adds, before the first packet of a flow is sent. Not valid
// after Close.
func (m *Maps) PortUseMemory() []uint32 { return counts(m.portUseMem) }

// Close frees the maps; programs that are loaded keep theirs. It is idempotent.
func (m *Maps) Close() error {
	var errs []error
	if m.portUseMem != nil {
		errs = append(errs, unix.Munmap(m.portUseMem))
		m.portUseMem = nil
	}
	for _, bpf := range []*ebpf.Map{m.portUse, m.local6, m.local4} {
		errs = append(errs, bpf.Close()) // nil is fine
	}
	return errors.Join(errs...)
}

// macWord returns a MAC address as the program compares it: the first six bytes
// of a word in memory.
func macWord(mac [6]byte) uint64 {
	var word [8]byte
	copy(word[:], mac[:])
	return binary.NativeEndian.Uint64(word[:])
}

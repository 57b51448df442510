package fib

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dirty says which parts of the state have to be dumped or built again.
type dirty uint8

const (
	dirtyLinks  dirty = 1 << iota // dump the links
	dirtyAddrs                    // dump the addresses
	dirtyRoutes                   // dump the routes
	dirtyNeighs                   // dump the neighbours
	dirtyTable                    // routes were applied singly: build the table
	dirtyHops                     // neighbours were applied singly: build the hops
	dirtyAll    = dirtyLinks | dirtyAddrs | dirtyRoutes | dirtyNeighs
)

// dumpTries bounds how often an interrupted dump is repeated at once.
const dumpTries = 4

// refresh dumps the dirty parts into st and returns what changed: dirtyLinks,
// dirtyAddrs, and dirtyTable if the route table must be built again. A change of
// links or addresses always leads to a dump of the routes; see the package
// comment. Links come first: the kernel lists them under the lock under which
// it changes the others.
func (m *Mirror) refresh(d dirty) (changed dirty, err error) {
	if d&(dirtyRoutes|dirtyTable) != 0 {
		changed = dirtyTable
	}
	if d&dirtyLinks != 0 {
		links, err := m.dumpLinks()
		if err != nil {
			return changed, err
		}
		if !slices.Equal(links, m.state.links) {
			m.state.links = links
			changed |= dirtyLinks | dirtyTable
			d |= dirtyAll
		}
	}
	if d&dirtyAddrs != 0 {
		addrs, err := m.dumpAddrs()
		if err != nil {
			return changed, err
		}
		if !slices.Equal(addrs, m.state.addrs) {
			m.state.addrs = addrs
			changed |= dirtyAddrs | dirtyTable
			d |= dirtyRoutes
		}
	}
	if d&dirtyRoutes != 0 {
		changed |= dirtyTable
		if err := m.dumpRoutes(); err != nil {
			return changed, err
		}
	}
	if d&dirtyNeighs != 0 {
		if err := m.dumpNeighbours(); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// dumpLinks returns all interfaces of the namespace.
func (m *Mirror) dumpLinks() ([]link, error) {
	var out []link
	err := retry(func() error {
		list, err := m.handle.LinkList()
		out = out[:0]
		for _, l := range list {
			out = append(out, newLink(l))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return out, nil
}

// dumpAddrs returns all addresses of the namespace in the kernel's order.
func (m *Mirror) dumpAddrs() ([]address, error) {
	var out []address
	err := retry(func() error {
		list, err := m.handle.AddrList(nil, netlink.FAMILY_ALL)
		out = out[:0]
		for i := range list {
			if a, ok := newAddress(&list[i]); ok {
				out = append(out, a)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return out, nil
}

// dumpRoutes replaces the routes of the state.
func (m *Mirror) dumpRoutes() error {
	st := newState()
	err := retry(func() error {
		clear(st.routes)
		return m.dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, &nl.RtMsg{}, func(b []byte) error {
			r, ok, err := decodeRoute(b)
			if ok {
				st.putRoute(r)
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	m.state.routes = st.routes
	return nil
}

// dumpNeighbours replaces the neighbours of the state.
func (m *Mirror) dumpNeighbours() error {
	st := newState()
	err := retry(func() error {
		clear(st.neighs)
		return m.dump(unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, &netlink.Ndmsg{}, func(b []byte) error {
			k, n, ok, err := decodeNeighbour(b)
			if ok {
				st.neighs[k] = n
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("list neighbours: %w", err)
	}
	m.state.neighs = st.neighs
	return nil
}

// dump asks for a table of all families and gives each entry to each. An
// entry that cannot be read is skipped with a log line.
func (m *Mirror) dump(ask int, answer uint16, header nl.NetlinkRequestData, each func([]byte) error) error {
	req := nl.NewNetlinkRequest(ask, unix.NLM_F_DUMP)
	req.Sockets = m.dumpSocket
	req.AddData(header)
	return req.ExecuteIter(unix.NETLINK_ROUTE, answer, func(b []byte) bool {
		if err := each(b); err != nil {
			m.log.Warn("skip a netlink entry", "type", answer, "error", err)
		}
		return true
	})
}

// retry repeats a dump that the kernel says was interrupted by a change. An
// interruption that stays is not an error: the change itself is in the
// notifications that are read next.
func retry(dump func() error) error {
	var err error
	for range dumpTries {
		if err = dump(); !errors.Is(err, nl.ErrDumpInterrupted) {
			return err
		}
	}
	return nil
}

package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/xdpct/xdpct/dataplane/fib"
	"github.com/xdpct/xdpct/dataplane/xsk"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/nat"
	"github.com/xdpct/xdpct/packet"
)

// maxSharedAddrs is how many addresses may be both the box's own and NAT
// addresses at a time; each takes 1 MiB of counters.
const maxSharedAddrs = 32

// localAddrs keeps the XDP programs informed of which addresses are the box's
// own and which of those NAT uses too. It follows the routing mirror.
type localAddrs struct {
	gw  *Gateway
	log *slog.Logger

	mu    sync.Mutex               // guards what follows: updates and the end of old flows
	nat   nat.Config               // the rules; Workers and Steering are not looked at
	index map[netip.Addr]uint16    // block of the port-use counters
	held  map[heldPort]bool        // what share and setRules have counted
	known map[netip.Addr]xsk.Local // what the programs were told last; nil at first
	macs  map[uint16][6]byte       // MAC address of each port, as its program knows it
}

// heldPort is the external side of a DNAT rule that is counted as a use.
type heldPort struct {
	proto uint8
	addr  netip.Addr
	port  uint16
}

// makeLocal fills the map before the first packet and follows every change.
func (g *Gateway) makeLocal() error {
	g.local = &localAddrs{gw: g, log: g.opts.Log, nat: g.opts.NAT,
		index: make(map[netip.Addr]uint16), held: make(map[heldPort]bool), macs: make(map[uint16][6]byte)}
	for i, p := range g.ports {
		g.local.macs[uint16(i)] = [6]byte(p.device.MAC)
	}
	if err := g.local.update(g.mirror.Snapshot()); err != nil {
		return err
	}
	g.mirror.OnChange(func(s *fib.Snapshot) {
		if err := g.local.update(s); err != nil {
			g.local.log.Error("cannot tell the XDP program of a change", "error", err)
		}
		for _, w := range g.workers { // a neighbour that packets wait for may be there now
			w.edge.waker.wake()
		}
	})
	return nil
}

// update brings the programs' view in line with a routing snapshot.
func (l *localAddrs) update(s *fib.Snapshot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.updateLocked(s)
}

// setRules makes the programs bring packets for the addresses of other rules to the
// workers. If that fails, nothing has changed.
func (l *localAddrs) setRules(cfg nat.Config, s *fib.Snapshot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.nat
	l.nat = cfg
	err := l.updateLocked(s)
	if err != nil {
		l.nat = old
		err = errors.Join(err, l.updateLocked(s))
	}
	return err
}

// updateLocked is update; mu is held.
func (l *localAddrs) updateLocked(s *fib.Snapshot) error {
	want := make(map[netip.Addr]xsk.Local)
	var errs []error
	for _, a := range s.LocalAddrs() {
		addr := a.Prefix.Addr().Unmap()
		e := xsk.Local{Flags: xsk.LocalBox}
		if l.usedByNAT(addr, a.Port) {
			if index, err := l.share(addr); err != nil {
				errs = append(errs, err)
			} else {
				e.Flags |= xsk.LocalNAT
				e.Index = index
			}
		}
		if old, ok := want[addr]; !ok || old.Flags&xsk.LocalNAT == 0 {
			want[addr] = e
		}
	}
	l.holdRules()
	l.endStale(want)
	l.known = want
	errs = append(errs, l.gw.maps.SetLocal(want), l.updateMACs(s))
	return errors.Join(errs...)
}

// updateMACs tells each program the address of its port if that has changed.
func (l *localAddrs) updateMACs(s *fib.Snapshot) error {
	var errs []error
	for _, p := range s.Ports() {
		if p.Ifindex == 0 || p.MAC == l.macs[p.Number] {
			continue
		}
		l.macs[p.Number] = p.MAC
		errs = append(errs, l.gw.ports[p.Number].program.SetMAC(p.MAC[:]))
	}
	return errors.Join(errs...)
}

// usedByNAT reports whether flows are translated to one of the box's own
// addresses. That they were, by rules of before, is enough: there may be some still.
func (l *localAddrs) usedByNAT(a netip.Addr, port uint16) bool {
	if _, shared := l.index[a]; shared {
		return true
	}
	cfg := &l.nat
	if cfg.Masquerade && a.Is4() && port != fib.NoPort && l.gw.ports[port].realm == nat.RealmExternal {
		return true
	}
	for _, p := range cfg.SNAT {
		if a.Compare(p.First) >= 0 && a.Compare(p.Last) <= 0 {
			return true
		}
	}
	for _, r := range cfg.DNAT {
		if r.Addr == a {
			return true
		}
	}
	return false
}

// share gives an address its counters.
func (l *localAddrs) share(a netip.Addr) (uint16, error) {
	if i, ok := l.index[a]; ok {
		return i, nil
	}
	if len(l.index) == maxSharedAddrs {
		return 0, fmt.Errorf("NAT with the box's own address %s: only %d such addresses are possible", a, maxSharedAddrs)
	}
	if l.gw.shared.punt.Load() == nil {
		punt, err := newPuntDevice()
		if err != nil {
			return 0, fmt.Errorf("interface towards the kernel, needed because NAT uses the box's own address %s: %w", a, err)
		}
		l.gw.shared.punt.Store(punt)
	}
	i := l.freeBlock()
	mem := l.block(i)
	clear(mem)
	if err := l.gw.shared.use.Register(packet.FamilyOf(a), packet.AddrOf(a), mem); err != nil {
		return 0, err
	}
	l.index[a] = i
	return i, nil
}

// holdRules counts the external ports of rules on shared addresses as used. It is
// not taken back before the address is the box's own no more: flows that a rule has
// let in may outlive it, and for what is new there is no harm.
func (l *localAddrs) holdRules() {
	for _, r := range l.nat.DNAT {
		h := heldPort{r.Proto, r.Addr, r.Port}
		if _, shared := l.index[r.Addr]; shared && !l.held[h] {
			l.gw.shared.use.Hold(r.Proto, packet.FamilyOf(r.Addr), packet.AddrOf(r.Addr), r.Port)
			l.held[h] = true
		}
	}
}

// freeBlock returns the number of counters that no address has.
func (l *localAddrs) freeBlock() uint16 {
	var taken [maxSharedAddrs]bool
	for _, i := range l.index {
		taken[i] = true
	}
	return uint16(slices.Index(taken[:], false))
}

// block returns the counters with this number.
func (l *localAddrs) block(i uint16) []uint32 {
	from := xsk.PortUseOffset(i, 0, 0)
	return l.gw.maps.PortUseMemory()[from : from+nat.PortUseSlots]
}

// unshare takes the counters from an address that is no longer the box's own
// and whose flows have ended.
func (l *localAddrs) unshare(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.known[a].Flags&xsk.LocalNAT != 0 { // it has come back meanwhile
		return
	}
	l.gw.shared.use.Unregister(packet.FamilyOf(a), packet.AddrOf(a))
	delete(l.index, a)
	maps.DeleteFunc(l.held, func(h heldPort, _ bool) bool { return h.addr == a })
}

// endStale ends the flows of addresses whose role has changed. Masqueraded
// flows cannot be answered once the box has lost their address (masq_inet_event
// of the kernel); and flows of an address that the box has only now got are in
// none of its port-use counters, so their answers would go to the kernel.
func (l *localAddrs) endStale(want map[netip.Addr]xsk.Local) {
	if l.known == nil {
		return
	}
	for a, old := range l.known {
		if old.Flags&xsk.LocalNAT != 0 && want[a].Flags&xsk.LocalNAT == 0 {
			l.endFlows(a, "removed", l.unshare)
		}
	}
	for a, now := range want {
		if now.Flags&xsk.LocalNAT != 0 && l.known[a].Flags&xsk.LocalNAT == 0 {
			l.endFlows(a, "added", func(netip.Addr) {})
		}
	}
}

// endFlows ends the flows that an address is the translated side of, as far as
// they were made before now or in this tick, and then calls done.
func (l *localAddrs) endFlows(a netip.Addr, why string, done func(netip.Addr)) {
	addr, next := packet.AddrOf(a), l.gw.Now()+1
	l.gw.tasks.Go(func() {
		n, err := l.gw.Delete(l.gw.ctx, Deletion{Match: func(s *flowtable.Snapshot) bool {
			return s.Created.Before(next) && (s.Status&flowtable.StatusSNAT != 0 && s.Reply.Dst == addr ||
				s.Status&flowtable.StatusDNAT != 0 && s.Orig.Dst == addr)
		}})
		if err != nil && !errors.Is(err, ErrStopped) && !errors.Is(err, context.Canceled) {
			l.log.Error("cannot end the flows of an address", "address", a, "error", err)
		} else if n > 0 {
			l.log.Info("flows of a changed address ended", "address", a, "change", why, "flows", n)
		}
		if err == nil {
			done(a)
		}
	})
}

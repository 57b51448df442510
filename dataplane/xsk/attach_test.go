package xsk

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestAttachModes(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "mode0", 2)
	m := newTestMaps(t)
	for _, tt := range []struct{ ask, want AttachMode }{
		{AttachNative, AttachNative}, {AttachGeneric, AttachGeneric}, {AttachAuto, AttachNative},
	} {
		p := newTestProgram(t, m, &port.Device)
		mustDo(t, "attach", p.Attach(port.Ifindex, tt.ask))
		if p.Mode() != tt.want || !xdpAttached(t, port.Ifindex) {
			t.Errorf("asked for %s: mode %s, attached %v", tt.ask, p.Mode(), xdpAttached(t, port.Ifindex))
		}
		mustDo(t, "close", p.Close())
		mustDo(t, "close again", p.Close())
		if xdpAttached(t, port.Ifindex) {
			t.Errorf("the %s program outlives Close", tt.want)
		}
	}
}

// The loopback device runs programs in generic mode only.
func TestAttachFallsBackToGenericMode(t *testing.T) {
	newLab(t)
	lo, err := ReadDevice("lo")
	mustDo(t, "read lo", err)
	m := newTestMaps(t)
	p, err := NewProgram(m, ProgramOptions{MAC: ourMAC, Queues: 1})
	mustDo(t, "load", err)
	defer p.Close()
	checkErrorIs(t, p.Attach(lo.Ifindex, AttachNative), ErrNoNative)
	mustDo(t, "attach", p.Attach(lo.Ifindex, AttachAuto))
	if p.Mode() != AttachGeneric {
		t.Errorf("mode %s", p.Mode())
	}
}

func TestAttachExplainsWhatIsWrong(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "busy1", 1)
	m := newTestMaps(t)
	first, second := newTestProgram(t, m, &port.Device), newTestProgram(t, m, &port.Device)
	mustDo(t, "attach", first.Attach(port.Ifindex, AttachNative))
	for _, mode := range []AttachMode{AttachNative, AttachGeneric, AttachAuto} {
		err := second.Attach(port.Ifindex, mode)
		t.Logf("%s: %v", mode, err)
		checkErrorIs(t, err, ErrProgramAttached)
	}
	checkErrorIs(t, first.Attach(port.Ifindex, AttachNative), ErrProgramAttached)
	checkErrorIs(t, second.Attach(1<<20, AttachAuto), ErrNoPort)
	if first.SetMAC(nil) == nil {
		t.Error("an empty MAC address was accepted")
	}
}

// A veth whose peer has a large MTU refuses native mode.
func TestAttachRefusedByMTU(t *testing.T) {
	newLab(t)
	v := netlink.NewVeth(netlink.LinkAttrs{Name: "mtu0", MTU: 9000})
	v.PeerName, v.PeerMTU = "mtu1", 9000
	mustDo(t, "add veth", netlink.LinkAdd(v))
	d, err := ReadDevice("mtu0")
	mustDo(t, "read device", err)
	p := newTestProgram(t, newTestMaps(t), &d)
	err = p.Attach(d.Ifindex, AttachNative)
	t.Log(err)
	checkErrorIs(t, err, ErrNoNative)
}

// SetLocal replaces the set; both families, mapped addresses included.
func TestSetLocalReplacesTheSet(t *testing.T) {
	needRoot(t)
	m := newTestMaps(t)
	known := func() map[netip.Addr]Local {
		got := map[netip.Addr]Local{}
		var (
			k4 [4]byte
			k6 [16]byte
			l  Local
		)
		for each := m.local4.Iterate(); each.Next(&k4, &l); {
			got[netip.AddrFrom4(k4)] = l
		}
		for each := m.local6.Iterate(); each.Next(&k6, &l); {
			got[netip.AddrFrom16(k6)] = l
		}
		return got
	}
	sets := []map[netip.Addr]Local{
		{box: {Flags: LocalBox}, box6: {Flags: LocalBox}},
		{box: {Flags: LocalBox | LocalNAT, Index: 1}, pool: {Flags: LocalNAT}},
		{},
		{shared6: {Flags: LocalBox}},
	}
	for i, set := range sets {
		mustDo(t, "set local", m.SetLocal(set))
		if got := known(); !maps.Equal(got, set) {
			t.Errorf("set %d: got %v, want %v", i, got, set)
		}
	}
	mapped := netip.AddrFrom16(box.As16())
	mustDo(t, "set mapped", m.SetLocal(map[netip.Addr]Local{mapped: {Flags: LocalBox}}))
	if got := slices.Collect(maps.Keys(known())); !slices.Equal(got, []netip.Addr{box}) {
		t.Errorf("mapped address is known as %v", got)
	}
	if m.SetLocal(map[netip.Addr]Local{box: {Flags: LocalBox | LocalNAT, Index: 2}}) == nil {
		t.Error("an index beyond the shared addresses was accepted")
	}
	if got, want := len(m.PortUseMemory()), 2*4*65536; got != want {
		t.Errorf("%d use counts, want %d", got, want)
	}
}

func TestReadDevice(t *testing.T) {
	newLab(t)
	port := newTestPort(t, "dev0", 3)
	if port.Driver != "veth" || port.RXQueues != 3 || port.TXQueues != 3 || port.Queues() != 3 || port.MTU != 1500 || !port.Up || len(port.MAC) != 6 {
		t.Errorf("got %+v", port.Device)
	}
	// A veth hands VLAN tags over beside the packet, where XDP cannot see them.
	if !slices.ContainsFunc(port.Offloads, func(o Offload) bool { return o.Flag == "rxvlan" }) {
		t.Errorf("rxvlan is on and not reported: %+v", port.Offloads)
	}
	_, err := ReadDevice("nosuch0")
	checkErrorIs(t, err, ErrNoPort)
}

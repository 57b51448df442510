package forward

import (
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
)

// Redirect is an XDP program that gives packets new MAC addresses and sends
// them by the other interface: what forwarding costs on these interfaces at
// the least.
func Redirect() Contender {
	return Contender{Name: "xdp-redirect", KeepsTTL: true, Start: func(_ context.Context, s *Site) (*Running, error) {
		var stops []func() error
		stop := func() error {
			var err error
			for _, f := range stops {
				err = errors.Join(err, f())
			}
			return err
		}
		err := s.Enter(func() error {
			for _, way := range [][2]*Port{{&s.In, &s.Out}, {&s.Out, &s.In}} {
				closer, err := attachRedirect(way[0], way[1])
				if err != nil {
					return err
				}
				stops = append(stops, closer)
			}
			return nil
		})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		return &Running{Stop: stop}, nil
	}}
}

// attachRedirect leads what comes in by one port out by another.
func attachRedirect(from, to *Port) (stop func() error, err error) {
	spec, err := loadRedirect()
	if err != nil {
		return nil, err
	}
	hop := redirectHop{Ifindex: uint32(to.Ifindex), Src: [6]byte(to.MAC), Dst: [6]byte(to.PeerMAC)}
	if err := spec.Variables[redirectVarOther].Set(hop); err != nil {
		return nil, err
	}
	var objects redirectObjects
	if err := spec.LoadAndAssign(&objects, nil); err != nil {
		return nil, fmt.Errorf("load the redirecting program: %w", err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: objects.Redirect, Interface: from.Ifindex})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach the redirecting program: %w", err), objects.Close())
	}
	return func() error { return errors.Join(l.Close(), objects.Close()) }, nil
}

package peers

import (
	"context"

	"github.com/xdpct/xdpct/bench/asavie"
	"github.com/xdpct/xdpct/bench/forward"
	"github.com/xdpct/xdpct/bench/l2fwd"
)

// runL2fwd is l2fwd.Run or asavie.Run.
type runL2fwd func(context.Context, l2fwd.Options) (l2fwd.Stats, error)

// Contenders returns the gateways that bench/forward can measure, in the order
// of a table: first the ones without NAT.
func Contenders() []forward.Contender {
	return []forward.Contender{
		{Name: "l2fwd", KeepsTTL: true, Start: startL2fwd(l2fwd.Run)},
		{Name: "asavie-l2fwd", KeepsTTL: true, Start: startL2fwd(asavie.Run)},
		{Name: "ovs", NAT: true, Missing: missingOVS, Start: startOVS},
	}
}

// startL2fwd runs a forwarder of this process on a thread in the namespace.
func startL2fwd(run runL2fwd) func(context.Context, *forward.Site) (*forward.Running, error) {
	return func(_ context.Context, s *forward.Site) (*forward.Running, error) {
		ctx, cancel := context.WithCancel(context.Background()) // until Stop
		ready, done := make(chan int, 1), make(chan error, 1)
		o := l2fwd.Options{
			CPU: s.CPU, HugePages: true,
			Ports: [2]l2fwd.Port{{Name: s.In.Name, PeerMAC: s.In.PeerMAC}, {Name: s.Out.Name, PeerMAC: s.Out.PeerMAC}},
			Ready: func(tid int) { ready <- tid },
		}
		go func() {
			done <- s.Enter(func() error {
				_, err := run(ctx, o)
				return err
			})
		}()
		stop := func() error {
			cancel()
			return <-done
		}
		select {
		case tid := <-ready:
			return &forward.Running{TIDs: []int{tid}, Stop: stop}, nil
		case err := <-done:
			cancel()
			return nil, err
		}
	}
}

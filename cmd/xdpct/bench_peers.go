package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/bench"
	"github.com/xdpct/xdpct/bench/asavie"
	"github.com/xdpct/xdpct/bench/l2fwd"
	"github.com/xdpct/xdpct/bench/memory"
	"github.com/xdpct/xdpct/bench/peers"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

// tableScenario measures the flow table beside those tables of others that the
// machine has.
func tableScenario(e *env) benchScenario {
	return benchScenario{"table", "Measure the flow table, beside a Go map and DPDK's rte_hash",
		func(ctx context.Context, b *benchFlags, p bench.Progress) ([]bench.Record, error) {
			o := b.memory
			var missing string
			if o.Peers, missing = peers.Tables(); missing != "" {
				fmt.Fprintln(e.stderr, missing)
			}
			return memory.Table(ctx, o, p)
		}}
}

const benchL2fwdLong = `Forward between two interfaces until interrupted, and do nothing else: packets get
the MAC addresses of the other side and leave there. The sockets, rings and XDP
program are those of xdpct run, so that this is the most that it could reach on
the same interfaces.

Of each interface, tell the MAC address of the station behind it:

  xdpct bench l2fwd eth1=02:00:00:00:00:01 eth2=02:00:00:00:00:02`

// l2fwdFlags are the flags of bench l2fwd.
type l2fwdFlags struct {
	options       l2fwd.Options
	xdp, zeroCopy string
	asavie        bool
	output        string
}

// newBenchL2fwdCommand runs the least forwarder.
func newBenchL2fwdCommand(e *env) *cobra.Command {
	var l l2fwdFlags
	cmd := &cobra.Command{
		Use:   "l2fwd IF=MAC IF=MAC",
		Short: "Forward between two interfaces and do nothing else (root)",
		Long:  benchL2fwdLong,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("%d interfaces: give two, each with the MAC address of the station behind it", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd.Context(), e, args) },
	}
	f, o := cmd.Flags(), &l.options
	f.IntVar(&o.CPU, "cpu", -1, "`number` of the CPU to forward on; -1: any")
	f.IntVar(&o.RingSize, "ring-size", 2048, "`slots` of each RX and TX ring, a power of two from 64")
	f.BoolVar(&o.HugePages, "huge-pages", true, "frames in 2 MiB pages where possible")
	f.StringVar(&l.xdp, "xdp", "auto", "`MODE` of the XDP program: native, generic, auto")
	f.StringVar(&l.zeroCopy, "zerocopy", "auto", "`MODE` of frames: on (or fail), off, auto")
	f.BoolVar(&l.asavie, "asavie", false, "use github.com/asavie/xdp, which chooses modes and pages itself (default false)")
	benchOutputFlag(cmd, &l.output)
	return cmd
}

// run forwards and prints what was forwarded.
func (l *l2fwdFlags) run(ctx context.Context, e *env, args []string) error {
	w, err := bench.NewWriter(e.stdout, l.output)
	if err != nil {
		return asUsage(err)
	}
	if err := l.complete(args); err != nil {
		return asUsage(err)
	}
	impl, run := "l2fwd", l2fwd.Run
	if l.asavie {
		impl, run = "asavie-l2fwd", asavie.Run
	}
	l.options.Ready = func(int) { fmt.Fprintln(e.stderr, "forwarding; interrupt to end") }
	var stats l2fwd.Stats
	done := make(chan error)
	go func() { // a thread of its own
		s, err := run(ctx, l.options)
		stats = s
		done <- err
	}()
	if err := <-done; err != nil {
		return err
	}
	if err := w.Begin(bench.Header{Machine: bench.ReadMachine(versionString()), Settings: map[string]any{"cpu": l.options.CPU, "ring_size": l.options.RingSize}}); err != nil {
		return err
	}
	if err := w.Write(l2fwdRecords(impl, &l.options, &stats)); err != nil {
		return err
	}
	return w.Close()
}

// complete fills in the options from the text of flags and arguments.
func (l *l2fwdFlags) complete(args []string) (err error) {
	for i, arg := range args {
		name, mac, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%s: want IF=MAC, such as eth1=02:00:00:00:00:01", arg)
		}
		p := &l.options.Ports[i]
		if p.Name = name; err == nil {
			p.PeerMAC, err = net.ParseMAC(mac)
		}
	}
	l.options.XDP, err = choose(err, "--xdp", l.xdp, []string{"auto", "native", "generic"},
		[]xsk.AttachMode{xsk.AttachAuto, xsk.AttachNative, xsk.AttachGeneric})
	l.options.ZeroCopy, err = choose(err, "--zerocopy", l.zeroCopy, []string{"auto", "on", "off"},
		[]xsk.ZeroCopy{xsk.ZeroCopyAuto, xsk.ZeroCopyOn, xsk.ZeroCopyOff})
	if err != nil {
		return err
	}
	return l.options.Complete()
}

// l2fwdRecords are the results of one run.
func l2fwdRecords(impl string, o *l2fwd.Options, s *l2fwd.Stats) []bench.Record {
	var list []bench.Record
	add := func(what, unit string, v float64) {
		params := map[string]any{"impl": impl, "what": what}
		list = append(list, bench.Summarize("l2fwd", params, unit, []float64{v}))
	}
	for i := range o.Ports {
		add("received by "+o.Ports[i].Name, "packets", float64(s.RX[i]))
		add("sent by "+o.Ports[i].Name, "packets", float64(s.TX[i]))
		add("dropped before "+o.Ports[i].Name, "packets", float64(s.Dropped[i]))
	}
	if n := s.RX[0] + s.RX[1]; n > 0 {
		add("CPU time", "ns/packet", float64(s.CPU.Nanoseconds())/float64(n))
	}
	return list
}

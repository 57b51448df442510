package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// runGateway makes a gateway, serves the control socket and waits for ctx to
// end. Readiness is told only once packets are being forwarded.
func runGateway(ctx context.Context, e *env, cfg runConfig, r *reloader) (err error) {
	log, level := newLogger(e, &cfg)
	hangup := hangups()
	state := stateFile{path: cfg.State, log: log}
	if err := errors.Join(control.CheckPath(cfg.Control), state.check()); err != nil {
		return err
	}
	setRuntime()
	options := cfg.options(log)
	options.Links = inheritedLinks(e, log)
	defer closeLinks(options.Links)
	gw, err := dataplane.New(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gw.Close()) }()
	if err := state.restore(gw); err != nil {
		return err
	}
	if err := gw.Start(); err != nil {
		return err
	}
	logPorts(log, gw)
	r.gw, r.log, r.level = gw, log, level
	server, err := control.Listen(cfg.Control, &backend{gw: gw, log: log, reloader: r}, log)
	if err != nil {
		return err
	}
	// Closed before the gateway: no request may read a table that is gone.
	defer func() { err = errors.Join(err, server.Close()) }()
	if cfg.ControlGroup >= 0 {
		if err := server.AllowGroup(cfg.ControlGroup); err != nil {
			return err
		}
	}
	if err := state.taken(); err != nil {
		return err
	}
	if cfg.Confine {
		confine(log)
	}
	tellState(e, log, "READY=1")
	for _, timeout := range (&backend{gw: gw}).Timeouts() {
		log.Debug("time-out", "name", timeout.Name, "seconds", timeout.Seconds)
	}
	log.Info("forwarding", "control", cfg.Control, "version", versionString())
	r.serve(ctx, e, hangup)
	log.Info("stopping")
	tellState(e, log, "STOPPING=1")
	return errors.Join(server.Close(), leave(e, log, gw, &state))
}

// leave stops a gateway and, with --state, leaves what the next one goes on with: flows,
// and the programs that keep the kernel from answering for them.
func leave(e *env, log *slog.Logger, gw *dataplane.Gateway, state *stateFile) error {
	gw.Stop()
	if state.path == "" {
		return nil
	}
	err := state.save(gw)
	if err == nil {
		leaveLinks(e, log, gw.LinkFDs())
	}
	return err
}

// tellState tells the service manager how far the gateway is.
func tellState(e *env, log *slog.Logger, state string) {
	if err := notify(e, state); err != nil {
		log.Warn("service manager not told", "error", err)
	}
}

// setRuntime chooses Go runtime settings for pinned workers. There is next to
// no garbage: tables and frames are off the heap and the path allocates
// nothing, so collections come from listings and commands only.
func setRuntime() {
	debug.SetGCPercent(400)
	runtime.GOMAXPROCS(runtime.NumCPU() + 1) // workers keep their P; one more for control
}

// options maps the flags to the gateway's options.
func (c *runConfig) options(log *slog.Logger) dataplane.Options {
	o := dataplane.Options{
		NAT:     nat.Config{SNAT: c.SNAT, Masquerade: c.Masquerade, DNAT: c.DNAT},
		Helpers: helpers.NewSet(c.Helpers...),
		Tracker: &c.Tracker,

		MaxFlows: c.MaxFlows, Queues: c.Queues, CPUs: c.CPUs, Steering: c.Steering, PassInvalid: c.PassInvalid,
		ReversePath: c.ReversePath, DropBogons: c.DropBogons,
		MaxFlowsPerHost: c.MaxFlowsPerHost, NewFlowsPerHost: c.NewFlowsPerHost,
		SkipChecksums: c.NoChecksums, Accounting: c.Accounting, Timestamps: c.Timestamps,
		XDP: c.XDP, ZeroCopy: c.ZeroCopy, BusyPoll: c.BusyPoll, Spin: c.Spin, RingSize: c.RingSize,
		FrameSize: c.FrameSize, HugePages: c.HugePages, Log: log,
	}
	for _, name := range c.Internal {
		o.Ports = append(o.Ports, dataplane.PortOptions{Name: name, Realm: nat.RealmInternal})
	}
	for _, name := range c.External {
		o.Ports = append(o.Ports, dataplane.PortOptions{Name: name, Realm: nat.RealmExternal})
	}
	return o
}

// logPorts says what was really obtained, which decides the speed.
func logPorts(log *slog.Logger, gw *dataplane.Gateway) {
	ports, err := gw.Ports()
	if err != nil {
		log.Warn("cannot describe the ports", "error", err)
	}
	if len(ports) > 0 && ports[0].Copied != nil { // the same for all
		log.Warn("packets are copied: one port that cannot do zero-copy keeps all from it", "because", ports[0].Copied)
	}
	for _, p := range ports {
		log.Info("port", "name", p.Name, "role", p.Realm.String(), "driver", p.Driver,
			"xdp", p.Attach.String(), "copy", copyMode(p.ZeroCopy), "queues", p.Queues, "steering", p.Steering, "mtu", p.MTU)
		if p.ZeroCopy && p.Distrust != nil {
			log.Warn("packets may be lost", "name", p.Name, "because", p.Distrust, "todo", "give --zerocopy off or auto, unless you know better")
		}
		for _, n := range p.Notes {
			level := slog.LevelInfo
			if n.Todo != "" { // the operator can do something about it
				level = slog.LevelWarn
			}
			log.Log(context.Background(), level, "packets are steered by port number", "name", p.Name, "because", n.Text, "todo", n.Todo)
		}
	}
}

// copyMode names how frames and NIC come together.
func copyMode(zeroCopy bool) string {
	if zeroCopy {
		return "zero-copy"
	}
	return "copy"
}

// copyReason says why packets are copied although they need not be; "" if there is
// nothing to say.
func copyReason(p *dataplane.PortInfo) string {
	if p.Copied == nil {
		return ""
	}
	return p.Copied.Error()
}

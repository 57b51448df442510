package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
)

// backend shows a gateway to the control socket.
type backend struct {
	gw       *dataplane.Gateway
	log      *slog.Logger
	reloader *reloader
}

func (b *backend) Tables() []*flowtable.Table            { return b.gw.Tables() }
func (b *backend) Now() flowtable.Tick                   { return b.gw.Now() }
func (b *backend) Expectations() *flowtable.Expectations { return b.gw.Expectations() }
func (b *backend) HelperName(id uint8) string            { return helpers.ID(id).Name() }
func (b *backend) ExpectClass(id, class uint8) string    { return helpers.ID(id).ClassName(class) }
func (b *backend) Version() string                       { return versionString() }

func (b *backend) Subscribe(size int) control.Subscription { return b.gw.Subscribe(size) }

func (b *backend) Delete(ctx context.Context, d control.Deletion) (int, error) {
	return b.gw.Delete(ctx, dataplane.Deletion(d))
}

func (b *backend) DeleteExpectations(ctx context.Context, by flowtable.Process, match func(*flowtable.Expectation) bool,
	each func(*flowtable.Expectation),
) (int, error) {
	return b.gw.DeleteExpectations(ctx, by, match, each)
}

// Reload tells the server what is the user's mistake.
func (b *backend) Reload(ctx context.Context, r control.ReloadRequest) (control.Reloaded, error) {
	done, err := b.reloader.reload(ctx, r)
	if exitCode(err) == exitUsage {
		err = fmt.Errorf("%w: %w", control.ErrBadRequest, err)
	}
	return done, err
}

func (b *backend) Stats() control.Stats {
	s := control.Stats{Started: b.gw.Started()}
	for i, w := range b.gw.WorkerStats() {
		counters := convert(w.Counters)
		s.Workers = append(s.Workers, control.WorkerStats{CPU: w.CPU, Counters: counters})
		if i == 0 {
			s.Totals = append(s.Totals, counters...)
			continue
		}
		for k := range counters {
			s.Totals[k].Value += counters[k].Value
		}
	}
	s.Totals = append(s.Totals, convert(b.gw.SharedStats())...)
	return s
}

func (b *backend) Timeouts() []control.Timeout {
	set := b.gw.Timeouts()
	var list []control.Timeout
	for _, name := range flowtable.TimeoutNames() {
		d, _ := set.Get(name) // it is one of its names
		list = append(list, control.Timeout{Name: name, Seconds: uint32(d / time.Second)})
	}
	return list
}

func (b *backend) Ports() []control.Port {
	infos, err := b.gw.Ports()
	if err != nil {
		b.log.Error("cannot read the counters of the ports", "error", err)
	}
	var ports []control.Port
	for i := range infos {
		p := &infos[i]
		var notes []string
		for _, n := range p.Notes {
			notes = append(notes, n.String())
		}
		ports = append(ports, control.Port{
			Name: p.Name, Role: p.Realm.String(), Driver: p.Driver, AttachMode: p.Attach.String(),
			Copy: copyMode(p.ZeroCopy), CopyReason: copyReason(p), Queues: p.Queues, Steering: p.Steering, MTU: p.MTU, LinkUp: p.LinkUp,
			RXPackets: p.RXPackets, TXPackets: p.TXPackets, Drops: p.Lost, Notes: notes, Counters: convert(p.Decisions),
		})
	}
	return ports
}

// convert maps the gateway's counters to records of the control socket.
func convert(from []dataplane.Counter) []control.Counter {
	to := make([]control.Counter, len(from))
	for i, c := range from {
		to[i] = control.Counter{Name: c.Name, Help: c.Help, Value: c.Value}
	}
	return to
}

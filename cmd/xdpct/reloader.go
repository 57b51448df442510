package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/flowtable"
	"github.com/xdpct/xdpct/helpers"
	"github.com/xdpct/xdpct/nat"
)

// reloadableNames are the flags that can change while packets flow.
var reloadableNames = []string{
	"snat", "masquerade", "dnat", "helper", "timeouts", "timeout",
	"tcp-loose", "tcp-liberal", "tcp-ignore-invalid-rst", "tcp-max-retrans", "invalid", "checksum", "log-level",
}

// errNoConfig refuses to reload what has not come from a file.
var errNoConfig = errors.New("the gateway was started without --config: there is no file to read again")

// reloader changes a running gateway to what its file of flags says.
type reloader struct {
	given *pflag.FlagSet // of the command line
	level *slog.LevelVar // of the log
	gw    *dataplane.Gateway
	log   *slog.Logger

	mu  sync.Mutex     // one at a time
	now *pflag.FlagSet // the flags in force
}

// reload reads the file again and puts what has changed in force: all or, with an
// error, nothing.
func (r *reloader) reload(ctx context.Context, req control.ReloadRequest) (control.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.given.Lookup("config").Value.String() == "" {
		return control.Reloaded{}, errNoConfig
	}
	cfg, next, err := readRun(r.given)
	if err != nil {
		return control.Reloaded{}, err
	}
	changed := differences(r.now, next)
	var fixed []string
	for _, name := range changed {
		if !slices.Contains(reloadableNames, name) {
			fixed = append(fixed, "--"+name)
		}
	}
	if len(fixed) > 0 {
		return control.Reloaded{}, fmt.Errorf("%s cannot change while the gateway runs: put back what the file said before, or restart (with --state flows go on)",
			strings.Join(fixed, ", "))
	}
	settings := cfg.settings()
	settings.Ending = req.Flush
	if err := r.gw.Reload(settings); err != nil {
		return control.Reloaded{}, err
	}
	r.level.Set(cfg.LogLevel)
	r.now = next
	done := control.Reloaded{Changed: changed}
	if req.Flush {
		all := func(*flowtable.Snapshot) bool { return true }
		done.Ended, err = r.gw.Delete(ctx, dataplane.Deletion{By: req.By, Match: all})
	}
	r.log.Info("reloaded", "changed", strings.Join(changed, " "), "flows_ended", done.Ended)
	return done, err
}

// hangups returns a channel of SIGHUPs. From here on none ends the process, not even
// while it starts or saves its flows.
func hangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}

// serve reloads on each SIGHUP until ctx ends.
func (r *reloader) serve(ctx context.Context, e *env, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		}
		// As Type=notify-reload of systemd.service(5) asks for.
		err := notify(e, fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds()))
		if _, reload := r.reload(ctx, control.ReloadRequest{}); reload != nil {
			r.log.Error("nothing is reloaded", "error", reload)
		}
		if err := errors.Join(err, notify(e, "READY=1")); err != nil {
			r.log.Warn("service manager not told", "error", err)
		}
	}
}

// monotonic returns the time of CLOCK_MONOTONIC; it cannot fail.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// settings are those of the flags that can change while packets flow.
func (c *runConfig) settings() dataplane.Settings {
	return dataplane.Settings{
		NAT:     nat.Config{SNAT: c.SNAT, Masquerade: c.Masquerade, DNAT: c.DNAT},
		Helpers: helpers.NewSet(c.Helpers...), Tracker: &c.Tracker,
		PassInvalid: c.PassInvalid, SkipChecksums: c.NoChecksums,
	}
}

// differences returns the names of the flags with different values.
func differences(a, b *pflag.FlagSet) []string {
	var names []string
	a.VisitAll(func(f *pflag.Flag) {
		if f.Value.String() != b.Lookup(f.Name).Value.String() {
			names = append(names, f.Name)
		}
	})
	return names
}

package main

import (
	"log/slog"

	"github.com/spf13/cobra"
)

// newRunCommand runs a gateway.
func newRunCommand(e *env) *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the gateway until SIGINT or SIGTERM",
		Long: `Run the gateway in the foreground until SIGINT or SIGTERM. It takes the
addresses, routes and neighbours of the kernel and follows their changes. The
control socket appears, and systemd is told, once packets are being forwarded.
When the process ends, however it ends, the interfaces are the kernel's again.

With --config the flags are in a file, and some of them can be changed while the
gateway runs: see xdpct reload. With --state connections survive a restart; under
systemd, which then holds the XDP programs in between, busy ones too where NAT
uses an address of the box (--masquerade).`,
		Example: `  xdpct run --internal eth1 --external eth0 --masquerade
  xdpct run --internal eth1 --external eth0 --snat 198.51.100.10-198.51.100.20 \
      --dnat tcp:198.51.100.10:443=10.0.0.5:443 --helper ftp --max-flows 4M
  xdpct run --config /etc/xdpct.conf --state /var/lib/xdpct/flows`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, all, err := readRun(cmd.Flags())
			if err != nil {
				return err
			}
			return runGateway(cmd.Context(), e, cfg, &reloader{given: cmd.Flags(), now: all})
		},
	}
	flags.register(cmd.Flags())
	return cmd
}

// newLogger returns the logger that cfg asks for, and its level; it writes to stderr.
func newLogger(e *env, cfg *runConfig) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel)
	opts := &slog.HandlerOptions{Level: level}
	if cfg.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(e.stderr, opts)), level
	}
	return slog.New(slog.NewTextHandler(e.stderr, opts)), level
}

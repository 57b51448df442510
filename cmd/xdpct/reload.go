package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
)

// newReloadCommand makes a gateway read its file of flags again.
func newReloadCommand(e *env) *cobra.Command {
	var path string
	var flush bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the gateway read its --config file again",
		Long: `Make the gateway read the file of its --config flag again and change, without
losing a packet, what is different now: --snat, --masquerade, --dnat, --helper,
--timeouts, --timeout, the --tcp-* flags, --invalid, --checksum and --log-level.
Any other difference is refused, and then nothing changes. What the command line
of run says holds as before. SIGHUP to the gateway does the same.

Flows that exist keep their translation and their helper, as in the kernel; with
--flush they are removed. Time-outs count from a flow's next packet on.`,
		Example: `  xdpct reload
  systemctl reload xdpct`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if flush {
				q.Set("flush", "true")
			}
			res, err := control.NewClient(path).Reload(cmd.Context(), q, e.stdout)
			if err != nil {
				return err
			}
			if flush {
				summarize(e, res.Count, "flow entries have been deleted")
			}
			return nil
		},
	}
	controlFlag(cmd, &path)
	cmd.Flags().BoolVar(&flush, "flush", false, "remove all flows, so that all follow the new rules (default false)")
	return cmd
}

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newManCommand writes documentation.
func newManCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write the man pages of all commands into a directory",
		Long:    "Write the man pages of all commands, section 8, into a directory, which is made if\nit is not there.",
		Example: "  xdpct man /usr/local/share/man/man8",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("give the directory for the man pages, and nothing else")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory for man pages: %w", err)
			}
			header := &doc.GenManHeader{Section: "8", Source: "xdpct " + versionString(), Manual: "System Administration"}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			fmt.Fprintf(e.stderr, "man pages are in %s\n", args[0])
			return nil
		},
	}
}

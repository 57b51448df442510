package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// buildInfo is what version shows.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`      // VCS revision
	Time     string `json:"commit_time,omitempty"` // RFC 3339
	Modified bool   `json:"modified"`              // built from a tree with changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// newVersionCommand shows what this program was built from.
func newVersionCommand(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show version, commit and Go version",
		Args:  noArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			q, err := outputQuery(output)
			if err != nil {
				return err
			}
			return printVersion(e, readBuildInfo(), q.Get("format") == "json")
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// printVersion prints one line, or one JSON object.
func printVersion(e *env, b buildInfo, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(b)
	}
	commit := b.Commit
	if commit == "" {
		commit = "unknown"
	}
	if b.Modified {
		commit += " with changes"
	}
	_, err := fmt.Fprintf(e.stdout, "xdpct %s (commit %s) %s %s\n", b.Version, commit, b.Go, b.Platform)
	return err
}

// readBuildInfo returns what the linker and the go command left in the binary.
func readBuildInfo() buildInfo {
	b := buildInfo{Version: versionString(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Commit: commit, Modified: strings.HasSuffix(version, "-dirty")}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// versionString returns the version, "vdev" for a build without one.
func versionString() string {
	if version == "" {
		return "vdev"
	}
	return version
}

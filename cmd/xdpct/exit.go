package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpct/xdpct/control"
	"github.com/xdpct/xdpct/dataplane"
	"github.com/xdpct/xdpct/dataplane/xsk"
)

// The exit codes. They are documented in the help and never change.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotPermitted = 3 // or not supported by this machine
)

// usageError is a command line that cannot be carried out as written.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usagef makes a usageError.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// asUsage marks err, if any, as the user's mistake.
func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// errCannotRun is what check returns when a run would fail.
var errCannotRun = errors.New("the gateway cannot run here: see the lines marked fail")

// Nothing found is told by the exit code, as conntrack -D and -G do: scripts rely
// on it.
var (
	errNothingDeleted = errors.New("nothing matched")
	errNoSuchFlow     = errors.New("there is no such flow")
)

// exitCode returns the exit code of an error.
func exitCode(err error) int {
	var u *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &u), errors.Is(err, control.ErrBadRequest):
		return exitUsage
	case errors.Is(err, errCannotRun), errors.Is(err, fs.ErrPermission), errors.Is(err, errors.ErrUnsupported),
		errors.Is(err, xsk.ErrNotPermitted), errors.Is(err, xsk.ErrNotSupported), errors.Is(err, xsk.ErrMemlock),
		errors.Is(err, xsk.ErrNoZeroCopy), errors.Is(err, xsk.ErrNoNative), errors.Is(err, dataplane.ErrSteering):
		return exitNotPermitted
	}
	return exitFailed
}

// errorLine renders an error as one line that names the command.
func errorLine(cmd *cobra.Command, err error) string {
	name := "xdpct"
	if cmd != nil && cmd.HasParent() {
		name += ": " + cmd.Name()
	}
	line := name + ": " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
	var u *usageError
	if errors.As(err, &u) && cmd != nil {
		line += " (see " + cmd.CommandPath() + " --help)"
	}
	return line
}

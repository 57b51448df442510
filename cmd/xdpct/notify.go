package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// notify tells the service manager a state such as "READY=1" or "STOPPING=1"
// (sd_notify(3)), and gives it duplicates of descriptors. It does nothing when there is
// none.
func notify(e *env, state string, fds ...int) error {
	path := e.getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// Package net sends no descriptors from a connected socket of datagrams.
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		// A name that starts with @ is in the abstract namespace: SockaddrUnix replaces
		// the @ by a zero byte.
		err = unix.Sendmsg(socket, []byte(state), rights, &unix.SockaddrUnix{Name: path}, 0)
		err = errors.Join(err, unix.Close(socket))
	}
	if err != nil {
		return fmt.Errorf("tell the service manager %s: %w", strings.ReplaceAll(state, "\n", " "), err)
	}
	return nil
}

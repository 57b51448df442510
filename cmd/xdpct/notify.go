package main

import (
	"errors"
	"fmt"
	"net"
)

// notify tells the service manager a state such as "READY=1" or "STOPPING=1"
// (sd_notify(3)). It does nothing when there is none.
func notify(e *env, state string) error {
	path := e.getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	// A name that starts with @ is in the abstract namespace: package net
	// replaces the @ by a zero byte.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell the service manager %s: %w", state, err)
	}
	_, err = c.Write([]byte(state))
	if err := errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("tell the service manager %s: %w", state, err)
	}
	return nil
}

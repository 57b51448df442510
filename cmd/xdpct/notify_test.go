package main

import (
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"testing"
)

func envWith(name, value string) *env {
	return &env{getenv: func(key string) string {
		if key == name {
			return value
		}
		return ""
	}}
}

func TestNotifyTellsTheServiceManager(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := notify(envWith("NOTIFY_SOCKET", path), "READY=1"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := l.Read(b); err != nil || string(b[:n]) != "READY=1" {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func TestNotifyWithoutAServiceManager(t *testing.T) {
	if err := notify(envWith("", ""), "READY=1"); err != nil {
		t.Error(err)
	}
	missing := filepath.Join(t.TempDir(), "no")
	if err := notify(envWith("NOTIFY_SOCKET", missing), "READY=1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that there is no such socket", err)
	}
}

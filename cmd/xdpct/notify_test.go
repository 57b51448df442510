package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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

// A descriptor arrives with the message, and is the same file.
func TestNotifyGivesDescriptors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := notify(envWith("NOTIFY_SOCKET", path), "FDSTORE=1", int(file.Fd())); err != nil {
		t.Fatal(err)
	}
	b, rights := make([]byte, 64), make([]byte, 64)
	n, r, _, _, err := l.ReadMsgUnix(b, rights)
	if err != nil || string(b[:n]) != "FDSTORE=1" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%v, %v", messages, err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v, %v", fds, err)
	}
	got := os.NewFile(uintptr(fds[0]), "received")
	defer got.Close()
	a, errA := file.Stat()
	c, errC := got.Stat()
	if err := errors.Join(errA, errC); err != nil || !os.SameFile(a, c) {
		t.Errorf("another file has come: %v", err)
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
